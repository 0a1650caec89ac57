"""``cityloop bench``: throughput, latency and quality, compared with a peer or a bare baseline; a command per bench."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from envs import CityloopError
from envs.transit.scenarios import TransitScenario
from verbs import AsJson, ScenarioRef, Settings, scenario_of
from verbs.terminal import Output, number, table

app = typer.Typer(help="Measure side by side with a peer or a bare floor.", no_args_is_help=True)

BENCHES = {
    "intersections": ("training.bench.intersections", "Decisions with SUMO, compared with the bare simulator."),
    "drainage": ("training.bench.drainage", "Decisions with SWMM, compared with the bare simulator."),
    "dampers": ("training.bench.dampers", "Simulation and training of buildings, and decisions at the edge."),
    "transit": (
        "training.bench.transit",
        "Requests that insertion answers, compared with RidePy; a day beside the bare service.",
    ),
    "training": ("training.bench.training", "Whole training iterations: RLlib, ours, SB3 and a plain torch loop."),
    "laws": ("training.bench.laws", "The policy of dampers/jansen and the laws, on the same unseen motions."),
    "monitor": ("training.bench.monitor", "Detection of damage and false alarms of the structural monitor."),
    "storeys": ("training.bench.storeys", "The same of the monitor of a building with dampers."),
    "alarms": ("serving.bench.alarms", "How often alarms are raised while nothing is wrong."),
    "console": ("serving.bench.console", "What open consoles add to the cost of a tick."),
    "loop": ("serving.bench.loop", "A building at 100 Hz over a WebSocket."),
    "audit": ("serving.bench.audit", "The audit log: records written, verified and replayed."),
    "fuzz": ("serving.bench.fuzz", "Malformed and hostile requests."),
    "checks": ("serving.bench.checks", "False alarms of the input checks, and the faults that they detect."),
}
"""Bench without options → module and description; its function ``bench_NAME`` gives ``{"bench", "ratios",
"figures"}``."""

Figures = dict[str, Any]


def _run(module: str, name: str, as_json: str | None, **options: Any) -> None:
    """Run the bench of a module, and show what it gives."""
    output = Output(as_json)
    with output.quiet():
        found: Figures = getattr(import_module(module), f"bench_{name}")(**options)
    for title in ("ratios", "figures"):
        rows = [(label, number(value)) for label, value in found[title].items()]
        output.show(table(f"{found['bench']}: {title}", ("what", "value"), rows, numbers=1))
    output.emit(found)


def _without_options(module: str, name: str) -> Callable[..., None]:
    def run(as_json: AsJson = None) -> None:
        _run(module, name, as_json)

    return run


for _name, (_module, _help) in BENCHES.items():
    app.command(_name, help=_help, epilog=f"Example: cityloop bench {_name} --json")(_without_options(_module, _name))


def _finite(seconds: float) -> float:
    """The seconds, if they end.

    Raises:
        CityloopError: if they do not.
    """
    if not math.isfinite(seconds):
        raise CityloopError(f"--seconds is {seconds:g}: give a time that ends")
    return seconds


@app.command("serving", epilog="Example: cityloop bench serving --seconds 10")
def serving(
    seconds: Annotated[float, typer.Option(min=1, help="How long sixteen clients ask.")] = 60.0, as_json: AsJson = None
) -> None:
    """A tick with all checks, compared with an empty Ray Serve request; sixteen clients."""
    _run("serving.bench.ticks", "serving", as_json, seconds=_finite(seconds))


@app.command("soak", epilog="Example: cityloop bench soak --seconds 300")
def soak(
    seconds: Annotated[float, typer.Option(min=1, help="How long the service is asked.")] = 1800.0,
    as_json: AsJson = None,
) -> None:
    """A long run over four systems: memory and file descriptors."""
    _run("serving.bench.soak", "soak", as_json, seconds=_finite(seconds))


@app.command("cordeau", epilog="Example: cityloop bench cordeau a2-16.txt --prove 300")
def cordeau(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Instances in the layout of Cordeau and Laporte.", show_default="those in CITYLOOP_DATA"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Search time per instance.")] = 10.0,
    prove: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for HiGHS to prove a bound, per instance; 0: none.")
    ] = 0.0,
    as_json: AsJson = None,
) -> None:
    """Static dial-a-ride instances, compared with proven optima."""
    _run("training.bench.cordeau", "cordeau", as_json, paths=files, seconds=_finite(seconds), prove_s=prove)


@app.command("forecast", epilog="Example: cityloop bench forecast transit/hcmc --train 30 --test 20")
def forecast(
    scenario: ScenarioRef,
    train: Annotated[int, typer.Option(min=2, help="Training days that the forecast learns from.")] = 60,
    test: Annotated[int, typer.Option(min=1, help="Test days that it is compared on.")] = 40,
    settings: Settings = None,
    as_json: AsJson = None,
) -> None:
    """The demand forecast, compared with the mean of the same hour in the past."""
    place = scenario_of(TransitScenario, scenario, settings)
    _run("training.bench.forecast", "forecast", as_json, scenario=place, train=train, test=test)
