"""Verification of a log: whether each chain is whole and unaltered from its first record to the last anchored one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError
from serving.audit import kept
from serving.audit.anchor import FILE, Anchor, checking_key
from serving.audit.chain import EMPTY, NOTHING, Head, Line, NotARecord, split
from serving.audit.query import chains
from serving.audit.records import OWN
from serving.audit.segments import Segment, Unreadable, list_segments, segment_name
from serving.audit.writer import in_use

MOST_PROBLEMS = 100
"""Number of problems of a chain that are listed."""

OWN_KINDS = {kind.encode() for kind in OWN}

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class LogProblem:
    """A fault of a log: something is not as it was written.

    Attributes:
        chain: its name.
        segment: file; None if the chain as a whole is at fault.
        record: number; None if no single one is at fault.
        what: the fault, in a sentence.
    """

    chain: str
    segment: str | None
    record: int | None
    what: str


@dataclass
class ChainReport:
    """Findings about one chain.

    Attributes:
        chain: its name.
        segments: number of files.
        first: number of the first record; more than 1 where older segments were deleted.
        head: number and hash of the last.
        problems: its faults.
        gaps: records that could not be written, by the log itself: time, number, reason.
        notes: further remarks.
    """

    chain: str
    segments: int = 0
    first: int = 0
    head: Head = EMPTY
    problems: list[LogProblem] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class LogReport:
    """Findings about a log.

    Attributes:
        chains: findings about each.
        problems: faults of no existing chain.
    """

    chains: list[ChainReport]
    problems: list[LogProblem]

    @property
    def all_problems(self) -> list[LogProblem]:
        """Problems of the log and of all chains."""
        return [*self.problems, *(problem for chain in self.chains for problem in chain.problems)]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.all_problems

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = [
            {
                "chain": one.chain,
                "ok": not one.problems,
                "segments": one.segments,
                "first": one.first,
                "records": one.head.n,
                "head": one.head.hash.hex(),
                "gaps": one.gaps,
                "notes": one.notes,
            }
            for one in self.chains
        ]
        return {"ok": self.ok, "chains": rows, "problems": [asdict(problem) for problem in self.all_problems]}


def verify(
    folder: Path,
    anchors: Path | None = None,
    heads: Sequence[str] = (),
    key: Path | None = None,
    on_progress: Progress = lambda fraction, note: None,
) -> LogReport:
    """Check every chain of a log.

    Where a key or a folder of anchors is given, a chain without any anchor is a problem, too: somebody who cannot make
    an anchor may still remove one.

    Args:
        folder: of the log.
        anchors: a folder of anchors, or one anchor's file, besides those in the log.
        heads: hashes once printed by `cityloop audit head`; each must still be in a chain.
        key: PEM file of the key, either half, that signs the anchors; every anchor must then be signed.
        on_progress: called with the share that is done.

    Raises:
        CityloopError: if there is no log, or nothing in it nor an anchor of it; or an anchor, a hash or the key cannot
            be used.
    """
    public = checking_key(key) if key else None
    wanted = {_hash(text) for text in heads}
    folders = chains(folder)
    seen = _anchors(folders, anchors)  # before the chains, which may grow meanwhile
    unsigned = [] if public is None else [anchor for anchor in seen if not anchor.is_signed_by(public)]
    files = {one: list_segments(one) for one in folders}
    total, done = sum(map(len, files.values())), 0
    if not (total or seen or wanted):
        raise CityloopError(
            f"{folder} holds no record, nor an anchor that saw one: whether there was any cannot be told; give the "
            "folder that the service writes its log to, or --anchor"
        )
    reports = []
    wants_anchors = key is not None or (anchors is not None and anchors.is_dir())
    for one in folders:
        walk = _Walk(one, files[one], {anchor.head.n for anchor in seen if anchor.chain == one.name}, wanted)
        for _ in walk.steps():
            done += 1
            on_progress(done / total, f"{one.name}, record {walk.report.head.n:,}")
        walk.compare([anchor for anchor in seen if anchor.chain == one.name])
        reports.append(walk.report)
        _check_kept(folder, walk)
    return LogReport(reports, _missing(reports, seen, unsigned, wanted, wants_anchors))


def _missing(
    reports: Sequence[ChainReport],
    seen: Sequence[Anchor],
    unsigned: Sequence[Anchor],
    wanted: Collection[bytes],
    wants_anchors: bool,
) -> list[LogProblem]:
    """Faults of no record: of anchors, of chains that only anchors know, of hashes that are in no chain.

    Args:
        reports: of the chains that are there.
        seen: the anchors.
        unsigned: those without a valid signature.
        wanted: hashes that were not found.
        wants_anchors: whether every chain must have an anchor.
    """
    there, vouched = {one.chain for one in reports}, {anchor.chain for anchor in seen}
    problems = [LogProblem(a.chain, None, None, "the anchor is not signed by that key") for a in unsigned]
    problems += [
        LogProblem(one.chain, None, None, "its anchor is missing: whether its end was cut off cannot be told")
        for one in reports
        if wants_anchors and one.segments and one.chain not in vouched
    ]
    problems += [
        LogProblem(anchor.chain, None, None, f"the chain is missing, whose record {anchor.head.n} an anchor has seen")
        for anchor in seen
        if anchor.chain not in there
    ]
    problems += [
        LogProblem(
            "", None, None, f"no record has the hash {digest.hex()}: what it was the head of was cut off or altered"
        )
        for digest in sorted(wanted)
    ]
    return problems


def _hash(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != len(NOTHING):
        raise CityloopError(f"head {text!r} is no hash: give the 64 digits that 'cityloop audit head' printed")
    return digest


def _anchors(folders: Sequence[Path], given: Path | None) -> list[Anchor]:
    paths = [one / FILE for one in folders if (one / FILE).exists()]
    if given is not None:
        if not given.exists():
            raise CityloopError(f"anchor {given} does not exist: give an anchor's file, or a folder of them")
        more = sorted(given.glob("*.json")) if given.is_dir() else [given]
        if not more:
            raise CityloopError(f"folder {given} holds no anchors: give the one that the settings name")
        paths += more
    return [Anchor.read(path) for path in paths]


class _Walk:
    """Walks along one chain, record by record, and continues behind any fault."""

    def __init__(self, folder: Path, segments: Sequence[Segment], numbers: set[int], heads: set[bytes]):
        self.report = ChainReport(folder.name, len(segments))
        self.sites: set[str] = set()
        self.bundles: set[str] = set()
        self._folder, self._segments, self._numbers, self._heads = folder, segments, numbers, heads
        self._anchored: dict[int, bytes] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._doomed: set[str] = set()
        self._begins: tuple[int, str] | None = None

    def steps(self) -> Iterator[None]:
        """Check the chain; yields once a segment."""
        live = in_use(self._folder)
        for k, segment in enumerate(self._segments):
            try:
                self._walk(segment, live, k == len(self._segments) - 1)
            except Unreadable as error:
                self._problem(segment, None, f"the file cannot be read to its end: {error}")
            yield
        told = self._begins and (str(self._begins[0]), self._begins[1]) in self._cuts
        if self._begins and not (told or self._segments[0].name in self._doomed):  # killed before it could go, too
            n = self._begins[0]
            self._problem(
                self._segments[0], n, f"records 1 to {n - 1} are missing, and no record tells that they were deleted"
            )

    def _walk(self, segment: Segment, live: bool, last: bool) -> None:
        count = 0
        for raw in segment.lines():
            if not raw.endswith(b"\n"):
                self._unfinished(segment, len(raw), live, last)
                return
            count += 1
            try:
                line = split(raw[:-1])
            except NotARecord as error:
                self._problem(segment, self.report.head.n + 1, f"line {count} is not a record: {error}")
                continue
            if count == 1:
                self._head_of(segment, line)
            self._follow(segment, line)
            if line.kind in OWN_KINDS:
                self._note(segment, line)
        if not count:
            self._problem(segment, None, "the file is empty")

    def _unfinished(self, segment: Segment, size: int, live: bool, last: bool) -> None:
        if not last:
            self._problem(segment, self.report.head.n + 1, "the file ends in the middle of a line")
        elif not live:
            where = f"{segment.name} ends in the middle of a line, {size} bytes after record {self.report.head.n}"
            self.report.notes.append(f"{where}: as when the process is killed; the next one cuts it off and records it")

    def _head_of(self, segment: Segment, line: Line) -> None:
        """Check the first record of a file, which states its place in the chain."""
        fields = _fields(line)
        if line.kind != b"segment":
            self._problem(segment, line.n, "the file does not begin with the record that a file begins with")
            return
        if _name(line.n, fields.get("at_s")) != segment.name:
            self._problem(segment, line.n, "the file is not called as its first record says")
        if fields.get("chain") != self._folder.name:
            self._problem(segment, line.n, f"the file belongs to {fields.get('chain')}")
        if not self.report.head.n and line.n > 1:
            try:
                self.report.head = Head(line.n - 1, bytes.fromhex(fields["before"]))
            except (KeyError, TypeError, ValueError):
                self.report.head = Head(line.n - 1, NOTHING)
            self._begins = (line.n, self.report.head.hash.hex())

    def _follow(self, segment: Segment, line: Line) -> None:
        head = self.report.head
        follows = line.follows(head.hash)
        if line.n > head.n + 1:
            many = f"records {head.n + 1} to {line.n - 1} are" if line.n > head.n + 2 else f"record {head.n + 1} is"
            self._problem(segment, line.n, f"{many} missing before record {line.n}")
        elif line.n <= head.n:
            self._problem(segment, line.n, f"record {line.n} stands after record {head.n}: moved or put in")
        elif not follows:
            before = f" or record {head.n} before it" if head.n else ""
            self._problem(segment, line.n, f"record {line.n}{before} was altered: the hash does not fit")
        self.report.first = self.report.first or line.n
        self.report.head = Head(line.n, line.hash)
        if line.n in self._numbers:
            self._anchored[line.n] = line.hash
        self._heads.discard(line.hash)

    def _note(self, segment: Segment, line: Line) -> None:
        fields = _fields(line)
        match line.kind:
            case b"pruned":
                self._cuts.add((str(fields.get("first")), str(fields.get("before"))))
                names = fields.get("segments")
                self._doomed |= set(map(str, names)) if isinstance(names, list) else set()
            case b"gap":
                self.report.gaps.append(
                    {key: fields.get(key) for key in ("n", "lost", "kinds", "from_s", "to_s", "why")}
                )
            case b"recovered":
                self.report.notes.append(f"record {line.n}: {OWN['recovered']} ({fields.get('bytes')} bytes)")
            case b"damaged":
                self._problem(segment, line.n, f"the log itself found: {fields.get('what')}")
            case b"site":
                self.sites.add(str(fields.get("sha256")))
            case b"bundle" if fields.get("kept"):
                self.bundles.add(str(fields["kept"]))

    def compare(self, anchors: Sequence[Anchor]) -> None:
        """Compare the chain with its anchors."""
        if not anchors:
            self.report.notes.append("there is no anchor: if the end was cut off, nothing here shows it")
        for anchor in anchors:
            n, head = anchor.head.n, self.report.head
            if n > head.n:
                self._problem(
                    None, head.n, f"records {head.n + 1} to {n} are missing at the end: an anchor has seen them"
                )
            elif n in self._anchored and self._anchored[n] != anchor.head.hash:
                self._problem(None, n, f"record {n} is not the one that an anchor has seen: the chain was written anew")

    def _problem(self, segment: Segment | None, n: int | None, what: str) -> None:
        if len(self.report.problems) < MOST_PROBLEMS:
            name = segment.path.name if segment else None
            self.report.problems.append(LogProblem(self.report.chain, name, n, what))


def _name(n: int, at_s: Any) -> str | None:
    """Name of a segment; None if its time is invalid."""
    try:
        return segment_name(n, at_s)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _fields(line: Line) -> dict[str, Any]:
    try:
        return line.fields()
    except ValueError:
        return {}


def _check_kept(folder: Path, walk: _Walk) -> None:
    """Check that the content of kept sites and bundles matches their names."""
    for sha256 in sorted(walk.sites):
        try:
            kept.read_site(folder, sha256)
        except CityloopError:
            path = str(kept.site_file(folder, sha256))
            walk.report.problems.append(LogProblem(walk.report.chain, path, None, "the kept site is gone or altered"))
    for name in sorted(walk.bundles):
        try:
            kept.find_bundle(folder, name)
        except CityloopError as error:
            walk.report.problems.append(LogProblem(walk.report.chain, None, None, str(error)))
