"""The book of standing alarms and what operators did to them: plain state without a clock, written whole after changes.

An alarm is raised, acknowledged by somebody, and returns when its cause has gone. It stays in the book until both have
happened. A shelved alarm is silent until a given time. Alarms of one site that come soon after each other are one
incident.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from envs.core.conditions import Condition, Priority
from envs.core.machine.files import write_bytes
from serving.core.kept_file import read_kept

LOGGER = logging.getLogger("cityloop.serving")

State = Literal["raised", "acknowledged", "returned"]
"""Raised: it holds, nobody has seen it. Acknowledged: it holds. Returned: it holds no more, nobody has seen it."""

INCIDENT_S = 300.0
"""An alarm belongs to the incident of its site's last one within this time, or while one of it still holds."""

RATE_S = 600.0
"""Seconds over which alarms are counted: EEMUA 191 asks for less than one."""

COURSE_S = 24 * 3600.0
"""Seconds for which the times of alarms are kept."""

LONGEST_SHELF_S = 8 * 3600.0
"""Longest time of shelving, in seconds: a shift."""

Happening = Literal["raised", "returned", "acknowledged", "shelved", "unshelved"]
"""Changes of an alarm: the first two by itself, the others by a person."""

OnChange = Callable[["Alarm", Happening, str | None], None]
"""Called when an alarm changes, with the alarm, the change, and the person behind it; None: nobody."""

ORDER = {"high": 0, "medium": 1, "low": 2}


class Alarm(BaseModel):
    """One alarm.

    Attributes:
        id: its own; grows.
        system, site: where.
        key, priority, text, place: as of its `Condition`.
        state: one of `State`.
        incident: number of the incident that it belongs to: the id of its first alarm.
        raised_s, returned_s: wall clock; None: it still holds.
        count: how often it came back while it stood in the book.
        acknowledged_by, acknowledged_s: who saw it, and when.
        shelved_until_s: silent until then.
        shelved_by, shelved_for: who shelved it and why.
    """

    model_config = ConfigDict(extra="forbid")

    id: int
    system: str
    site: str
    key: str
    priority: Priority
    text: str
    place: str = ""
    state: State = "raised"
    incident: int
    raised_s: float
    returned_s: float | None = None
    count: int = 1
    acknowledged_by: str | None = None
    acknowledged_s: float | None = None
    shelved_until_s: float | None = None
    shelved_by: str | None = None
    shelved_for: str | None = None


def urgency(alarm: Alarm, now_s: float) -> tuple[bool, bool, int, bool, float]:
    """Sort key of alarms by need for a person: shelved ones last; of the others unacknowledged ones first, then by
    priority, then those that still hold before those that are over, then the newest.
    """
    shelved = (alarm.shelved_until_s or 0.0) > now_s
    over = alarm.state == "returned"
    return shelved, alarm.state == "acknowledged", ORDER[alarm.priority], over, -alarm.raised_s


class _Kept(BaseModel):
    """What is written."""

    model_config = ConfigDict(extra="forbid")

    last: int = 0
    sites: list[tuple[str, str]] = Field(default_factory=list)
    alarms: list[Alarm] = Field(default_factory=list)
    came: list[float] = Field(default_factory=list)


class NoSuchAlarm(KeyError):
    """An alarm that is not in the book."""


