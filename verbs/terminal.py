"""Output of the command line: tables and progress bars for people, JSON for machines, in separate streams."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import yaml
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from envs.core.errors import CityloopError
from envs.core.machine.files import write_json
from training.tracking.folders import SPEED

STDOUT = "-"
"""Value of ``--json`` for standard output."""


WIDTH = 120
"""Width of a table in characters if there is no terminal."""

LINE_EVERY_S = 60.0
"""Seconds between two progress lines of a long job if there is no terminal for a progress bar."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Control characters except line breaks: in what somebody else wrote, they would command the reader's terminal."""


def open_streams() -> None:
    """Connect closed standard streams to the null device, because otherwise the next opened file would replace them.

    Characters that standard output cannot encode, such as the ÷ of a table, are printed as question marks.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.close(number)
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="replace")


class Output:
    """Output of a verb's results: tables for people, JSON for machines.

    Args:
        target: `STDOUT`, a file, or None: no JSON.
        private: whether only the owner may read the file, because it holds a secret.
    """

    def __init__(self, target: str | None, private: bool = False):
        self._target, self._private = target, private
        self.console = _console(to_stderr=target == STDOUT)
        self.progress = Console(stderr=True, markup=False, emoji=False)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Redirect the output of simulators and libraries to standard error if standard output is for JSON alone."""
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
        """Print tables, unless standard output is for JSON alone."""
        if self._target != STDOUT:
            for table in tables:
                self.console.print(fitted(table, self.console.width))

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(_CONTROL.sub(" ", text), highlight=False, soft_wrap=True)

    def emit(self, content: Any) -> None:
        """Write the JSON, if requested; null for numbers that are not finite, as JSON has none."""
        content = _finite(content)
        if self._target == STDOUT:
            print(json.dumps(content, indent=1, allow_nan=False))
        elif self._target is not None:
            write_json(Path(self._target), content, private=self._private)

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[float, str], None]]:
        """A progress bar on a terminal, a line per minute in a log; yields a function of (fraction, activity)."""
        if not sys.stderr.isatty() or self.progress.is_dumb_terminal:
            yield _Lines(what, self.progress)
            return
        with _Bar(console=self.progress, transient=True) as progress:
            task = progress.add_task(what, total=1.0, note="")
            yield lambda fraction, note: progress.update(task, completed=fraction, note=note)

    @contextmanager
    def training(self) -> Iterator[dict[str, Callable[..., None]]]:
        """As `bar`, for a training run; yields the progress arguments of `training.train.train`.

        It shows updates, speed, mean return and validation score, and the validation episodes of rules and policies,
        which may take longer than the updates between them.
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
                known = f"{seen['update']}, " if seen else ""  # a short field, as there is no room for more
                show(fraction, f"{known}{what}: {done} of {total} episodes")

            show(fraction, "starting")
            yield {"on_progress": on_progress, "on_episodes": on_episodes}


class _Bar(Progress):
    """A progress bar with times, and the current activity below it, so that the times fit on narrow terminals."""

    @classmethod
    def get_default_columns(cls) -> tuple[ProgressColumn, ...]:
        """Columns of the bar's line; called by `Progress`."""
        texts = TextColumn("{task.description}", markup=False), TextColumn("{task.percentage:>3.0f} %")
        return texts[0], BarColumn(), texts[1], TimeElapsedColumn(), TimeRemainingColumn()

    def get_renderables(self) -> Iterator[RenderableType]:
        """Lines of the display; called by `Progress`."""
        yield self.make_tasks_table(self.tasks)
        yield from (Text(task.fields["note"], no_wrap=True, overflow="ellipsis") for task in self.tasks)


