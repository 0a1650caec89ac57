"""Verbs of the command line that need a room of their own; `cityloop.py` has one line for each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from envs import Scenario, load_scenario
from training.terminal import parse_settings

AsJson = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE.json]", help="Print JSON alone on standard output, or write it to a file."),
]
"""The option that every verb has."""

ScenarioRef = Annotated[str, typer.Argument(help="SYSTEM/NAME, or the path of a YAML file.", show_default=False)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a scenario setting (repeatable).")
]


OUT = ("-o", "--out", "--output")
"""How the options are spelled that say where something is written to."""


def chosen_scenario(ref: str, settings: Sequence[str] | None) -> Scenario:
    """A scenario by its reference, with what `Settings` change.

    Raises:
        CityloopError: if it is unknown, or cannot be so.
    """
    scenario = load_scenario(ref)
    changes = parse_settings(settings)
    return scenario.override(changes) if changes else scenario


def command_line(words: Sequence[str]) -> str:
    """A verb's command line as cards tell it: what was asked for, not where on this machine it was written to.

    Args:
        words: the verb and what follows.
    """
    kept: list[str] = []
    for word in words:
        name, given, _ = word.partition("=")
        if kept and kept[-1] in OUT:
            kept.pop()
        elif not (given and name in OUT):
            kept.append(word)
    return shlex.join(["cityloop", *kept])
