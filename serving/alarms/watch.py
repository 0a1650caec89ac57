"""Keeps the book of alarms from what happens: a sink with a thread of its own, so that no answer waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue

import orjson

from envs.core.conditions import Condition
from envs.core.errors import CityloopError
from envs.core.registry import System, get_system
from envs.core.site import Site
from serving.alarms.book import Alarm, AlarmBook
from serving.alarms.rules import Plant, SiteRules
from serving.events import Change, Decision, Event, Structure

log = logging.getLogger("cityloop.serving")

QUEUE = 1000
"""Events that may wait; of more, only the newest state matters, and it comes with the next tick."""

LOOK_S = 0.5
"""How often silence is looked for."""


class AlarmWatch:
    """A `Sink` that raises alarms.

    Args:
        sites: whose.
        path: where alarms are kept over restarts; None: nowhere.
        changed: told of every alarm that changed, in the watch's thread.
        clock: wall clock, seconds since 1970.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        path: Path | None = None,
        changed: Callable[[Alarm], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ):
        self.book = AlarmBook(path, changed)
        self.lock = threading.Lock()
        self._clock = clock
        self._rules = {(site.system, site.name): SiteRules(plant_of(site)) for site in sites}
        self._events: Queue[Event | None] = Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        """See `Sink.record`."""
        with suppress(Full):
            self._events.put_nowait(event)

    def close(self) -> None:
        """See `Sink.close`."""
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=LOOK_S)
            except Empty:
                self.look()
                continue
            if event is None:
                return
            try:
                self.take(event)
            except Exception:
                log.exception("alarms: an event could not be looked at")

    def take(self, event: Event) -> None:
        """Look at an event, in the thread that calls."""
        rules = self._rules.get((event.system, event.site))
        if rules is None:
            return
        if isinstance(event, Decision):
            with self.lock:
                self.book.hold(event.system, event.site, rules.decided(event), event.at_s)
        elif isinstance(event, Structure):
            with self.lock:
                self.book.hold(event.system, event.site, rules.listened(event), event.at_s)
        elif isinstance(event, Change):
            rules.changed(event)
        self.look()

    def acknowledge(self, number: int, who: str) -> Alarm:
        """See `AlarmBook.acknowledge`."""
        with self.lock:
            return self.book.acknowledge(number, who, self._clock()).model_copy()

    def shelve(self, number: int, who: str, reason: str, seconds: float) -> Alarm:
        """See `AlarmBook.shelve`."""
        with self.lock:
            return self.book.shelve(number, who, reason, seconds, self._clock()).model_copy()

    def look(self) -> None:
        """Look for sites that have fallen silent."""
        now_s = self._clock()
        with self.lock:
            for (system, site), rules in self._rules.items():
                self.book.hold(system, site, rules.waited(now_s), now_s)


def plant_of(site: Site) -> Plant:
    """What reads a site's own conditions from the body of a tick."""
    system = get_system(site.system)
    return lambda body: _conditions(system, site, body)


def _conditions(system: System, site: Site, body: bytes) -> list[Condition]:
    try:
        readings = system.readings.validate(orjson.loads(body)["readings"], site.axes)
    except (CityloopError, ValueError, KeyError):  # what was refused is not decided, and not looked at
        return []
    return system.conditions(site, readings)
