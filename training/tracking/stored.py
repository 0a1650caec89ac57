"""What ``config.yaml`` of a run stores: scenarios, with absolute paths of files, which may lie elsewhere by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def trained_on(scenarios: Sequence[Scenario]) -> dict[str, str]:
    """System and label of each scenario → its hash, as on a card."""
    return {f"{scenario.system}/{scenario.label}": scenario.hash for scenario in scenarios}


def hashes_of(content: Mapping[str, Any], scenarios: Sequence[Scenario]) -> dict[str, str]:
    """`trained_on` of a run as it began, by its ``config.yaml``: files of a scenario may have changed since then.

    Args:
        content: the ``config.yaml``.
        scenarios: the run's scenarios as they are now, which stand for those of runs of earlier versions.
    """
    return content.get("hashes") or trained_on(scenarios)


def check_whole(content: Mapping[str, Any], run: str, *keys: str) -> None:
    """Check that a run's ``config.yaml`` has the given keys.

    Raises:
        CityloopError: if one is missing.
    """
    if not set(keys) <= content.keys():
        raise CityloopError(
            f"run {run} has a config.yaml that was cut off, or made by another version of the trainer: train it anew"
        )