class _Lines:
    """Progress without a terminal: at intervals, a line with the remaining time.

    Args:
        what: name of the activity.
        console: console for the lines.
    """

    def __init__(self, what: str, console: Console):
        self._what, self._console = what, console
        self._first: tuple[float, float] | None = None
        self._next_s = time.monotonic() + LINE_EVERY_S

    def __call__(self, fraction: float, note: str) -> None:
        now = time.monotonic()
        if fraction > 0:  # before that, nothing is known about the remaining time
            self._first = self._first or (now, fraction)
        if now < self._next_s:
            return
        self._next_s = now + LINE_EVERY_S
        begun_s, before = self._first or (now, fraction)
        rate = (fraction - before) / max(now - begun_s, 1e-9)
        going = rate > 0 and fraction < 1  # what comes after the last update is not part of it
        left = f", {(1 - fraction) / rate / 60:.0f} min left" if going else ""
        self._console.print(f"{self._what}: {fraction:.0%}{left}, {note}", highlight=False, soft_wrap=True)


def _console(to_stderr: bool) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else WIDTH
    return Console(stderr=to_stderr, width=width, markup=False, emoji=False)  # users' names are not markup


def parse_settings(pairs: Sequence[str] | None, like: str = "--set regime=resco") -> dict[str, Any]:
    """``["timing.min_green_s=5"]`` → ``{"timing.min_green_s": 5}``; values are YAML; ``like``: an example to give."""
    settings = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise CityloopError(f"setting {pair!r} has no '=': write KEY=VALUE, e.g. {like}")
        try:
            settings[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # ValueError: an impossible date
            raise CityloopError(f"setting {pair!r}: the value is not valid YAML, quote it") from None
    return settings


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], numbers: int | None = None
) -> Table:
    """A table; columns from index ``numbers`` on are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers is not None and k >= numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_CONTROL.sub(" ", cell) if isinstance(cell, str) else cell for cell in row))
    return table


def fitted(table: Table, width: int) -> Table:
    """A table that is no wider than ``width``, with lines that break between words; rich breaks any word.

    Blanks beside the lines are saved where the longest words do not fit otherwise; where that does not do, rows and
    columns change places, and where nothing does, words break.
    """
    for one in (table, _turned(table)):
        if _fit(one, width):
            return one
    return table


def _fit(table: Table, width: int) -> bool:
    """Set the widths of a table's columns if their longest words fit; those that lack least are served first."""
    cells = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    full = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in cells]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    blanks = next((n for n in (1, 0) if sum(least) + (2 * n + 1) * len(cells) + 1 <= width), None)
    if blanks is None:
        return False
    table.padding = (0, blanks)
    spare = width - sum(least) - (2 * blanks + 1) * len(cells) - 1
    lacking = sorted(range(len(cells)), key=lambda k: full[k] - least[k])
    for k, left in zip(lacking, range(len(cells), 0, -1), strict=True):
        more = min(full[k] - least[k], spare // left)
        table.columns[k].width, spare = least[k] + more, spare - more
    return True


def _turned(table: Table) -> Table:
    """The same table with a row for each of its columns."""
    first, *others = table.columns
    turned = Table(title=table.title, title_justify="left", title_style="bold")
    for k, name in enumerate((first.header, *first.cells)):
        turned.add_column(name, justify="right" if k else "left", overflow="fold")
    for column in others:
        turned.add_row(column.header, *column.cells)
    return turned


def verdict(ok: bool, good: str, bad: str) -> Text:
    """A cell with ``good`` in green or ``bad`` in red."""
    return Text(good, style="green") if ok else Text(bad, style="red")


def flat(content: dict[str, Any]) -> Iterator[tuple[str, float | int | str]]:
    """The scalar values in nested data, with nested keys as ``outer: inner``; lists are omitted."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from ((f"{key}: {inner}", plain) for inner, plain in flat(value))
        elif isinstance(value, (int, float, str)):
            yield key, value


def _finite(content: Any) -> Any:
    """The same with None for numbers that are not finite."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def number(value: float | str) -> str:
    """A value for a table, with four significant digits; a dash where there is no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def json_option(arguments: Sequence[str]) -> list[str]:
    """Allow ``--json`` without a value: it takes the next word only if that is ``-`` or a file name ending in .json."""
    words, out = list(arguments), []
    while words:
        word = words.pop(0)
        if word == "--json":
            given = bool(words) and (words[0] == STDOUT or words[0].endswith(".json"))
            word = f"--json={words.pop(0) if given else STDOUT}"
        out.append(word)
    return out
