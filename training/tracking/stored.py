"""Scenarios as ``config.yaml`` of a run stores them: with absolute paths of files, which may lie elsewhere by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError
from envs.core.registry import get_system, load_scenario
from envs.core.scenario import Scenario

TAIL = 3
"""Last parts of a path, e.g. ``RESCO/cologne1/cologne1.net.xml``, by which a file that ships is known again."""


def stored_scenario(plain: Mapping[str, Any], where: str) -> Scenario:
    """A scenario from plain data.

    Files of scenarios that ship lie in the Python environment. If the run comes from another one, those of this
    environment take their place.

    Args:
        plain: the scenario's entry in ``config.yaml``.
        where: folder of the run, for error messages.

    Raises:
        CityloopError: if a value does not fit, or a file is missing.
    """
    found = _moved(plain, _shipped(plain))
    try:
        return get_system(plain["system"]).scenario_class.parse(found, where)
    except CityloopError:
        key, path = next(_missing(found), ("", ""))
        if not key:
            raise
        raise CityloopError(
            f"{Path(where) / 'config.yaml'}: {key} of scenario {plain.get('name')} is {path}, which is missing: put "
            "the file there, or give its new path in config.yaml"
        ) from None


def _shipped(plain: Mapping[str, Any]) -> Any:
    try:
        return load_scenario(f"{plain['system']}/{plain['name']}").model_dump(mode="json")
    except (CityloopError, KeyError):
        return None


def _moved(value: Any, shipped: Any) -> Any:
    """Plain data with paths of missing files replaced by those of the same files that ship."""
    if isinstance(value, Mapping):
        there = shipped if isinstance(shipped, Mapping) else {}
        return {key: _moved(one, there.get(key)) for key, one in value.items()}
    if isinstance(value, list):
        others = shipped if isinstance(shipped, list) and len(shipped) == len(value) else [None] * len(value)
        return [_moved(one, other) for one, other in zip(value, others, strict=True)]
    same = _is_missing(value) and isinstance(shipped, str) and Path(value).parts[-TAIL:] == Path(shipped).parts[-TAIL:]
    return shipped if same else value


def _missing(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and path of every missing file."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, one in pairs:
        yield from _missing(one, f"{key}.{name}" if key else str(name))
    if _is_missing(value):
        yield key, value


def _is_missing(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and not Path(value).exists()
