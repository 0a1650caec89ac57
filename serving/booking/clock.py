"""The time of a booking desk: the wall clock's, or what its callers tell; and what may be said of times."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from serving.booking.places import DAY_S, Unfit
from serving.booking.settings import BookingSettings

EARLY_S = 5.0
"""Seconds by which a vehicle's clock may be ahead of the service's."""

LATEST = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
"""Upper bound of callers' clocks."""


class Clock:
    """The clock that a desk goes by. All its times are seconds since 1970.

    Args:
        settings: the site's booking; its ``clock`` says whose clock it is.
        told: what a caller's clock showed at the site's last change; 0 if there was none.

    Raises:
        Unfit: if that is not before the year 2200.
    """

    def __init__(self, settings: BookingSettings, told: float):
        self.settings = settings
        self._told = told
        self._looked = self.now(None), time.monotonic()

    def now(self, at: datetime | None) -> float:
        """The present time. A caller's clock is set forward to the time of the message.

        Raises:
            Unfit: if that is so much later that all bookings would be deleted as past.
        """
        if self.settings.clock == "wall":
            return time.time()
        told = self._told if at is None else at.timestamp()
        if told >= LATEST:
            raise Unfit("at", at, "give a time before the year 2200")
        if self._told and told - self._told > self.settings.keep_days * DAY_S:
            last = datetime.fromtimestamp(self._told, ZoneInfo(self.settings.timezone)).isoformat(timespec="seconds")
            kept = f"what is over is kept for {self.settings.keep_days:g} days"
            raise Unfit("at", at, f"the last message came at {last}, and {kept}: go on in smaller steps")
        self._told = max(self._told, told)
        return self._told

    def happened(self, at: datetime | None, now: float) -> float:
        """The time of a reported event.

        Raises:
            Unfit: if it is still to come, or longer ago than anything is kept.
        """
        when = now if at is None else at.timestamp()
        if when > now + EARLY_S:
            raise Unfit("at", at, "that is still to come: report what has happened")
        if when < now - self.settings.keep_days * DAY_S:
            days = self.settings.keep_days
            raise Unfit("at", at, f"that is longer ago than anything is kept, {days:g} days: correct it")
        return min(when, now)

    def departs(self, at: datetime | None, now: float) -> float:
        """The time from which a trip is requested; not before the present.

        Raises:
            Unfit: if it is past, or later than one may book.
        """
        depart = now if at is None else at.timestamp()
        if depart < now - EARLY_S:
            raise Unfit("depart", at, "that is past: leave it out, or give a time to come")
        if depart > now + 3600 * self.settings.ahead_h:
            raise Unfit("depart", at, f"one may book {self.settings.ahead_h:g} h ahead: ask later")
        return max(depart, now)

    def refuse(self, at: datetime | None) -> None:
        """Refuse to be told the time where the clock is the wall's.

        Raises:
            Unfit: if it was told.
        """
        if at is not None and self.settings.clock == "wall":
            raise Unfit("at", at, "the service has a clock of its own: leave it out")

    def jumped(self, now: float) -> bool:
        """Whether the wall clock has gone ahead by a day more than time has since this was last asked."""
        passed_s, steady_s = now - self._looked[0], time.monotonic() - self._looked[1]
        self._looked = now, time.monotonic()
        return self.settings.clock == "wall" and passed_s >= steady_s + DAY_S
