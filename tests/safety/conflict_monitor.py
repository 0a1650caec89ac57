"""A monitor of what a signal shows, like the malfunction management unit of a real cabinet.

It is independent of the guard and of the signal controller on purpose: it watches lamps second by second and judges
them by the site's conflicts and clearance times, so that an error in those two cannot hide itself. The times themselves
are those of `envs.intersections.site`: a red clearance is rounded to the nearest second here, too.
"""

from __future__ import annotations

import math

from envs.intersections.junction import GREEN, Junction, ite_red_clearance_s, ite_yellow_s, walking_s
from envs.intersections.site import SignalSite


class ConflictMonitor:
    """Watches the lamps of one junction, second by second.

    Args:
        site: the site.
        junction: the junction to watch.
    """

    def __init__(self, site: SignalSite, junction: Junction):
        self.site, self.junction = site, junction
        self._yields = set(junction.yields)
        self._limit_s = site.max_red_s(junction)
        self._conflicts: dict[str, list[tuple[int, int]]] = {}  # by state, as most are shown for long
        self._yellow_s = [self._least_yellow_s(k) for k in range(len(junction.movements))]
        self._clear_s = [self._least_clear_s(k) for k in range(len(junction.movements))]
        self._shown = ""
        self._ended = {"G": [-math.inf] * len(junction.movements), GREEN: [-math.inf] * len(junction.movements)}
        self._green: set[int] = set()
        self._yellow_from: dict[int, float] = {}
        self._red_from: dict[int, float] = {}

    def _least_yellow_s(self, movement: int) -> int:
        """The shortest yellow that any change of stage gives a movement by its own speed."""
        m = self.junction.movements[movement]
        if m.crossing or m.approach < 0:
            return 0
        fixed = self.site.timing.yellow_s
        return ite_yellow_s(m.speed_mps) if fixed is None else fixed

    def _least_clear_s(self, movement: int) -> int:
        """The shortest time from the end of a movement's green until a conflicting movement may start."""
        m = self.junction.movements[movement]
        if m.approach < 0:
            return walking_s(m.width_m) if m.crossing else 0
        fixed = self.site.timing.all_red_s
        return self._yellow_s[movement] + (ite_red_clearance_s(m.width_m, m.speed_mps) if fixed is None else fixed)

    def watch(self, time_s: float, state: str) -> list[str]:
        """Check the lamps at a time; call it every second, in order.

        Returns:
            Faults, one sentence each; empty if there is none.
        """
        if state not in self._conflicts:
            self._conflicts[state] = [(a, b) for a, b in self.junction.foes if not self._compatible(a, b, state)]
        faults = [
            f"{self.junction.id} at {time_s:g} s: movements {a} and {b} conflict, both green in {state}"
            for a, b in self._conflicts[state]
        ]
        for k, signal in enumerate(state):
            faults += self._lamp(k, signal, time_s)
        if state != self._shown:
            faults += self._intergreens(time_s, state)
        return faults

    def _intergreens(self, time_s: float, state: str) -> list[str]:
        """Faults at a change of lamps: movements that start before the junction is cleared of conflicting ones.

        A movement that starts, or need not give way any more, must wait for conflicting movements whose green has
        ended. In regime ``engineer`` it must also wait for those whose protected green has become permissive.
        """
        before, self._shown = self._shown or state, state
        for greens, ended in self._ended.items():
            for k, (was, now) in enumerate(zip(before, state, strict=True)):
                if was in greens and now not in greens:
                    ended[k] = time_s
        faults = []
        for k, (was, now) in enumerate(zip(before, state, strict=True)):
            if now not in GREEN or was == now or (was, now) == ("G", "g"):
                continue
            for other in self.junction.across[k]:
                first = "G" if state[other] in GREEN else GREEN
                yielding = now == "g" and (k, other) in self._yields  # it gives way to those that are still green
                if first == "G" and (yielding or self.site.regime == "resco"):
                    continue
                since_s = time_s - self._ended[first][other]
                if state[other] not in first and since_s < self._clear_s[other]:
                    due = f"{since_s:g} s after movement {other}, at least {self._clear_s[other]} s are due"
                    faults.append(f"{self.junction.id} movement {k} at {time_s:g} s: starts {due}")
        return faults

    def _compatible(self, a: int, b: int, state: str) -> bool:
        """Two crossing movements may both be green only if one of them is permissive and yields by right of way."""
        if state[a] not in GREEN or state[b] not in GREEN:
            return True
        return (state[a] == "g" and (a, b) in self._yields) or (state[b] == "g" and (b, a) in self._yields)

    def _lamp(self, k: int, signal: str, time_s: float) -> list[str]:
        """Faults of one movement's lamp: a yellow that is too short, a red that is too long."""
        if signal in GREEN:
            self._green.add(k)
            self._yellow_from.pop(k, None)
            self._red_from.pop(k, None)
            return []
        faults = []
        red_s = time_s - self._red_from.setdefault(k, time_s)
        if signal == "y":
            self._yellow_from.setdefault(k, time_s)
        elif k in self._green:
            self._green.discard(k)
            yellow_s = time_s - self._yellow_from.get(k, time_s)
            if yellow_s < self._yellow_s[k]:
                faults.append(f"yellow of {yellow_s:g} s, at least {self._yellow_s[k]} s are due")
        if self.junction.home_stages[k] >= 0 and red_s > self._limit_s:
            faults.append(f"red for {red_s:g} s, at most {self._limit_s:g} s are allowed")
        return [f"{self.junction.id} movement {k} at {time_s:g} s: {fault}" for fault in faults]