class AlarmBook:
    """The book of all standing alarms.

    Args:
        path: file that keeps them over restarts; None: none. Alarms of sites that it lacks are taken from the files
            beside it, the newest that has the site: a service may start with other sites or other shards.
        changed: see `OnChange`.
        first, step: its alarms have the numbers ``first``, ``first + step``, …: no two of several books have one.
        sites: (system, site) of those whose alarms they are; none: all that are in its own file.

    Attributes:
        fault: reason why its file could not be written; None once it was.
    """

    def __init__(
        self,
        path: Path | None = None,
        changed: OnChange = lambda *_: None,
        first: int = 1,
        step: int = 1,
        sites: Sequence[tuple[str, str]] = (),
    ):
        self._path, self._changed, self._altered = path, changed, False
        self.fault: str | None = None
        self._sites = list(sites)
        kept = _read(path) if path is None or not sites else _gathered(path, sites)
        self._last, self._first, self._step = kept.last, first, step
        self._alarms = {(a.system, a.site, a.key): a for a in kept.alarms}
        self._hushed: set[tuple[str, str, str]] = set()  # what holds beneath something worse
        self._came: deque[float] = deque(kept.came, maxlen=10_000)

    def all(self, now_s: float) -> list[Alarm]:
        """Every alarm, in the order of `urgency`."""
        return sorted(self._alarms.values(), key=lambda alarm: urgency(alarm, now_s))

    def standing(self, system: str, site: str) -> dict[str, Condition]:
        """Conditions of a site that hold by the book, by key."""
        mine = [a for a in self._alarms.values() if (a.system, a.site) == (system, site) and a.returned_s is None]
        return {alarm.key: Condition(alarm.key, alarm.priority, alarm.text, alarm.place) for alarm in mine}

    def rate(self, now_s: float) -> int:
        """Alarms that came in the last ten minutes (`RATE_S`), each return of one that still stood included."""
        return sum(now_s - RATE_S < came <= now_s for came in self._came)

    def course(self, since_s: float, now_s: float) -> list[int]:
        """Alarms that came in every ten minutes (`RATE_S`) until now, the oldest first; back to a time, a day at most.

        Args:
            since_s: nobody listened before; what is known from before that counts all the same.
            now_s: where the last ten minutes end.
        """
        first_s = min([since_s, *self._came])
        counts = [0] * min(1 + int((now_s - first_s) // RATE_S), int(COURSE_S // RATE_S))
        for came in self._came:
            before = int((now_s - came) // RATE_S)
            if 0 <= before < len(counts):
                counts[-1 - before] += 1
        return counts

    def hold(self, system: str, site: str, held: dict[str, Condition], now_s: float) -> None:
        """Update the conditions of a site: new ones are raised, those that are gone return."""
        hushed = set()
        for key, condition in held.items():
            place, worse = (system, site, key), self._alarms.get((system, site, condition.beneath))
            # Beneath one that holds, and on from there as long as it lasts: a tank that sinks says nothing new.
            if worse and place not in self._alarms and (worse.returned_s is None or place in self._hushed):
                hushed.add(place)
                continue
            self._raise(system, site, condition, now_s, self._alarms.get(place))
        self._hushed = {place for place in self._hushed if place[:2] != (system, site)} | hushed
        for alarm in [a for (s, p, _), a in self._alarms.items() if (s, p) == (system, site)]:
            if alarm.returned_s is None and alarm.key not in held:
                self._return(alarm, now_s)
            if (alarm.shelved_until_s or 0.0) > now_s + LONGEST_SHELF_S:  # the clock was put back
                alarm.shelved_until_s = now_s + LONGEST_SHELF_S

    def _raise(self, system: str, site: str, condition: Condition, now_s: float, alarm: Alarm | None) -> None:
        if alarm is not None and alarm.returned_s is None:
            if alarm.text != condition.text or alarm.priority != condition.priority:
                alarm.text, alarm.priority = condition.text, condition.priority  # not worth a write of its own
            return
        self._came.append(now_s)
        if alarm is not None:
            alarm.state, alarm.raised_s, alarm.returned_s = "raised", now_s, None
            alarm.text, alarm.priority, alarm.count = condition.text, condition.priority, alarm.count + 1
            self._keep(alarm, "raised")
            return
        self._last += 1 + (self._first - self._last - 1) % self._step
        new = Alarm(
            id=self._last,
            system=system,
            site=site,
            key=condition.key,
            priority=condition.priority,
            text=condition.text,
            place=condition.place,
            incident=self._incident(system, site, now_s),
            raised_s=now_s,
        )
        self._alarms[system, site, condition.key] = new
        self._keep(new, "raised")

    def _incident(self, system: str, site: str, now_s: float) -> int:
        mine = [a for a in self._alarms.values() if (a.system, a.site) == (system, site)]
        near = [a for a in mine if a.returned_s is None or abs(now_s - a.raised_s) <= INCIDENT_S]
        return max(near, key=lambda a: a.raised_s).incident if near else self._last

    def _return(self, alarm: Alarm, now_s: float) -> None:
        alarm.returned_s = now_s
        if alarm.state == "acknowledged":
            del self._alarms[alarm.system, alarm.site, alarm.key]
        alarm.state = "returned"
        self._keep(alarm, "returned")

    def find(self, number: int) -> Alarm:
        """The alarm of that number.

        Raises:
            NoSuchAlarm: if it is not there, or not any more.
        """
        for alarm in self._alarms.values():
            if alarm.id == number:
                return alarm
        raise NoSuchAlarm(number)

    def acknowledge(self, number: int, who: str, now_s: float) -> Alarm:
        """Acknowledge an alarm; one whose cause has gone leaves the book.

        Raises:
            NoSuchAlarm: if it is not there.
        """
        alarm = self.find(number)
        if alarm.state == "acknowledged":
            return alarm
        alarm.acknowledged_by, alarm.acknowledged_s = who, now_s
        if alarm.state == "returned":
            del self._alarms[alarm.system, alarm.site, alarm.key]
        else:
            alarm.state = "acknowledged"
        self._keep(alarm, "acknowledged", who)
        return alarm

    def shelve(self, number: int, who: str, reason: str, seconds: float, now_s: float) -> Alarm:
        """Shelve an alarm for a time, `LONGEST_SHELF_S` at most; 0 seconds bring it back.

        Raises:
            NoSuchAlarm: if it is not there.
        """
        alarm = self.find(number)
        until = now_s + min(seconds, LONGEST_SHELF_S) if seconds > 0 else None
        alarm.shelved_until_s = until
        alarm.shelved_by, alarm.shelved_for = (who, reason) if until else (None, None)
        self._keep(alarm, "shelved" if until else "unshelved", who)
        return alarm

    def _keep(self, alarm: Alarm, what: Happening, who: str | None = None) -> None:
        while self._came and self._came[0] < self._came[-1] - COURSE_S:
            self._came.popleft()
        self._altered = True
        self._changed(alarm, what, who)

    def unwritten(self) -> bytes | None:
        """The book's content for writing; None: nothing has changed since the last call, or there is no file."""
        if self._path is None or not self._altered:
            return None
        self._altered = False
        alarms, came = list(self._alarms.values()), list(self._came)
        kept = _Kept(last=self._last, sites=self._sites, alarms=alarms, came=came)
        return orjson.dumps(kept.model_dump())

    def write(self, content: bytes) -> None:
        """Write the content from `unwritten`, however long the disk takes."""
        assert self._path is not None
        try:
            write_bytes(self._path, content, mode=0o640)  # as the audit log: it names who acknowledged
        except OSError as error:
            why = error.strerror
            if self.fault is None:
                LOGGER.error("alarms: %s cannot be written (%s); they will not outlive this process", self._path, why)  # noqa: TRY400
            self._altered, self.fault = True, f"its alarms cannot be saved ({why})"  # to be tried again
        else:
            if self.fault is not None:
                LOGGER.warning("alarms: %s can be written again", self._path)
            self.fault = None


def _gathered(path: Path, sites: Sequence[tuple[str, str]]) -> _Kept:
    """Alarms of some sites from the files of a folder; numbers continue from the last in any of them."""
    open_sites = set(sites)
    books = {other: _read(other) for other in sorted(path.parent.glob("*.json"), key=_written_ns, reverse=True)}
    alarms = []
    for book in books.values():
        told = open_sites & ({*book.sites} or {(alarm.system, alarm.site) for alarm in book.alarms})
        alarms += [alarm for alarm in book.alarms if (alarm.system, alarm.site) in told]
        open_sites -= told
    last = max((book.last for book in books.values()), default=0)
    return books.get(path, _Kept()).model_copy(update={"alarms": alarms, "last": last})


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(path: Path | None) -> _Kept:
    text = "alarms in %s cannot be read (%s): they begin anew; it is kept as %s"
    return read_kept(path, _Kept, logging.WARNING, text)  # alarms that still hold are raised anew
