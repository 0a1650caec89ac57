"""The sinks of one process, put together: audit log, metrics, streams, alarms, log, and structural monitors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envs.core.machine.files import make_folder
from envs.core.site import Site
from serving.alarms.book import Alarm, Happening
from serving.alarms.watch import AlarmWatch
from serving.audit import AuditLog
from serving.core.closing import close_all
from serving.core.events import Event, Sink
from serving.core.gauges import gauges_of
from serving.watch.logs import LogSink
from serving.watch.metrics import Metrics
from serving.watch.streams import Streams

if TYPE_CHECKING:
    from agents.monitors.storeys import StoreyMonitor
    from serving.structural.watch import StructuralWatch


class Sinks:
    """The sinks of one process.

    Args:
        sites: served in this process.
        folder: the state folder; None: nothing outlives the process.
        audit: the audit log, if there is one.
        monitors: (system, site) → its structural monitor.
        numbers: the first alarm number, and the step to the next.

    Attributes:
        all: in the order in which they are called.
        structural: watch of buildings; None if no site has a monitor.

    Raises:
        CityloopError: if a folder in that one cannot be made or written.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        folder: Path | None,
        audit: AuditLog | None = None,
        monitors: Mapping[tuple[str, str], StoreyMonitor] | None = None,
        numbers: tuple[int, int] = (1, 1),
    ):
        self.metrics, self.streams, self._log = Metrics(sites), Streams(), LogSink()
        path = None if folder is None else folder / "alarms" / f"{_label(sites)}.json"
        if path is not None:
            make_folder(path.parent, "state folder")
        self.alarms = AlarmWatch(sites, path, self._alarm, numbers=numbers, listening=monitors or {})
        self.streams.ringing = self._ringing
        places = {(site.system, site.name): site for site in sites}
        self.streams.gauges = lambda place, body: gauges_of(places[place], body)
        self.metrics.watch_streams(lambda: self.streams.subscribers, lambda: self.streams.gaps)
        self.metrics.watch_alarms(lambda priority: sum(alarm.priority == priority for alarm in self._ringing()))
        if audit is not None:
            self.metrics.watch_audit(lambda: audit.healthy, lambda: audit.status["waiting"])
        first: tuple[Sink, ...] = () if audit is None else (audit,)
        others: tuple[Sink, ...] = (*first, self.metrics, self.streams, self.alarms, self._log)
        self.structural = _listen(monitors, folder, others) if monitors else None
        # What listens ends first, as it may have something to tell.
        self.all: tuple[Sink, ...] = others if self.structural is None else (self.structural, *others)

    def _alarm(self, alarm: Alarm, what: Happening, who: str | None) -> None:
        self.streams.alarm(alarm)
        self._log.alarm(alarm, what, who)

    def _ringing(self) -> list[Alarm]:
        """The alarms whose cause holds."""
        with self.alarms.lock:
            return [alarm.model_copy() for alarm in self.alarms.book.all(time.time()) if alarm.returned_s is None]

    def close(self) -> None:
        """Finish what is under way."""
        close_all(self.all)


def _listen(
    monitors: Mapping[tuple[str, str], StoreyMonitor], folder: Path | None, others: Sequence[Sink]
) -> StructuralWatch:
    """A watch of buildings that passes its reports to the other sinks."""
    from serving.structural.watch import StructuralWatch

    def tell(event: Event) -> None:
        for sink in others:
            sink.record(event)

    return StructuralWatch(monitors, folder, tell)


def _label(sites: Sequence[Site]) -> str:
    """A name for the file of a process: the sites that it serves."""
    return "+".join(f"{site.system}.{site.name}" for site in sites)[:200]
