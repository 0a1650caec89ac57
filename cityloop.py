"""The command line: one verb per line, with an example.

Unusable input ends with one sentence and exit code 2, Ctrl-C with 130, SIGTERM with 143, failed checks with 1.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import EACCES, ENAMETOOLONG, EPERM, EROFS
from types import FrameType, TracebackType
from typing import Any

NO_MEMORY = "Error: memory ran out: allow for more, or do less at a time"

MENDS = dict.fromkeys((EACCES, EPERM, EROFS), "give one that you may write") | {ENAMETOOLONG: "give a shorter name"}
"""Error number of an unusable file → remedy; for all others the remedy is to make room."""


def _report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Exception hook: one line for an interruption or a lack of memory, also while the imports below run."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
    elif issubclass(kind, MemoryError):
        print(NO_MEMORY, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report_uncaught

import typer
from typer.core import TyperGroup

from envs import CityloopError
from verbs import audit, bench, bundles, catalogue, demo, evaluate, keys, service, train, tune
from verbs.terminal import json_option, open_streams

EXAMPLES: dict[str, dict[str, Callable[..., None]]] = {
    "Look": {
        "list --json": catalogue.list_,
        "check my-city.yaml": catalogue.check,
        "site my-city.yaml -o my-city.json": catalogue.site,
    },
    "Train and compare": {
        "train intersections/cologne8 intersections/town1 --each regime=engineer,resco": train.train,
        "evaluate intersections/cologne8 -c policy -c actuated --seeds 30 --json out.json": evaluate.evaluate,
        "oracle drainage/astlingen-oct2000 --json oracle.json": evaluate.oracle,
        "referee transit/ingolstadt -c reactive --flow 0.7": evaluate.referee,
        "lines transit/hcmc --seeds 5": evaluate.lines,
    },
    "Prepare for service": {
        "export runs/intersections/cologne8/mappo/20260101-120000-s0 -o my-policy": bundles.export,
        "calibrate my-policy intersections/cologne8 my-city.yaml --each regime=engineer,resco": bundles.calibrate,
        "sign my-policy --key city.pem": bundles.sign,
        "teach dampers/jansen -o storeys.json": bundles.teach,
        "travel-times transit/ingolstadt --seeds 3 -o times.json": bundles.travel_times,
    },
    "Serve": {
        "serve intersections/cologne8 --policy policy --fallback max-pressure": service.serve,
        "policy canary intersections/cologne8 --policy mine --reason 'fine in the shadow'": service.policy,
        "control intersections/cologne8 --url http://127.0.0.1:8000 --seed 0": service.control,
        "demo --pace 2": demo.demo,
        "riders transit/hcmc --hours 2": demo.riders,
        "replay runs/service/audit --site intersections/cologne8 --since 1d": audit.replay,
    },
}
"""Title of a group in the help → example, whose first word is the name of the verb → function of the verb."""

GROUPS = {
    "Train and compare": {"bench": bench.app, "tune": tune.app},
    "Serve": {"audit": audit.app, "keys": keys.app},
}
"""Title of a group in the help → verb that has verbs of its own → these."""


ENDED = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}
"""Signals that end a verb in order → the line for it; the exit code is 128 more than the signal's number."""


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Let the signals of `ENDED` interrupt, and record them, because a library may turn them into its own error.

    numba does so in compilation. A signal that is ignored, as SIGINT is for background jobs, stays so.
    """
    heard: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    before = {number: signal.getsignal(number) for number in ENDED}
    usual = [number for number, handler in before.items() if handler in (signal.default_int_handler, signal.SIG_DFL)]
    for number in usual:
        signal.signal(number, interrupt)
    try:
        yield heard
    finally:
        for number in usual:
            signal.signal(number, before[number])


class Verbs(TyperGroup):
    """Group of verbs that turns interruptions, and errors caused by the user, into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        with _interruptions() as heard:
            try:
                return super().invoke(ctx)
            except (Exception, KeyboardInterrupt) as error:
                if heard or isinstance(error, KeyboardInterrupt):
                    number = signal.Signals(heard[0]) if heard else signal.SIGINT
                    said, code = ENDED[number], 128 + number
                elif told := _explain(error):
                    said, code = told, 2
                else:
                    raise
                print("\n".join([said, *getattr(error, "__notes__", ())]), file=sys.stderr)
                raise typer.Exit(code) from None


def _explain(error: Exception) -> str | None:
    """What the user is told of an error; None: it is a defect, or CITYLOOP_TRACE asks for the trace."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if os.environ.get("CITYLOOP_TRACE"):
        return None
    if isinstance(error, CityloopError):
        return f"Error: {error}"
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        place = error.filename2 or error.filename or "the output"
        mend = MENDS.get(error.errno or 0, "make room, or give another")
        if error.errno == ENAMETOOLONG:
            place = f"{str(place)[:60]}..."
        return f"Error: {place} cannot be used ({error.strerror or error}): {mend}"
    if isinstance(error, UnicodeEncodeError) and sys.getfilesystemencoding() != "utf-8":  # in a file name, or printed
        near = error.object[max(0, error.start - 40) : error.start + 20]
        return f"Error: {near!a} cannot be written in this locale ({error.encoding}): set PYTHONUTF8=1"
    return None


app = typer.Typer(
    cls=Verbs,
    help="Cityloop: train, evaluate and serve cooperative policies that close the control loops of a city.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for title, members in EXAMPLES.items():
    for example, verb in members.items():
        app.command(example.split()[0], epilog=f"Example: cityloop {example}", rich_help_panel=title)(verb)
    for name, group in GROUPS.get(title, {}).items():
        app.add_typer(group, name=name, rich_help_panel=title)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    open_streams()
    os.environ["MPLBACKEND"] = "agg"  # pictures are files; a notebook names a backend that may be missing here
    app(args=json_option(sys.argv[1:] if arguments is None else arguments), prog_name="cityloop")


if __name__ == "__main__":
    main()
