"""The verbs of the command line, each a thin layer over the library call of the same name; `cityloop.py` lists them.

Results for people are tables; ``--json`` gives data. Unusable input ends with one sentence (`CityloopError`). Heavy
libraries are imported where needed. This module has the code that several verbs share.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from envs import CityloopError, Scenario, load_scenario
from verbs.terminal import parse_settings

AsJson = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE.json]", help="Print JSON alone on standard output, or write it to a file."),
]
"""The option of every verb that prints results."""

ScenarioRef = Annotated[str, typer.Argument(help="SYSTEM/NAME, or the path of a YAML file.", show_default=False)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a scenario setting (repeatable).")
]

OUT = ("--out", "--output", "-o")
"""Spellings of the options for output paths."""

_COMMA = re.compile(r",(?![^\[{]*[\]}])")
"""Pattern of the comma between two values of ``--each``; commas within a list do not separate values."""

NewFolder = Annotated[Path | None, typer.Option(*OUT, help="A new folder instead of one under runs/.")]


def chosen_scenario(ref: str, settings: Sequence[str] | None) -> Scenario:
    """A scenario by its reference, with changed settings.

    Raises:
        CityloopError: if the reference is unknown or a setting does not fit.
    """
    scenario = load_scenario(ref)
    changes = parse_settings(settings)
    return scenario.override(changes) if changes else scenario


AnyScenario = TypeVar("AnyScenario", bound=Scenario)


def scenario_of(kind: type[AnyScenario], ref: str, settings: Sequence[str] | None = None) -> AnyScenario:
    """As `chosen_scenario`, for verbs of one system.

    Raises:
        CityloopError: if the reference is unknown, a setting does not fit, or the scenario is of another system.
    """
    scenario = chosen_scenario(ref, settings)
    if not isinstance(scenario, kind):
        wanted = kind.model_fields["system"].default
        raise CityloopError(f"scenario {ref} is of {scenario.system}: give one of {wanted}")
    return scenario


def variants(ref: str, settings: Sequence[str] | None, each: Sequence[str] | None) -> list[Scenario]:
    """Variants of a scenario with every combination of the values of ``--each``, distinguished by their names.

    Args:
        ref: reference of the scenario.
        settings: changes by ``--set``, for all variants.
        each: ``KEY=A,B`` of ``--each``.

    Raises:
        CityloopError: if the reference is unknown or a setting does not fit.
    """
    choices: dict[str, list[dict[str, Any]]] = {}
    for item in each or ():
        key, equals, text = item.partition("=")
        values = [parse_settings([f"{key}{equals}{choice}"]) for choice in _COMMA.split(text)]
        choices.setdefault(key, []).extend(values)
    places = [chosen_scenario(ref, settings)]
    for changes in choices.values():
        places = [_variant(place, change) for place in places for change in changes]
    return places


def _variant(scenario: Scenario, change: dict[str, Any]) -> Scenario:
    changed = scenario.override(change)
    if changed.label != scenario.label or changed == scenario:
        return changed
    told = {key: "_".join(map(str, value)) if isinstance(value, list) else value for key, value in change.items()}
    suffix = "-".join(f"{key.rpartition('.')[2]}{value}" for key, value in told.items())
    return changed.override({"name": f"{changed.name}-{suffix}"})


def command_line(words: Sequence[str]) -> str:
    """A verb's command line for cards, without the paths of its output on this machine.

    Args:
        words: the verb and its arguments.
    """
    kept: list[str] = []
    for word in words:
        name, given, _ = word.partition("=")
        attached = (given and name in OUT) or (word.startswith(OUT[-1]) and word != OUT[-1])
        if kept and kept[-1] in OUT:
            kept.pop()
        elif not attached:
            kept.append(word)
    return shlex.join(["cityloop", *kept])
