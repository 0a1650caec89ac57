"""The registry of systems, and the loading of scenarios by reference.

To add a system, write its folder under `envs/` with a `SYSTEM` in it and its baselines under `agents/baselines/`, and
add one line to `SYSTEMS`.
"""

from __future__ import annotations

import copyreg
import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from envs.core.errors import CityloopError
from envs.core.machine.files import path_in
from envs.core.scenario import NAME, Scenario, read_yaml
from envs.core.system import System

SYSTEMS = {
    "intersections": "envs.intersections",
    "drainage": "envs.drainage",
    "dampers": "envs.dampers",
    "transit": "envs.transit",
}

FILES = (".xml", ".gz", ".inp", ".csv", ".at2", ".txt", ".dat", ".json", ".zip")
"""Suffixes of file names: text in a scenario's YAML that ends with one is a path, except under a key of `WORDS`."""

WORDS = ("system", "name", "description")
"""Keys of a scenario whose values are text, whatever their suffix."""


def get_system(name: str) -> System:
    """The system of that name.

    Raises:
        CityloopError: if there is none.
    """
    if name not in SYSTEMS:
        raise CityloopError(f"system {name!r} is unknown: there is {', '.join(SYSTEMS)}")
    return import_module(SYSTEMS[name]).SYSTEM


def _by_name(system: System) -> Any:
    """A registered system is pickled by its name, because many of its parts are functions that cannot be pickled."""
    known = system.name in SYSTEMS and get_system(system.name) is system
    return (get_system, (system.name,)) if known else system.__reduce_ex__(2)


copyreg.pickle(System, _by_name)


def load_scenario(ref: str | Path | Scenario, **settings: Any) -> Scenario:
    """A shipped scenario by reference, or a user's own from a YAML file, with settings changed.

    Args:
        ref: ``system/name``, the path of a ``.yaml`` file with a ``system`` key, or a scenario to change.
        settings: changes; nested keys with two underscores, e.g. ``sensors__dropout=0.2``.

    Raises:
        CityloopError: if the scenario is unknown, or a key or value does not fit.
    """
    if isinstance(ref, Scenario):
        scenario = ref
    else:
        scenario = _from_yaml(Path(ref)) if str(ref).endswith((".yaml", ".yml")) else _shipped(str(ref))
    if not settings:
        return scenario
    return scenario.override({key.replace("__", "."): value for key, value in settings.items()})


def _shipped(ref: str) -> Scenario:
    system_name, _, name = ref.partition("/")
    if system_name not in SYSTEMS and Path(ref).exists():
        raise CityloopError(f"{ref} is no scenario: give the path of a YAML file, or SYSTEM/NAME")
    system = get_system(system_name)
    if name not in (*system.scenario_names, *system.variant_names):
        names = ", ".join(f"{system_name}/{n}" for n in system.scenario_names)
        raise CityloopError(f"scenario {ref!r} is unknown: choose {names}, or give the path of a YAML file")
    return system.load_scenario(name)


def _from_yaml(path: Path) -> Scenario:
    content = read_yaml(path)
    if "system" not in content:
        raise CityloopError(f"{path}: key 'system' is missing: add it, one of {', '.join(SYSTEMS)}")
    system = get_system(str(content["system"]))
    if "name" not in content and not re.match(NAME, path.stem):
        raise CityloopError(
            f"{path}: no scenario can be called {path.stem!r}: add key 'name', of letters, digits, _ . -"
        )
    content.setdefault("name", path.stem)
    words = {key: value for key, value in content.items() if key in WORDS}
    resolved = _resolve(content, path.parent, system.scenario_class) | words
    return system.scenario_class.parse(resolved, where=str(path))


def _resolve(value: Any, folder: Path, kind: type[Scenario] | None = None) -> Any:
    """Resolve the paths in a YAML file, at any depth, relative to the folder of that file.

    Paths are texts that end with a suffix of `FILES`, and all values of the fields that a scenario class declares as
    paths, which may name folders.

    Args:
        value: content of the file, or a part of it.
        folder: folder of the file.
        kind: class of the scenario, for the top level.
    """
    if isinstance(value, dict):
        takes = (
            set() if kind is None else {name for name, field in kind.model_fields.items() if _path(field.annotation)}
        )
        return {key: _resolve_paths(v, folder) if key in takes else _resolve(v, folder) for key, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, folder) for v in value]
    return _resolve_paths(value, folder) if isinstance(value, str) and value.lower().endswith(FILES) else value


def _path(annotation: Any) -> bool:
    return Path in (annotation, *get_args(annotation))


def _resolve_paths(value: Any, folder: Path) -> Any:
    """Absolute path of a text, or of every text in a list."""
    if isinstance(value, list):
        return [_resolve_paths(v, folder) for v in value]
    return str(path_in(value, folder).resolve()) if isinstance(value, str) else value
