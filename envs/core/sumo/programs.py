"""The installed SUMO: paths of its programs, and loading of its library."""

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
"""Message of the dynamic loader about a missing library."""

MEND = "install what SUMO needs, on Debian and Ubuntu: apt install libatomic1 libgl1 libx11-6 libxext6 libxrender1"
"""Remedy for a missing library: SUMO's wheels lack only these, and a machine without a desktop may lack them too."""


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
        CityloopError: if the program fails, with the last line of its error output.
    """
    done = subprocess.run([sumo_binary(name), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CityloopError(_missing(done.stderr) or f"{name} failed: {_last_line(done.stderr)}")


def load_libsumo() -> Any:
    """Import libsumo, SUMO as a library in this process.

    Raises:
        CityloopError: if the machine lacks a library that SUMO needs.
    """
    try:
        return import_module("libsumo")
    except ImportError as error:
        raise CityloopError(_missing(str(error)) or f"SUMO cannot be loaded: {error}") from None


def _missing(said: str) -> str | None:
    """A sentence about the missing library, if the loader's message names one."""
    found = MISSING.search(said)
    return f"{found[1]} is missing on this machine: {MEND}" if found else None


def _last_line(said: str) -> str:
    return (said.strip() or "without a word").splitlines()[-1]
