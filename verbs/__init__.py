"""Verbs of the command line that need a room of their own; `cityloop.py` has one line for each."""

from typing import Annotated

import typer

AsJson = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE.json]", help="Print JSON alone on standard output, or write it to a file."),
]
"""The option that every verb has."""
