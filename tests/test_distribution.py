"""What pip installs: what is asked for is there to be had."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROOMS = ("envs", "agents", "training", "serving", "verbs")
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "dev"}
WITH_EXTRAS = [line for line in PROJECT["dependencies"] if "[" in line]


@pytest.mark.parametrize("line", WITH_EXTRAS)
def test_extras_that_are_asked_for_exist(line):
    """Pip warns of others, and goes on without what they should bring."""
    name, extras = re.match(r"([\w.-]+)\[(.*)\]", line).groups()
    assert set(extras.split(",")) <= set(metadata(name).get_all("Provides-Extra"))


BROUGHT = {"llvmlite"}
"""Of another library at the very version that this one asks for: numba's."""


def test_what_is_imported_is_asked_for():
    asked = {plain(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines}
    brings, unasked = packages_distributions(), set()
    for path in chain.from_iterable((ROOT / room).rglob("*.py") for room in ROOMS):
        for name in imported(ast.parse(path.read_text())) - sys.stdlib_module_names - {*ROOMS, "cityloop"} - BROUGHT:
            if not asked & set(map(plain, brings.get(name, [name]))):
                unasked.add(f"{path.relative_to(ROOT)} imports {name}")
    assert not unasked


def imported(tree):
    """Roots of the modules that a file imports, wherever in it."""
    nodes = list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def plain(requirement):
    """A distribution's name as packages are compared by."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.mark.parametrize(
    ("python", "said"), [("old", "old is no Python from 3.11 on"), (sys.executable, ".venv is of an")]
)
def test_an_old_python_is_told_before_anything_is_installed(tmp_path, python, said):
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    bin_ = tmp_path / ".venv/bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").write_text("#!/bin/sh\nexit 1\n")  # what an old one answers to the question whether it is new
    (bin_ / "python").chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "pip" not in done.stdout
