"""Raises alarms from events: a sink with a thread of its own, so that no answer waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from serving.alarms.book import Alarm, AlarmBook, NoSuchAlarm, OnChange
from serving.alarms.rules import STRUCTURE, PlantConditions, SiteRules
from serving.alarms.sensors import SilentSensors
from serving.alarms.told import AlarmsTold
from serving.core.events import Decision, Event, Shadowed, SiteChange, Structure

LOGGER = logging.getLogger("cityloop.serving")

QUEUE = 1000
"""At most so many events wait before decisions are dropped: the next decision repeats what matters. Other events are
few and are never dropped."""

LOOK_S = 0.5
"""Seconds between checks for silent sites."""

GATHER_S = 0.02
"""Seconds for which events are gathered and looked at together: waking up for each would cost more than the look."""


class AlarmWatch:
    """A `Sink` that raises alarms.

    Args:
        sites: of the alarms.
        path: file that keeps alarms over restarts; None: none.
        changed: see `OnChange`; called in the watch's thread, or in that of the caller who acknowledges or shelves.
        clock: wall clock, seconds since 1970.
        numbers: see `AlarmBook`.
        listening: (system, site) of buildings with a monitor, whose last conditions stand over a restart.
        steady: monotonic seconds, for silence, which does not depend on the wall clock.

    Attributes:
        book: of all alarms; `lock` is held while it is looked at.
        since_s: when it began to listen.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        path: Path | None = None,
        changed: OnChange = lambda *_: None,
        clock: Callable[[], float] = time.time,
        numbers: tuple[int, int] = (1, 1),
        listening: Container[tuple[str, str]] = (),
        steady: Callable[[], float] = time.monotonic,
    ):
        self.book = AlarmBook(path, changed, *numbers, sites=[(site.system, site.name) for site in sites])
        self.lock, self._writing = threading.Lock(), threading.Lock()
        self._clock, self._steady, self.since_s = clock, steady, clock()
        self._rules = {(site.system, site.name): self._rules_of(site, listening) for site in sites}
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self._thread.start()

    def _rules_of(self, site: Site, listening: Container[tuple[str, str]]) -> SiteRules:
        place = (site.system, site.name)
        before = self.book.standing(*place)
        told = {key: one for key, one in before.items() if key not in STRUCTURE or place in listening}
        interval_s = get_system(site.system).consistency(site).interval_s
        return SiteRules(plant_of(site, told), told, interval_s)

    def record(self, event: Event) -> None:
        """See `Sink.record`."""
        if isinstance(event, Shadowed):  # nothing rings for what was never carried out
            return
        if not isinstance(event, Decision) or self._events.qsize() < QUEUE:
            self._events.put(event)

    def close(self) -> None:
        """See `Sink.close`."""
        self._events.put(None)
        self._thread.join()
        self._write()

    def _run(self) -> None:
        looked_s = time.monotonic()
        while True:
            for event in self._gathered():
                if event is None:
                    return
                try:
                    self.take(event)
                except Exception:
                    LOGGER.exception("alarms: an event could not be looked at")
            if time.monotonic() - looked_s >= LOOK_S:
                try:
                    self.check_silence()
                except Exception:
                    LOGGER.exception("alarms: silence could not be looked for")
                looked_s = time.monotonic()

    def _gathered(self) -> Iterator[Event | None]:
        """Events that have come, once there are some, for `LOOK_S` at most; none after as long without any."""
        with suppress(Empty):
            first = self._events.get(timeout=LOOK_S)
            until_s = time.monotonic() + LOOK_S
            yield first
            time.sleep(GATHER_S)
            while time.monotonic() < until_s:
                yield self._events.get_nowait()

    def take(self, event: Event) -> None:
        """Look at an event, in the thread that calls."""
        rules = self._rules.get((event.system, event.site))
        if rules is None:
            return
        if isinstance(event, Decision):
            held = rules.decided(event, self._steady())
        elif isinstance(event, Structure):
            held = rules.listened(event)
        elif isinstance(event, SiteChange):
            held = rules.changed(event)
        else:
            return
        with self.lock:
            self.book.hold(event.system, event.site, held, event.at_s)
        self._write()

    def _write(self) -> None:
        """Write the book to disk, outside of `lock`, for which the event loop waits."""
        with self._writing:
            with self.lock:
                content = self.book.unwritten()
            if content is not None:
                self.book.write(content)

    def listed(self, wanted: Callable[[str, str], bool]) -> AlarmsTold:
        """The alarms of the wanted sites, and the rate of alarms at all sites."""
        with self.lock:
            now_s = self._clock()
            found = [alarm.model_copy() for alarm in self.book.all(now_s) if wanted(alarm.system, alarm.site)]
            return AlarmsTold(found, self.book.rate(now_s), self.book.course(self.since_s, now_s))

    def find(self, number: int) -> Alarm | None:
        """The alarm of that number; None if it is not there."""
        with self.lock, suppress(NoSuchAlarm):
            return self.book.find(number).model_copy()
        return None

    def acknowledge(self, number: int, who: str) -> tuple[Alarm, bool]:
        """See `AlarmBook.acknowledge`; also whether nobody had before."""
        with self.lock:
            new = self.book.find(number).state != "acknowledged"
            alarm = self.book.acknowledge(number, who, self._clock()).model_copy()
        self._write()
        return alarm, new

    def shelve(self, number: int, who: str, reason: str, seconds: float) -> Alarm:
        """See `AlarmBook.shelve`."""
        with self.lock:
            alarm = self.book.shelve(number, who, reason, seconds, self._clock()).model_copy()
        self._write()
        return alarm

    def check_silence(self) -> None:
        """Find sites that have fallen silent."""
        now_s, steady_s = self._clock(), self._steady()
        with self.lock:
            for (system, site), rules in self._rules.items():
                self.book.hold(system, site, rules.waited(steady_s), now_s)
        self._write()


def plant_of(site: Site, standing: Mapping[str, Condition] | None = None) -> PlantConditions:
    """A function from readings to a site's own conditions, silent sensors included.

    Args:
        site: whose.
        standing: see `SilentSensors`.
    """
    system, sensors = get_system(site.system), SilentSensors(site, standing)

    def conditions(readings: Readings, time_s: float) -> Iterator[Condition]:
        yield from system.conditions(site, readings)
        yield from sensors.conditions(readings, time_s)

    return conditions
