# One verb a target. `make run` and `make test` are all a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: help setup run demo stop test test-all test-chaos lint format protos bench clean

help:            ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

setup: $(VENV)/installed  ## create .venv and install everything

RECENT := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

$(VENV)/installed: pyproject.toml
	@$(PYTHON) $(RECENT) || { echo "$(PYTHON) is no Python from 3.11 on: name one, e.g. PYTHON=python3.12" >&2; exit 1; }
	@test ! -e $(BIN)/python || $(BIN)/python $(RECENT) || { echo "$(VENV) is of an older Python: remove it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip  # Python 3.11 brings one that takes twice as long to choose versions
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-compile --editable '.[dev]'  # what is used is compiled then
	@touch $@

run: setup       ## train, evaluate, serve and drive a real map; leaves the service running (make stop)
	@BIN=$(BIN) bash scripts/run.sh

demo: setup      ## all systems, each driven by its simulator through one service, with the console open on it
	$(BIN)/cityloop demo

stop:            ## stop the service that `make run` left running
	@bash scripts/stop.sh

test: setup      ## fast tests, files shared out among two processes
	$(BIN)/pytest -n 2 --dist loadfile

test-all: setup  ## all tests, the slow ones included
	$(BIN)/pytest -m "not chaos"

test-chaos: setup  ## kill parts of the service under load, fuzz it, wear it down: some forty minutes
	$(BIN)/pytest -m chaos -s tests/chaos

lint: setup      ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup    ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: setup    ## make the gRPC stubs from serving/rpc/cityloop.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. serving/rpc/cityloop.proto

bench: setup     ## throughput and latency, against bare floors and peers
	$(BIN)/cityloop bench intersections
	$(BIN)/cityloop bench serving
	$(BIN)/cityloop bench audit

clean:           ## remove what was installed and built (not runs/)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
