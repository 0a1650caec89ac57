"""SUMO as it is installed beside the project: its programs, and its library."""

from __future__ import annotations

import os
import re
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError

MISSING = re.compile(r"(lib[^\s:]+): cannot open shared object file")
"""How the machine's loader says that a library is not there."""

MEND = "install what SUMO needs, on Debian and Ubuntu: apt install libatomic1 libgl1 libx11-6 libxext6 libxrender1"
"""Its wheels bring all but these, which a machine without a desktop may lack."""


def sumo_binary(name: str) -> str:
    """The path of one of SUMO's programs, from the eclipse-sumo package or ``$SUMO_HOME``."""
    spec = find_spec("sumo")
    homes = list(spec.submodule_search_locations or []) if spec else []
    for home in [*homes, os.environ.get("SUMO_HOME", "")]:
        path = Path(home) / "bin" / name
        if home and path.is_file():
            return str(path)
    raise CityloopError(f"SUMO's program {name} was not found: pip install eclipse-sumo, or set SUMO_HOME")


def run_sumo_program(name: str, *arguments: str) -> None:
    """Run one of SUMO's programs to its end.

    Raises:
        CityloopError: with the last thing that it said, if it failed.
    """
    done = subprocess.run([sumo_binary(name), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CityloopError(_missing(done.stderr) or f"{name} failed: {_last_line(done.stderr)}")


def load_libsumo() -> Any:
    """SUMO as a library of this process.

    Raises:
        CityloopError: if the machine lacks a library that it needs.
    """
    try:
        return import_module("libsumo")
    except ImportError as error:
        raise CityloopError(_missing(str(error)) or f"SUMO cannot be loaded: {error}") from None


def _missing(said: str) -> str | None:
    """What is missing, as a sentence, if that is what a loader said."""
    found = MISSING.search(said)
    return f"{found[1]} is missing on this machine: {MEND}" if found else None


def _last_line(said: str) -> str:
    return (said.strip() or "without a word").splitlines()[-1]
