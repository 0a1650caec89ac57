"""``cityloop audit`` and ``cityloop replay``: show and verify a service's log, and recompute its decisions."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envs.core.errors import CityloopError
from verbs import AsJson
from verbs.terminal import Output, table, verdict

if TYPE_CHECKING:
    from serving.audit.query import Wanted

app = typer.Typer(help="Look into the audit log of a service, and check it.", no_args_is_help=True)

END_S = 2.5e11
"""Upper bound of seconds since 1970 that are shown as a date: the year 9892; calendars end with 9999."""

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Folder = Annotated[Path, typer.Argument(help="The log's folder.", show_default=False)]
SiteOption = Annotated[str | None, typer.Option("--site", help="SYSTEM/SITE, or SITE.", show_default="all")]
Since = Annotated[
    str | None, typer.Option(help="From when: 2026-01-31T08:00 (UTC), or 90s, 30m, 2h, 7d ago.", show_default="begin")
]
Until = Annotated[str | None, typer.Option(help="Until when, likewise.", show_default="end")]


def moment(text: str | None) -> float | None:
    """A time from the command line in seconds since 1970: ISO 8601, by default in UTC, or a duration before now.

    Raises:
        CityloopError: if the text is neither.
    """
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
        return time.time() - float(ago[1]) * UNITS_S[ago[2]]
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        raise CityloopError(
            f"time {text!r} is none: write 2026-01-31T08:00, or 90s, 30m, 2h, 7d for so long ago"
        ) from None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()


def wanted(site: str | None, since: str | None, until: str | None, what: str | None = None) -> Wanted:
    """Filter of records by the options."""
    from serving.audit.query import Wanted

    system, _, name = (site or "").rpartition("/")
    return Wanted(system or None, name or None, moment(since), moment(until), what)


@app.command(epilog="Example: cityloop audit verify runs/service/audit --anchor /mnt/other/anchors --json")
def verify(
    folder: Folder,
    anchor: Annotated[
        Path | None, typer.Option(help="A folder of anchors, or one's file, besides those in the log.")
    ] = None,
    head: Annotated[
        list[str] | None, typer.Option(help="A hash that 'audit head' printed earlier (repeatable).")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the key that signs the anchors, either half.")] = None,
    as_json: AsJson = None,
) -> None:
    """Find whatever was edited, deleted, moved, inserted or cut off; exit code 1 if anything was."""
    from serving.audit.verify import verify as run

    output = Output(as_json)
    with output.bar("verifying") as show:
        report = run(folder, anchor, head or (), key, show)
    rows = [
        (
            one.chain,
            f"{one.first:,} to {one.head.n:,}",
            str(one.segments),
            one.head.hash.hex(),
            verdict(not one.problems, "whole", "NOT WHOLE"),
        )
        for one in report.chains
    ]
    output.show(table(f"audit log {folder}", ("chain", "records", "files", "head", ""), rows))
    for one in report.chains:
        for gap in one.gaps:
            span = f"{_clock(gap['from_s'])} to {_clock(gap['to_s'])}"
            output.say(f"{one.chain}, record {gap['n']}: {gap['lost']} records were lost from {span}: {gap['why']}")
        for note in one.notes:
            output.say(f"{one.chain}: {note}")
    problems = report.all_problems
    if problems:
        found = [(one.chain, one.segment or "", str(one.record or ""), one.what) for one in problems]
        output.show(table("not as it was written", ("chain", "file", "record", "what"), found))
    output.emit(report.to_json())
    if not report.ok:
        raise typer.Exit(1)


@app.command("head", epilog="Example: cityloop audit head runs/service/audit")
def head_(folder: Folder, as_json: AsJson = None) -> None:
    """Print the last hash of every chain: kept elsewhere, it lets 'audit verify --head' tell if the end was cut off."""
    from serving.audit.query import heads

    output = Output(as_json)
    found = heads(folder)
    rows = [(chain, f"{head.n:,}", head.hash.hex()) for chain, head in found.items()]
    output.show(table(f"audit log {folder}", ("chain", "records", "head"), rows))
    output.emit({"heads": {chain: {"records": head.n, "head": head.hash.hex()} for chain, head in found.items()}})


@app.command(
    epilog="Example: cityloop audit show runs/service/audit --site intersections/cologne8 --what override --since 2h"
)
def show(
    folder: Folder,
    site: SiteOption = None,
    since: Since = None,
    what: Annotated[
        str | None, typer.Option(help="decision, shadow, change, gap, …, or what was changed: override, promote, …")
    ] = None,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most this many.")] = 20,
    as_json: AsJson = None,
) -> None:
    """Print the last records that fit, oldest first."""
    from serving.audit.query import recent

    output = Output(as_json)
    which = wanted(site, since, None, what)
    found = recent(folder, which, last)
    rows = [
        (
            record["chain"],
            str(record["n"]),
            _clock(record["at_s"]),
            "/".join(str(record[key]) for key in ("system", "site") if record.get(key)),
            str(record.get("what") or record["kind"]),
            str(record.get("who", "")),
            _summary(record),
        )
        for record in found
    ]
    output.show(table(f"audit log {folder}", ("chain", "record", "time (UTC)", "where", "what", "who", ""), rows))
    output.emit({"records": found})


def replay(
    folder: Folder,
    site: SiteOption = None,
    since: Since = None,
    until: Until = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle's folder, instead of the copy that the log keeps of it.")
    ] = None,
    as_json: AsJson = None,
) -> None:
    """Recompute every decision in an audit log and compare it bit by bit; exit code 1 if one differs."""
    from serving.audit.replay import replay as run

    output = Output(as_json)
    with output.bar("replaying") as show:
        found = run(folder, wanted(site, since, until), bundle, show)
    rows = [(f"by the {source}: equal to the last bit", f"{count:,}") for source, count in found.reproduced.items()]
    rows += [(f"equal as far as they could be made again: {why}", f"{count:,}") for why, count in found.partly.items()]
    rows += [("differ", f"{found.different:,}")]
    rows += [(f"in the shadow: {kind}", f"{count:,}") for kind, count in found.shadows.items()]
    output.show(table(f"{found.decisions:,} decisions of {folder}", ("decisions", "how many"), rows, numbers=1))
    if found.given:
        output.say(
            f"in {found.given:,} of those that are equal, the fallback stood in for a reason that is taken as recorded"
        )
    if found.inferred:
        output.say(f"{found.inferred:,} are only equal if the controller began anew, which no record tells")
    if found.differences:
        differ = [
            (f"{one.chain} {one.record}", f"{one.system}/{one.site}", str(one.tick), one.step, one.what)
            for one in found.differences
        ]
        output.show(table("decisions that differ", ("record", "where", "tick", "step", "what"), differ))
    for name, (recorded, here) in found.origin.items():
        output.say(f"another program: {name} was {recorded}, here it is {here}")
    output.emit(found.to_json())
    if not found.ok:
        raise typer.Exit(1)


def _clock(at_s: Any) -> str:
    if not isinstance(at_s, (int, float)) or not 0 <= at_s < END_S:  # altered
        return str(at_s)
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _summary(record: dict[str, Any]) -> str:
    """A record as one line; a remark if it was altered and cannot be read."""
    try:
        return _record_line(record)
    except (KeyError, TypeError, ValueError):
        return "it is not as such a record is written: see 'audit verify'"


def _record_line(record: dict[str, Any]) -> str:
    match record["kind"]:
        case "decision":
            by = f"tick {record['tick']} by {record['controller']} ({record['source']})"
            changed = f", {len(record['interventions'])} guard changes" if record["interventions"] else ""
            why = f": {record['fallback_reason']}" if record["fallback_reason"] else ""
            return f"{by}{changed}, {record['latency_ms']:g} ms{why}"
        case "shadow":
            return f"tick {record['tick']} by {record['controller']}: " + (
                record["error"] or f"{record['differs']:.0%} other"
            )
        case "change":
            return str(record["reason"])
        case "gap":
            return f"{record['lost']} records lost: {record['why']}"
        case "unsearched":
            return "what is older was not searched: narrow it with --since"
        case _:
            names = ("why", "sha256", "bytes", "what", "segments")
            return ", ".join(f"{name} {record[name]}" for name in names if record.get(name))
