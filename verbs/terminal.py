"""How the command line speaks: tables and progress bars for people, JSON for machines, and never one in the other."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from envs.core.errors import CityloopError
from envs.core.files import write_json
from training.tracking import SPEED

STDOUT = "-"
"""The value of ``--json`` that means standard output."""


WIDTH = 120
"""Columns of a table where there is no terminal to ask."""

LINE_EVERY_S = 60.0
"""How often a long job says where it is, where there is no terminal for a progress bar."""


def open_streams() -> None:
    """Put the empty device where a standard stream was closed: else the next file to be opened would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.close(number)
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


class Output:
    """Where a verb's results go: tables for people, JSON for machines.

    Args:
        target: `STDOUT`, a file, or None: no JSON.
        private: whether a file is for its owner alone, as it holds a secret.
    """

    def __init__(self, target: str | None, private: bool = False):
        self._target, self._private = target, private
        self.console = _console(to_stderr=target == STDOUT)
        self.progress = Console(stderr=True, markup=False, emoji=False)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While it lasts, what simulators and libraries print goes to standard error if JSON is to stand alone."""
        if self._target != STDOUT:
            yield
            return
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)

    def show(self, *tables: Table) -> None:
        """Print tables, unless JSON stands alone."""
        if self._target != STDOUT:
            for table in tables:
                self.console.print(table)

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def emit(self, content: Any) -> None:
        """Give the JSON, if it was asked for."""
        if self._target == STDOUT:
            print(json.dumps(content, indent=1, allow_nan=False))
        elif self._target is not None:
            write_json(Path(self._target), content, private=self._private)

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[float, str], None]]:
        """A progress bar on a terminal, a line a minute in a log; yields a function of (fraction, what goes on)."""
        if not sys.stderr.isatty() or self.progress.is_dumb_terminal:
            yield _Lines(what, self.progress)
            return
        with _Bar(console=self.progress, transient=True) as progress:
            task = progress.add_task(what, total=1.0, note="")
            yield lambda fraction, note: progress.update(task, completed=fraction, note=note)

    @contextmanager
    def training(self) -> Iterator[dict[str, Callable[..., None]]]:
        """As `bar`, for a training run: what `training.train.train` takes to tell how it goes.

        Shown are its updates, speed, mean return and validation score, and episodes of rules and of policies that are
        validated, which may take longer than what lies between.
        """
        with self.bar("training") as show:
            seen, fraction = dict[str, str](), 0.0

            def on_progress(news: Mapping[str, Any]) -> None:
                nonlocal fraction
                notes = {
                    SPEED: "{:,.0f} decisions/s",
                    "rollout/return_mean": "return {:.4g}",
                    "validation": "score {:.4g}",
                    "best": "best {:.4g}",
                }
                seen["update"], fraction = f"update {news['iteration']}", float(news["fraction"])
                seen.update({key: text.format(news[key]) for key, text in notes.items() if key in news})
                show(fraction, ", ".join(seen.values()))

            def on_episodes(what: str, done: int, total: int) -> None:
                known = f"{seen['update']}, " if seen else ""  # what else is known finds no room beside it
                show(fraction, f"{known}{what}: {done} of {total} episodes")

            show(fraction, "starting")
            yield {"on_progress": on_progress, "on_episodes": on_episodes}


class _Bar(Progress):
    """A progress bar with its times, and below it what goes on: so the times have room on narrow terminals, too."""

    @classmethod
    def get_default_columns(cls) -> tuple[ProgressColumn, ...]:
        """The bar's own line; `Progress` asks for it."""
        texts = TextColumn("{task.description}", markup=False), TextColumn("{task.percentage:>3.0f} %")
        return texts[0], BarColumn(), texts[1], TimeElapsedColumn(), TimeRemainingColumn()

    def get_renderables(self) -> Iterator[RenderableType]:
        """What `Progress` shows."""
        yield self.make_tasks_table(self.tasks)
        yield from (Text(task.fields["note"], no_wrap=True, overflow="ellipsis") for task in self.tasks)


class _Lines:
    """Progress where there is no terminal: now and then a line with the time left.

    Args:
        what: is going on.
        console: where to.
    """

    def __init__(self, what: str, console: Console):
        self._what, self._console = what, console
        self._first: tuple[float, float] | None = None
        self._next_s = time.monotonic() + LINE_EVERY_S

    def __call__(self, fraction: float, note: str) -> None:
        now = time.monotonic()
        if fraction > 0:  # what comes before says nothing of how long the rest takes
            self._first = self._first or (now, fraction)
        if now < self._next_s:
            return
        self._next_s = now + LINE_EVERY_S
        begun_s, before = self._first or (now, fraction)
        rate = (fraction - before) / max(now - begun_s, 1e-9)
        left = f", {(1 - fraction) / rate / 60:.0f} min left" if rate > 0 else ""
        self._console.print(f"{self._what}: {fraction:.0%}{left}, {note}", highlight=False, soft_wrap=True)


def _console(to_stderr: bool) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else WIDTH
    return Console(stderr=to_stderr, width=width, markup=False, emoji=False)  # names of the user's are no markup


def parse_settings(pairs: Sequence[str] | None, like: str = "--set regime=resco") -> dict[str, Any]:
    """``["timing.min_green_s=5"]`` → ``{"timing.min_green_s": 5}``; values are YAML; ``like``: an example to give."""
    settings = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CityloopError(f"setting {pair!r} has no '=': write KEY=VALUE, e.g. {like}")
        try:
            settings[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # the latter for a day that no month has
            raise CityloopError(f"setting {pair!r}: the value is not valid YAML, quote it") from None
    return settings


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], numbers: int | None = None
) -> Table:
    """A table; columns from index ``numbers`` on are aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers is not None and k >= numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def verdict(ok: bool, good: str, bad: str) -> Text:
    """A cell that says whether something is as it should be."""
    return Text(good, style="green") if ok else Text(bad, style="red")


def flat(content: dict[str, Any]) -> Iterator[tuple[str, float | int | str]]:
    """The plain values in nested data, nested keys as ``outer: inner``; lists are left out."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from ((f"{key}: {inner}", plain) for inner, plain in flat(value))
        elif isinstance(value, (int, float, str)):
            yield key, value


def number(value: float | str) -> str:
    """A value for a table: four digits that count."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def json_option(arguments: Sequence[str]) -> list[str]:
    """Let ``--json`` stand alone: it takes the next word only where that is a file name ending in .json, or ``-``."""
    words, out = list(arguments), []
    while words:
        word = words.pop(0)
        if word == "--json":
            given = bool(words) and (words[0] == STDOUT or words[0].endswith(".json"))
            word = f"--json={words.pop(0) if given else STDOUT}"
        out.append(word)
    return out
