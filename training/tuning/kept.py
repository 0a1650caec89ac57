"""The files of tuned parameters, beside the laws that read them: place → law → parameters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from envs.core.errors import CityloopError
from envs.core.machine.files import read_json, write_json


def check_kept(file: Path) -> None:
    """Refuse to search for minutes for what cannot be kept.

    Raises:
        CityloopError: if the file cannot be replaced.
    """
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise CityloopError(f"{file}, where what is found is kept, cannot be written: use an installation of your own")


def keep(file: Path, place: str, law: str, parameters: Mapping[str, float]) -> None:
    """Write the parameters of a law at a place into a file; what else stands there stays."""
    content = read_json(file) if file.is_file() else {}
    content.setdefault(place, {})[law] = dict(parameters)
    write_json(file, content)
