"""Reading and writing of a run folder's ``config.yaml``, which suffices to repeat the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from envs.core.errors import CityloopError
from envs.core.frozen import first_problem
from envs.core.machine.files import write_json
from envs.core.scenario import Scenario
from training.settings import ALGORITHMS, Settings
from training.tracking.folders import versions, write_yaml
from training.tracking.stored import check_whole, stored_scenario, trained_on
from training.weights import Start


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from plain data.

    Raises:
        CityloopError: for the first setting that does not fit.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise CityloopError(f"training settings: {first_problem(error)}") from None


def read_config(content: Mapping[str, Any], where: str) -> tuple[Settings, list[Scenario]]:
    """Settings and scenarios of a run from its ``config.yaml``.

    Raises:
        CityloopError: if the file is truncated, or was written by an incompatible version.
    """
    check_whole(content, where, "scenarios", "settings")
    scenarios = [stored_scenario(plain, where) for plain in content["scenarios"]]
    return parse_settings(content["settings"]), scenarios


def describe(
    folder: Path,
    network: str,
    scenarios: Sequence[Scenario],
    settings: Settings,
    budget: Mapping[str, Any],
    command: str,
    start: Start | None = None,
) -> None:
    """Write a run's ``config.yaml`` and ``versions.json``, which suffice to repeat it."""
    content = {
        "command": command if start is None else f"{start.command}\n{command}",
        "algorithm": ALGORITHMS[settings.algorithm],
        "network": network,
        "scenarios": [scenario.model_dump(mode="json") for scenario in scenarios],
        "hashes": trained_on(scenarios),
        "settings": settings.model_dump(),
        "budget": dict(budget),
    }
    if start is not None:
        content["start"] = {
            "run": str(start.run),
            "decisions": start.decisions,
            "scenarios": dict(start.scenarios),
        }
    write_yaml(folder / "config.yaml", content)
    write_json(folder / "versions.json", versions())
