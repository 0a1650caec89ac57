"""Writing the files of one chain: append, rotate, sync, anchor, and delete old segments. One owner, one thread.

Every process writes a chain of its own, in a folder that it holds locked: ``chain-0``, ``chain-1``, … A process that
starts takes the first that nobody holds and continues where its last owner ended.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError
from envs.core.machine.files import DRAFT, sync_folder
from serving.audit.anchor import FILE, Anchor, signing_key
from serving.audit.chain import Head, NotARecord, seal, split
from serving.audit.origin import origin
from serving.audit.segments import Unreadable, aged_s, list_segments, segment_name
from serving.audit.settings import AuditSettings
from serving.audit.tail import Tail, recover

LOGGER = logging.getLogger("cityloop.audit")

FORMAT = 1
CHAIN = "chain-"
DAY_S = 86_400
LOOKED_S = (0.01, 0.05)
"""Seconds until a locked chain is tried again, as another process may only be checking whether it is in use."""

MB = 1_000_000
MOST_CHAINS = 1000

Item = tuple[str, dict[str, Any]]
"""Kind and fields of a record that is to be written."""


class Writer:
    """Writes one chain.

    Args:
        folder: of the log.
        settings: of the log.
        on_closed: called with every segment that is full.

    Attributes:
        chain: its name.
        folder: its own folder.
        head: its last record.
        sites: ``system/site`` → SHA-256 of its kept JSON, and its fallback.
        bundles: SHA-256 of a bundle's model → name of its copy; None: there is none.
        unsynced: whether something was written since the last `sync`.
        unanchored: reason why the last anchor could not be written; None if it was.

    Raises:
        CityloopError: if the folder cannot be written, its files cannot be read, or the key is invalid.
    """

    def __init__(self, folder: Path, settings: AuditSettings, on_closed: Callable[[Path], None] = lambda path: None):
        self._settings, self._on_closed = settings, on_closed
        self._key = signing_key(settings.key) if settings.key else None
        self.sites: dict[str, dict[str, str]] = {}
        self.bundles: dict[str, str | None] = {}
        self._file = self._lock = -1
        self._size, self._day, self._why = 0, 0, "start"
        self._torn, self.unsynced = False, False
        self._harm: dict[str, str] = {}  # change of a segment by another program, until it is recorded
        self.unanchored: str | None = None
        try:
            self.folder, self._lock = _claim(folder)
            self.chain = self.folder.name
            self._anchor = settings.anchors / f"{self.chain}.json" if settings.anchors else self.folder / FILE
            self._anchor.parent.mkdir(parents=True, exist_ok=True)
            for half in self.folder.glob(f"*{DRAFT}"):
                half.unlink()
            _check_readable(self.folder)
            tail = recover(self.folder)
            self.head = tail.head
            missing = self._missing()
            left = [one.path for one in list_segments(self.folder) if one.path.suffix != ".gz"]
            self._open(time.time())
            for path in left:
                on_closed(path)
            self._tell(tail, missing)
            self.sync()
        except OSError as error:
            self._drop()
            raise CityloopError(
                f"audit folder {folder} cannot be written ({error.strerror}): give one that can, on a disk with room"
            ) from None
        except BaseException:
            self._drop()
            raise

    def _missing(self) -> str | None:
        """Text about missing records that the last anchor covers; recorded before that anchor is replaced."""
        try:
            seen = Anchor.read(self._anchor).head
        except CityloopError:
            return f"anchor {self._anchor} cannot be read" if self._anchor.exists() else None
        if seen.n > self.head.n:
            return f"records {self.head.n + 1} to {seen.n} are missing at the end: an anchor has seen them"
        if seen.n == self.head.n and seen.hash != self.head.hash:
            return f"record {seen.n} is not the one that an anchor has seen"
        return None

    def _tell(self, tail: Tail, missing: str | None) -> None:
        """Record the state in which the last process left the chain."""
        if tail.torn:
            text = tail.torn[:200].decode(errors="backslashreplace")
            self.append(
                [("recovered", {"at_s": time.time(), "segment": tail.segment, "bytes": len(tail.torn), "text": text})]
            )
        for what in (tail.damage, missing):
            if what:
                LOGGER.error("audit log: %s is not as it was left: %s", self.folder, what)
                self.append([("damaged", {"at_s": time.time(), "segment": tail.segment, "what": what})])

    def append(self, items: Sequence[Item]) -> None:
        """Write records, all of them or none.

        Raises:
            OSError: if none was.
        """
        now = time.time()
        if self._torn:
            self._cut()
        self._look()
        if self._file < 0 or self._size >= self._settings.segment_mb * MB or now // DAY_S != self._day:
            self._rotate(now)
        if self._harm:
            self._put(self.head, [("damaged", {"at_s": now, **self._harm})])
            self._harm = {}
        self._put(self.head, items)
        for kind, fields in items:
            if kind == "site":
                self.sites[f"{fields['system']}/{fields['site']}"] = {
                    "sha256": fields["sha256"],
                    "fallback": fields["fallback"],
                }
            elif kind == "bundle":
                self.bundles[fields["sha256"]] = fields["kept"]

    def _look(self) -> None:
        """Continue in a new file, which records the fact, if another program has changed the present one."""
        what = self._disturbed() if self._file >= 0 else None
        if what is None:
            return
        LOGGER.error("audit log: %s/%s %s: what was in it may be lost", self.folder, self._path.name, what)
        disturbed, self._file, self._why = self._file, -1, "disturbed"
        self._harm = {"segment": self._path.name, "what": f"{self._path.name} {what}"}
        with suppress(OSError):  # moved, it may be found again
            os.fdatasync(disturbed)
        os.close(disturbed)
        self.unsynced = False

    def _disturbed(self) -> str | None:
        """Change of the present file by another program; None if there is none."""
        mine = os.fstat(self._file)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            named = None
        if named is None or not os.path.samestat(mine, named):
            return "was moved, removed or replaced while it was written"
        if mine.st_size != self._size:
            return f"has {mine.st_size} bytes where {self._size} were written"
        return None

    def _put(self, head: Head, items: Sequence[Item]) -> None:
        lines = []
        for kind, fields in items:
            head, line = seal(head, kind, fields)
            lines.append(line)
        content = b"".join(lines)
        self._torn = True
        try:
            write(self._file, content)
        except OSError:
            with suppress(OSError):  # else before the next attempt
                self._cut()
            raise
        self._torn, self.unsynced = False, True
        self._size += len(content)
        self.head = head

    def _cut(self) -> None:
        """Remove the remains of a failed attempt."""
        os.ftruncate(self._file, self._size)
        self._torn = False

    def _rotate(self, now: float) -> None:
        """Continue in a new file."""
        if self._file >= 0:
            self.sync()
            self._why = "day" if now // DAY_S != self._day else "size"
            full, self._file = self._file, -1
            os.close(full)
            self._on_closed(self._path)
        self._open(now)
        self._prune(now)

    def _open(self, now: float) -> None:
        header = {
            "at_s": now,
            "format": FORMAT,
            "chain": self.chain,
            "why": self._why,
            "before": self.head.hash.hex(),
            "origin": origin(),
            "sites": self.sites,
            "bundles": self.bundles,
        }
        self._path = path = self.folder / segment_name(self.head.n + 1, now)
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o640)
        self._size, self._day = 0, int(now // DAY_S)
        before = self.head
        try:
            self._put(before, [("segment", header)])
            sync_folder(self.folder)
        except OSError:  # the next attempt begins another file, where this one would have
            failed, self._file = self._file, -1
            self.head, self._torn, self.unsynced = before, False, False
            os.close(failed)
            path.unlink()
            raise

    def _prune(self, now: float) -> None:
        """Delete segments that are old enough, after recording the new begin of the chain."""
        if self._settings.keep_days is None:
            return
        segments, longest_s = list_segments(self.folder), self._settings.keep_days * DAY_S
        old = [one for one, age_s in zip(segments, aged_s(segments, now), strict=True) if age_s > longest_s]
        if not old:
            return
        first = segments[len(old)]
        try:
            header = split(next(first.lines()).rstrip(b"\n")).fields()
        except (Unreadable, NotARecord, StopIteration):
            LOGGER.exception("audit log: %s cannot be read, so nothing before it is deleted", first.path)
            return
        cut = {"first": header["n"], "before": header["before"], "segments": [one.name for one in old]}
        self._put(self.head, [("pruned", {"at_s": now, **cut})])
        self.sync()
        for one in old:
            for form in (self.folder / one.name, self.folder / f"{one.name}.gz"):  # it may be compressed meanwhile
                form.unlink(missing_ok=True)

    def sync(self) -> None:
        """Force what was written to the disk, then anchor it: an anchor never covers more than the disk holds.

        Raises:
            OSError: if the disk fails; `unanchored` is set if the anchor does.
        """
        os.fdatasync(self._file)
        self.unsynced = False
        try:
            Anchor(self.chain, self.head, time.time()).write(self._anchor, self._key)
            self.unanchored = None
        except OSError as error:  # the chain itself goes on
            self.unanchored = f"anchor {self._anchor} cannot be written ({error.strerror})"

    def close(self, items: Sequence[Item] = ()) -> None:
        """End the chain for now, after some last records. May be called twice.

        Raises:
            OSError: if its last record cannot be written.
        """
        if self._lock < 0:
            return
        try:
            self.append([*items, ("stop", {"at_s": time.time()})])
            self.sync()
        finally:
            self._drop()

    def _drop(self) -> None:
        for fd in (self._file, self._lock):
            if fd >= 0:
                os.close(fd)
        self._file = self._lock = -1


def write(file: int, content: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: if the disk took only a part.
    """
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _check_readable(chain: Path) -> None:
    """Refuse segments of another user: they would be taken for lost, and the chain recorded as damaged for good."""
    for one in list_segments(chain):
        if not os.access(one.path, os.R_OK):
            raise CityloopError(
                f"audit segment {one.path} may not be read: let the service's user own the log's folder"
            )


def _claim(folder: Path) -> tuple[Path, int]:
    """The first chain's folder that nobody holds, and its lock."""
    for k in range(MOST_CHAINS):
        own = folder / f"{CHAIN}{k}"
        own.mkdir(parents=True, exist_ok=True)
        lock = os.open(own / "lock", os.O_CREAT | os.O_RDWR, 0o640)
        if _locked(lock):
            return own, lock
        os.close(lock)
    raise CityloopError(f"audit folder {folder} has {MOST_CHAINS} chains in use: give another folder")


def _locked(lock: int) -> bool:
    """Lock a chain's folder, if nobody writes there; a process that only checks this holds it for a moment."""
    for wait_s in (*LOOKED_S, None):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if wait_s is not None:
            time.sleep(wait_s)
    return False


def in_use(chain: Path) -> bool:
    """Whether a process writes that chain at this moment."""
    try:
        lock = os.open(chain / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
