"""An episode's events by rider: pick-ups, drop-offs, and promises kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.transit.kernel import events
from envs.transit.kernel.events import Log

if TYPE_CHECKING:
    from envs.transit.kernel.fleet import Riders

LATE_S = 1e-3
"""Tolerance of promises, in seconds: rounding."""

REFUSED_MIN = 30.0
"""Minutes of waiting that a refused party counts as in the headline: about those of walking, or of the next bus."""

Seconds = float | np.ndarray


class Ledger:
    """An episode's events by rider.

    Args:
        log: all rows, in the order of time.
        riders: requests and promises.

    Attributes:
        picked_s, dropped_s: times, float64 ``(R,)``; NaN: it did not happen.
        refused, withdrawn, absent: bool ``(R,)``.
        stranded: lost the vehicle by a breakdown, and no other could come.
        anew: got a new promise after a breakdown.
        delayed_s, prolonged_s: time by which streets made the pick-up later, and the ride longer, than plans allow;
            rounded up.
        unserved: refused or stranded.
        steady: the party neither withdraws nor stays away, whichever way it is dispatched; indicators compare these.
        served, turned_away: of the steady ones, who was picked up, and who was refused or stranded.
        owed: was promised a vehicle, and neither withdrew, nor stayed away, nor lost the promise by a breakdown.
    """

    def __init__(self, log: Log, riders: Riders):
        count = len(riders.origin)
        self.picked_s, self.dropped_s = np.full(count, np.nan), np.full(count, np.nan)
        for kind, column in ((events.PICKED_UP, self.picked_s), (events.DROPPED_OFF, self.dropped_s)):
            mine = log.kind == kind
            # In reverse, so that the first of two pick-ups (after a breakdown) counts.
            column[log.rider[mine][::-1]] = log.time_s[mine][::-1]
        self.refused, self.withdrawn, self.absent = (
            self._which(log, kind, count) for kind in (events.REFUSED, events.CANCELLED, events.ABSENT)
        )
        self.stranded = self._which(log, events.STRANDED, count)
        self.anew = np.zeros(count, bool)
        self.anew[log.rider[(log.kind == events.HANDED_OVER) & (log.load == events.ANEW)]] = True
        self.delayed_s, self.prolonged_s = np.zeros(count), np.zeros(count)
        for kind, column in ((events.DELAYED, self.delayed_s), (events.PROLONGED, self.prolonged_s)):
            mine = (log.kind == kind) & (log.rider >= 0)
            who = log.rider[mine]
            # The second wait of a rider who had to change vehicles is a part of the ride.
            again = log.time_s[mine] > self.picked_s[who] + LATE_S
            np.add.at(column, who[~again], log.load[mine][~again])
            np.add.at(self.prolonged_s, who[again], log.load[mine][again])
        self.picked_s[self.stranded] = np.nan
        self.unserved = self.refused | self.stranded
        self.steady = ~np.isfinite(riders.cancel_s) & ~riders.absent
        self.served, self.turned_away = np.isfinite(self.picked_s) & self.steady, self.unserved & self.steady
        self.wait_s = self.picked_s - riders.earliest_s
        self.ride_s = self.dropped_s - self.picked_s
        promised = self._which(log, events.PROMISED, count)
        self.owed = promised & ~self.withdrawn & ~self.absent & ~self.stranded & ~self.anew
        self._latest_s, self._limit_s = riders.latest_s, riders.limit_s

    def kept(self, delayed_s: Seconds = 0.0, prolonged_s: Seconds = 0.0) -> np.ndarray:
        """Riders whose first promise was kept, with an allowance in seconds; bool ``(R,)``."""
        in_time = self.picked_s <= self._latest_s + delayed_s + LATE_S
        return in_time & (self.ride_s <= self._limit_s + prolonged_s + LATE_S)

    def excused(self, margin_s: float) -> np.ndarray:
        """The same, with an allowance for lateness by streets beyond the margin of plans."""
        beyond = (np.maximum(seconds - margin_s, 0.0) for seconds in (self.delayed_s, self.prolonged_s))
        return self.kept(*beyond)

    @staticmethod
    def _which(log: Log, kind: int, count: int) -> np.ndarray:
        found = np.zeros(count, bool)
        mine = log.rider[log.kind == kind]
        found[mine[mine >= 0]] = True
        return found
