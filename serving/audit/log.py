"""The audit log within the service: a sink that takes every event at once and writes it in a thread of its own.

Nothing that happens to the disk delays an answer. Records that cannot be written wait, up to a bound. Beyond it they
are counted, and the count is chained as a ``gap`` as soon as writing works again. Until then the log is degraded, as
`AuditLog.degraded` and the service's own log say.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from agents.policy import MODEL
from envs.core.errors import CityloopError
from envs.core.site import Site
from serving.audit import kept
from serving.audit.query import Wanted, recent
from serving.audit.records import KINDS, to_fields
from serving.audit.segments import compress
from serving.audit.settings import AuditSettings
from serving.audit.writer import MB, Item, Writer
from serving.core.events import Decision, Event, Shadowed, SiteChange

LOGGER = logging.getLogger("cityloop.audit")

BATCH = 256
"""Records that are written at once, at most."""

GATHER_S = 0.005
"""Seconds for which records are gathered and written together: a write for each would cost more than the record."""

RETRY_S = 0.5
REMIND_S = 60.0
"""Seconds between repeated messages that the log cannot be written."""

NICE = 19
"""Nice value of compression, which takes only idle time of the processor."""

SPARE = 1000
"""Number of changes that find room where decisions do not: they are few, and each counts."""

RECORD_BYTES = 2000
"""Rough size of a record in memory beside the body of its tick."""


@dataclass
class _Loss:
    """Records that were lost in a row."""

    why: str
    from_s: float
    to_s: float
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, lost: Counter[str], from_s: float, to_s: float) -> None:
        """Count more."""
        self.lost += lost
        self.from_s, self.to_s = min(self.from_s, from_s), max(self.to_s, to_s)


@dataclass(frozen=True)
class _Site:
    system: str
    site: str
    site_hash: str
    fallback: str
    why: str | None
    content: bytes


@dataclass(frozen=True)
class _Bundle:
    folder: Path


_Record = Event | _Site | _Bundle | _Loss
_Entry = tuple[_Record, int]


def _bundles_in(what: _Record) -> list[tuple[str, Callable[[], Path | None]]]:
    """The bundles that a record names, each with a function that finds its folder."""
    if isinstance(what, (Decision, Shadowed)) and what.bundle:
        return [(what.bundle, partial(kept.find_shipped, what.bundle))]
    if isinstance(what, SiteChange) and what.system:
        named = what.detail.get("bundles") or {}
        return [(sha256, partial(_bundle, ref, sha256)) for ref, sha256 in named.items() if sha256]
    return []


def _bundle(ref: str, sha256: str) -> Path | None:
    """The folder of a bundle by the name or path that a change gave it, and its SHA-256; None if there is none."""
    return kept.find_shipped(sha256) or (Path(ref) if "/" in ref or Path(ref).is_dir() else None)


class AuditLog:
    """A `Sink` that chains and keeps every event; see the module and `AuditSettings`.

    Args:
        folder: of the log; made if it does not exist. Several processes may share it.
        settings: of the log.

    Attributes:
        folder: as given.
        lost: numbers of records ever lost, by kind.

    Raises:
        CityloopError: if the folder cannot be written, or the key is invalid.
    """

    def __init__(self, folder: Path, settings: AuditSettings | None = None):
        self.folder, self._settings = Path(folder), settings or AuditSettings()
        self._queue: SimpleQueue[_Entry | Future[bool] | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards the four below
        self._waiting, self._bytes = 0, 0
        self._loss: _Loss | None = None
        self._closed = False
        self.lost: Counter[str] = Counter()
        self._trouble: str | None = None
        self._reminded_s = 0.0
        self._closing = threading.Event()
        self._compressing: SimpleQueue[Path | None] = SimpleQueue()
        self._writer = Writer(self.folder, self._settings, self._compressing.put)
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()
        threading.Thread(target=self._compress, name="audit compress", daemon=True).start()

    def record(self, event: Event) -> None:
        """Take note; returns at once, never raises."""
        self._take(event, RECORD_BYTES + (len(event.body) if isinstance(event, Decision) else 0))

    def keep_site(self, site: Site, fallback: str, why: str | None = None) -> None:
        """Keep a site that is served from now on, and the name of its fallback, so that decisions can be replayed.

        ``why`` is the reason for the choice of controller, where ``policy`` was asked for.
        """
        content = site.model_dump_json().encode()
        self._take(_Site(site.system, site.name, site.hash, fallback, why, content), RECORD_BYTES + len(content))

    def keep_bundle(self, folder: Path) -> None:
        """Keep a bundle that is in use from now on; bundles that ship are kept without this call."""
        self._take(_Bundle(Path(folder)), RECORD_BYTES)

    def _take(self, what: Event | _Site | _Bundle, size: int) -> None:
        settings = self._settings
        with self._lock:
            # Once something was lost, there must be room for many: else there would be a gap a record.
            share = 2 if self._loss else 1
            most = settings.queue_records // share + (0 if isinstance(what, (Decision, Shadowed)) else SPARE)
            if self._closed or self._waiting >= most or self._bytes + size > settings.queue_mb * MB / share:
                first = self._loss is None
                self._lose(what)
            else:
                if self._loss:
                    self._queue.put((self._loss, 0))
                    self._loss = None
                self._waiting += 1
                self._bytes += size
                self._queue.put((what, size))
                return
        if first:
            LOGGER.error("audit log: records are being lost: %s", self.degraded)

    def _lose(self, what: Event | _Site | _Bundle) -> None:
        other = "the log is closed" if self._closed else "more came than could be written"
        at_s = getattr(what, "at_s", time.time())
        self._loss = self._loss or _Loss(self._trouble or other, at_s, at_s)
        kind = KINDS.get(type(what), "kept")  # type: ignore[arg-type]
        self._loss.add(Counter([kind]), at_s, at_s)
        self.lost[kind] += 1

    def _give_up(self, batch: list[_Entry]) -> None:
        """Count as lost what was not written before the end: a batch, and all that waits behind it."""
        with suppress(Empty):
            while True:
                entry = self._queue.get_nowait()
                if isinstance(entry, tuple):
                    batch.append(entry)
        with self._lock:
            for what, _ in batch:
                if not isinstance(what, _Loss):
                    self._lose(what)
                elif self._loss is None:
                    self._loss = what
                else:
                    self._loss.add(what.lost, what.from_s, what.to_s)

    @property
    def degraded(self) -> str | None:
        """Reason why records cannot be written, or were lost without a record of it yet; None if all is well."""
        loss = self._loss
        if self._trouble:
            return self._trouble
        if loss:
            return f"{sum(loss.lost.values())} records lost: {loss.why}"
        if not self._thread.is_alive() and not self._closed:
            return "its thread has ended"
        return self._writer.unanchored

    @property
    def healthy(self) -> bool:
        """Whether every record is, or is about to be, written."""
        return self.degraded is None

    @property
    def status(self) -> dict[str, Any]:
        """The state of the log, as plain data: for metrics and pages."""
        head = self._writer.head
        return {
            "chain": self._writer.chain,
            "records": head.n,
            "head": head.hash.hex(),
            "waiting": self._waiting,
            "lost": dict(self.lost),
            "degraded": self.degraded,
        }

    def recent(self, wanted: Wanted, limit: int = 100) -> list[dict[str, Any]]:
        """The last records that match, of all chains in the folder, oldest first; see `query.recent`.

        Reads files, and waits until all records so far are in them, unless the log cannot be written.
        """
        if self.healthy:
            self.flush(1.0)
        return recent(self.folder, wanted, limit)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything so far is written and synced; returns whether it was, in time."""
        done: Future[bool] = Future()
        self._queue.put(done)
        try:
            return done.result(timeout_s)
        except TimeoutError:
            return False

    def close(self) -> None:
        """Write all waiting records, and end. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._closing.set()
        self._queue.put(None)
        self._compressing.put(None)
        self._thread.join(10 * RETRY_S)
        if self._thread.is_alive() or self._waiting:
            why = self._loss.why if self._loss else self._trouble or "the disk does not answer"
            LOGGER.error("audit log: closed with %d records unwritten: %s", self._waiting, why)

    def _work(self) -> None:
        end, failed, synced_s = False, False, time.monotonic()
        while not (end or failed):
            batch, told, end = self._drain(synced_s + self._settings.sync_s if self._unsafe else None)
            failed = bool(batch) and not self._write(batch)
            now = time.monotonic()
            if self._unsafe and (told or now - synced_s >= self._settings.sync_s):
                self._attempt(self._writer.sync)
                synced_s = now
            for one in told:
                one.set_result(not failed and not self._writer.unsynced)
        if failed:
            self._give_up(batch)
        gap = self._items([(self._loss, 0)]) if self._loss else []
        self._attempt(lambda: self._writer.close(gap))

    @property
    def _unsafe(self) -> bool:
        """Whether something is yet to be synced or anchored, which must not wait for a next record."""
        return self._writer.unsynced or self._writer.unanchored is not None

    def _drain(self, until_s: float | None) -> tuple[list[_Entry], list[Future[bool]], bool]:
        """Waiting records, events to set once they are synced, and whether to end; waits for the first until a time."""
        batch: list[_Entry] = []
        told: list[Future[bool]] = []
        size = 0
        with suppress(Empty):
            entry = self._queue.get(timeout=None if until_s is None else max(0.0, until_s - time.monotonic()))
            if isinstance(entry, tuple):
                time.sleep(GATHER_S)
            while entry is not None:
                if isinstance(entry, Future):
                    told.append(entry)
                else:
                    batch.append(entry)
                    size += entry[1]
                if told or len(batch) == BATCH or size > MB:
                    return batch, told, False
                entry = self._queue.get_nowait()
            return batch, told, True
        return batch, told, False

    def _write(self, batch: list[_Entry]) -> bool:
        """Write a batch, however long that takes; false if the log is to end and it could not be written."""
        last = False
        while not self._attempt(lambda: self._writer.append(self._items(batch))):
            if last:
                return False
            last = self._closing.wait(RETRY_S)
        with self._lock:
            self._waiting -= sum(1 for _, size in batch if size)
            self._bytes -= sum(size for _, size in batch)
            loss = None if self._waiting or self._closed else self._loss
            if loss:
                self._loss = None
        # Nothing waits that came before what was lost.
        return loss is None or self._write([(loss, 0)])

    def _attempt(self, job: Callable[[], None]) -> bool:
        """Call a function on the files; returns whether it succeeded, and logs failures."""
        try:
            job()
        except Exception as error:
            self._complain(error)
            return False
        if self._trouble:
            LOGGER.warning("audit log: %s can be written again", self._writer.folder)
            self._trouble = None
        return True

    def _complain(self, error: Exception) -> None:
        reason = (isinstance(error, OSError) and error.strerror) or repr(error)
        why, now = f"{self._writer.folder} cannot be written ({reason})", time.monotonic()
        if self._trouble is None or now - self._reminded_s > REMIND_S:
            trace = None if isinstance(error, OSError) else error  # else it is a fault of the log itself
            LOGGER.error("audit log: %s; %d records wait", why, self._waiting, exc_info=trace)
            self._reminded_s = now
        self._trouble = why

    def _items(self, batch: list[_Entry]) -> list[Item]:
        items: list[Item] = []
        known = set(self._writer.bundles)
        for what, _ in batch:
            for sha256, find in _bundles_in(what):
                if sha256 not in known:
                    known.add(sha256)
                    items.append(self._bundle(find, sha256))
            try:
                kind, fields = self._item(what)
                if kind == "bundle":  # told of in this batch; what decided with it may stand in the same
                    known.add(fields["sha256"])
                items.append((kind, fields))
            except OSError:
                raise
            except Exception:  # nothing that somebody hands over may stop the log
                LOGGER.exception("audit log: something cannot be told")
                items.append(("unwritable", {"at_s": time.time(), "what": ascii(what)}))
        return items

    def _item(self, what: _Record) -> Item:
        if isinstance(what, _Site):
            sha256 = kept.keep_site(self.folder, what.content)
            names = {"system": what.system, "site": what.site, "site_hash": what.site_hash}
            return "site", {
                "at_s": time.time(),
                **names,
                "fallback": what.fallback,
                "why": what.why,
                "sha256": sha256,
            }
        if isinstance(what, _Bundle):
            return self._bundle(lambda: what.folder, None)
        if isinstance(what, _Loss):
            counts = {"lost": sum(what.lost.values()), "kinds": dict(what.lost)}
            return "gap", {"at_s": time.time(), **counts, "from_s": what.from_s, "to_s": what.to_s, "why": what.why}
        return KINDS[type(what)], to_fields(what)

    def _bundle(self, find: Callable[[], Path | None], sha256: str | None) -> Item:
        """The record of a bundle, which is kept if it can be."""
        source, content, why = None, {}, None
        try:  # where it lies is not the log's disk: nothing to wait for
            source = find()
            if source is None:
                why = "nobody said where it lies"
            elif not self._settings.keep_bundles:
                why = "bundles are not kept"
            else:
                content = kept.read_bundle(source)
        except OSError as error:
            why = f"it cannot be read ({error.strerror})"
        except CityloopError as error:
            why = str(error)
        name, files = kept.keep_bundle(self.folder, content) if content else (None, {})
        path = None if source is None else str(source)
        fields = {"sha256": files.get(MODEL, sha256), "kept": name, "files": files, "path": path, "not_kept": why}
        return "bundle", {"at_s": time.time(), **fields}

    def _compress(self) -> None:
        with suppress(OSError, AttributeError):  # where a thread has no priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while (path := self._compressing.get()) is not None:
            if self._settings.compress:
                try:
                    compress(path)
                except FileNotFoundError:  # it has been deleted meanwhile
                    pass
                except OSError as error:
                    LOGGER.warning("audit log: %s stays as it is (%s)", path, error.strerror)
