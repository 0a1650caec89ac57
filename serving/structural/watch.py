"""Feeds structural monitors with ticks, apart from their decisions: a sink with a thread of its own.

A tick costs its sink a place in a bounded queue. The thread gathers samples into windows, judges each, and reports the
result. Samples that do not fit into the queue are missing from a window, and the monitor says so.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import orjson
from pydantic import BaseModel, ConfigDict, Field

from agents.monitors.storeys import StoreyMonitor, StoreyReport, Windows
from envs.core.machine.files import make_folder, write_bytes
from serving.core.events import Decision, Event, Structure
from serving.core.kept_file import read_kept

LOGGER = logging.getLogger("cityloop.serving")

QUEUE = 6000
"""Number of ticks that may wait: a minute's of a building at 100 Hz."""

GATHER_S = 0.5
"""Seconds for which ticks are gathered: waking up for each would delay the next one by more than the work takes."""

KEPT = 500
"""Number of reports of a site that are kept, over restarts too."""

Place = tuple[str, str]
"""System and site."""


class HeardAt(BaseModel):
    """What was heard in a window, and when it ended.

    Attributes:
        at_s: wall clock of its last tick, seconds since 1970.
        report: what the monitor made of it.
    """

    model_config = ConfigDict(extra="forbid")

    at_s: float
    report: StoreyReport


class _Kept(BaseModel):
    """What is written."""

    model_config = ConfigDict(extra="forbid")

    heard: list[HeardAt] = Field(default_factory=list)


@dataclass
class _Listener:
    """One building: its monitor, the window that is being gathered, and past reports."""

    monitor: StoreyMonitor
    windows: Windows
    path: Path | None
    heard: deque[HeardAt] = field(default_factory=lambda: deque(maxlen=KEPT))


class StructuralWatch:
    """A `Sink` that feeds structural monitors.

    Args:
        monitors: of the sites that have one.
        folder: the state folder, which keeps reports over restarts; None: none.
        tell: called with every report, in the watch's thread.
    """

    def __init__(
        self,
        monitors: Mapping[Place, StoreyMonitor],
        folder: Path | None = None,
        tell: Callable[[Structure], None] = lambda _: None,
    ):
        self._tell, self._lock = tell, threading.Lock()
        self._listeners = {place: _open(place, monitor, folder) for place, monitor in monitors.items()}
        self._ticks: SimpleQueue[Decision | None] = SimpleQueue()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if monitors:
            self._thread = threading.Thread(target=self._run, name="health", daemon=True)
            self._thread.start()

    def record(self, event: Event) -> None:
        """See `Sink.record`."""
        if not isinstance(event, Decision) or (event.system, event.site) not in self._listeners:
            return
        if self._ticks.qsize() < QUEUE:
            self._ticks.put(event)

    def close(self) -> None:
        """See `Sink.close`."""
        if self._thread is not None:
            self._over.set()
            self._ticks.put(None)
            self._thread.join()

    def monitor(self, place: Place) -> StoreyMonitor | None:
        """The monitor of a site; None: it has none."""
        listener = self._listeners.get(place)
        return None if listener is None else listener.monitor

    def heard(self, place: Place, limit: int = KEPT) -> list[HeardAt]:
        """The last reports of a site, oldest first."""
        with self._lock:
            return list(self._listeners[place].heard)[-limit:]

    def _run(self) -> None:
        while True:
            for tick in self._gathered():
                if tick is None:
                    return
                try:
                    self.take(tick)
                except Exception:
                    LOGGER.exception("health: a tick of %s/%s could not be listened to", tick.system, tick.site)

    def _gathered(self) -> Iterator[Decision | None]:
        """Ticks that have come, a moment after the first."""
        yield self._ticks.get()
        self._over.wait(GATHER_S)
        with suppress(Empty):
            while True:
                yield self._ticks.get_nowait()

    def take(self, tick: Decision) -> None:
        """Feed a tick to its monitor, in the calling thread."""
        listener = self._listeners[tick.system, tick.site]
        window = listener.windows.add(tick.time_s, orjson.loads(tick.body)["readings"], tick.begins)
        if window is None:
            return
        found = HeardAt(at_s=tick.at_s, report=listener.monitor.watch(window))
        with self._lock:
            listener.heard.append(found)
            kept = _Kept(heard=list(listener.heard))
        _keep(listener.path, kept)
        self._tell(Structure(tick.system, tick.site, found.at_s, found.report.model_dump(mode="json")))


def _open(place: Place, monitor: StoreyMonitor, folder: Path | None) -> _Listener:
    """A listener with the kept reports: an alarm of three windows in five outlives a restart."""
    path = None if folder is None else folder / "health" / f"{place[0]}.{place[1]}.json"
    if path is not None:
        make_folder(path.parent, "state folder")
    listener = _Listener(monitor, Windows(monitor.config), path)
    for found in _read(path).heard:
        listener.heard.append(found)
        monitor.remember(found.report)
    return listener


def _read(path: Path | None) -> _Kept:
    text = "health: %s cannot be read (%s): what was heard before is not known; it is kept as %s"
    return read_kept(path, _Kept, logging.ERROR, text)


def _keep(path: Path | None, kept: _Kept) -> None:
    if path is None:
        return
    try:
        write_bytes(path, kept.model_dump_json().encode())
    except OSError as error:
        LOGGER.error("health: %s cannot be written (%s); it will not be known after a restart", path, error.strerror)  # noqa: TRY400
