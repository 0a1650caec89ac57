"""The signal guard: which stage may be asked for, what is carried out instead, and a monitor of what is shown.

`SignalGuard` stands between any controller and the cabinet. It is pure: it needs the site and the readings, nothing
else, so it is the same object as an action mask in training, in evaluation and in service. `ConflictMonitor` is
independent of it: it watches the lamps second by second, like the malfunction management unit of a real cabinet.
"""

from __future__ import annotations

import math

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests
from envs.intersections.site import GREEN, Junction, SignalSite, ite_red_clearance_s, ite_yellow_s, walking_s


class SignalGuard:
    """Keeps minimum greens, intergreens and maximum reds, and lets nothing but a stage of the site through.

    Reasons of its interventions: ``clearing`` (a change is under way), ``min_green``, ``max_red`` (a movement is
    overdue, or would be), ``invalid`` (no such stage).
    """

    reasons: tuple[str, ...] = ("invalid", "clearing", "min_green", "max_red")

    def __init__(self, site: SignalSite):
        junctions = site.junctions
        self.site = site
        widest = max(len(junction.movements) for junction in junctions)
        self._stages = site.most_stages
        # The movements that each stage is home to, padded with the number of all: a dummy that is never red.
        total = sum(len(junction.movements) for junction in junctions)
        self._index = np.full((len(junctions), self._stages, widest), total)
        self._force_red_s = np.full((len(junctions), self._stages), np.inf)
        start = 0
        for j, junction in enumerate(junctions):
            for k, home in enumerate(junction.home_stages):
                if home >= 0:
                    self._index[j, home, k] = start + k
            ages = site.force_red_s(junction)
            self._force_red_s[j, : len(ages)] = ages
            start += len(junction.movements)
        self._exists = np.array([[s < len(j.stages) for s in range(self._stages)] for j in junctions])
        self._least_force_red_s = self._force_red_s.min()
        self._rows = np.arange(len(junctions))

    def _overdue(self, readings: Readings) -> tuple[np.ndarray, np.ndarray]:
        """Whether a junction must now serve a home stage, and the one that has waited longest."""
        waited = np.append(readings["red_s"], -1.0)[self._index].max(axis=2)
        overdue = -np.sort(-waited, axis=1) >= self._force_red_s
        return np.any(overdue, axis=1), waited.argmax(axis=1)

    def mask(self, readings: Readings) -> np.ndarray:
        """What may be asked for: bool ``(junctions, stages)``, at least one True a row."""
        stage = readings["stage"].astype(np.int64)
        locked = (readings["clearing_s"] > 0) | (readings["green_s"] < self.site.timing.min_green_s)
        forced, only = locked, stage
        if readings["red_s"].max() >= self._least_force_red_s:  # hardly ever: nobody is anywhere near the limit
            overdue, home = self._overdue(readings)
            forced, only = locked | overdue, np.where(locked, stage, home)
        mask = self._exists.copy()
        rows = forced.nonzero()[0]
        if len(rows):
            mask[rows] = False
            mask[rows, only[rows]] = True
        return mask

    def check(
        self, readings: Readings, requests: Requests, mask: np.ndarray | None = None
    ) -> tuple[Commands, list[Intervention]]:
        """The stages to carry out.

        Args:
            readings: of this moment.
            requests: wished stage of every junction; anything that is no stage counts as "no wish".
            mask: of these readings, if the caller has it already.

        Returns:
            int64 ``(junctions,)`` stages, and every change with its reason.
        """
        mask = self.mask(readings) if mask is None else mask
        wished, valid = self._wishes(requests)
        allowed = valid & mask[self._rows, wished]
        if allowed.all():
            return wished, []
        stage = readings["stage"].astype(np.int64)
        keep = mask[self._rows, stage]
        commands = np.where(allowed, wished, np.where(keep, stage, mask.argmax(axis=1)))
        changes = [self._explain(int(j), readings, requests, commands, valid) for j in np.flatnonzero(~allowed)]
        return commands, changes

    def _wishes(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        flat = np.asarray(requests)
        if flat.shape != self._rows.shape or flat.dtype.kind not in "iufb":
            return np.zeros_like(self._rows), np.zeros(len(self._rows), dtype=bool)
        if flat.dtype.kind == "f":
            whole = np.isfinite(flat) & (flat == np.floor(flat)) & (np.abs(flat) < 2**31)
            flat = np.where(whole, flat, -1.0)
        valid = (flat >= 0) & (flat < self._stages)
        wished = np.where(valid, flat, 0).astype(np.int64)
        return wished, valid & self._exists[self._rows, wished]

    def _explain(
        self, j: int, readings: Readings, requests: Requests, commands: Commands, valid: np.ndarray
    ) -> Intervention:
        if not valid[j]:
            reason = "invalid"
        elif readings["clearing_s"][j] > 0:
            reason = "clearing"
        elif readings["green_s"][j] < self.site.timing.min_green_s:
            reason = "min_green"
        else:
            reason = "max_red"
        requested = float(requests[j]) if np.shape(requests) == self._rows.shape and valid[j] else None
        return Intervention(self.site.agents[j], requested, int(commands[j]), reason)


class ConflictMonitor:
    """Watches what one junction shows, second by second.

    Args:
        site: the site.
        junction: the junction to watch.
    """

    def __init__(self, site: SignalSite, junction: Junction):
        self.site, self.junction = site, junction
        self._yields = set(junction.yields)
        self._limit_s = site.max_red_s(junction)
        self._conflicts: dict[str, list[tuple[int, int]]] = {}  # of every state seen: most are shown for long
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
        """The shortest time from the end of a movement's green until somebody in its way may start."""
        m = self.junction.movements[movement]
        if m.approach < 0:
            return walking_s(m.width_m) if m.crossing else 0
        fixed = self.site.timing.all_red_s
        return self._yellow_s[movement] + (ite_red_clearance_s(m.width_m, m.speed_mps) if fixed is None else fixed)

    def watch(self, time_s: float, state: str) -> list[str]:
        """Check what is shown at a time; call it every second, in order.

        Returns:
            What is wrong, one sentence each; empty if all is well.
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
        """At a change of lamps: was the junction cleared of those in whose way somebody starts?

        Whoever starts, or need not give way any more, does so after those in its way whose green has ended; and, but
        for RESCO's protocol, after those whose right to go first has.
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
                yielding = now == "g" and (k, other) in self._yields  # it gives way to whoever is still green
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
        """One movement's lamp: was its yellow long enough, has it been red for too long?"""
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
