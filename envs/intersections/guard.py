"""The signal guard: which stage may be asked for, and what is carried out instead.

It stands between any controller and the cabinet. It is pure: it needs the site and the readings, nothing else, so it is
the same object as an action mask in training, in evaluation and in service. Tests check it with a conflict monitor.
"""

from __future__ import annotations

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, Intervention, Requests
from envs.intersections.site import SignalSite


class SignalGuard:
    """Keeps minimum greens, intergreens and maximum reds, and lets nothing but a stage of the site through.

    Reasons for its interventions: ``clearing`` (a change of stage is under way), ``min_green``, ``max_red`` (a movement
    is or would be red for too long), ``invalid`` (no such stage).
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
        self._leave_red_s = self._force_red_s.copy()
        start = 0
        for j, junction in enumerate(junctions):
            for k, home in enumerate(junction.home_stages):
                if home >= 0:
                    self._index[j, home, k] = start + k
            ages = site.force_red_s(junction)
            self._force_red_s[j, : len(ages)] = ages
            self._leave_red_s[j, : len(ages)] = site.leave_red_s(junction)
            start += len(junction.movements)
        self._exists = np.array([[s < len(j.stages) for s in range(self._stages)] for j in junctions])
        self._least_force_red_s = self._force_red_s.min()
        self._rows = np.arange(len(junctions))

    def mask(self, readings: Readings) -> np.ndarray:
        """Stages that may be asked for: bool ``(junctions, stages)``, at least one True a row."""
        stage, mask = readings["stage"].astype(np.int64), self._exists.copy()
        if readings["red_s"].max() >= self._least_force_red_s:  # rarely: reds are mostly far from the limit
            self._only_in_time(mask, readings, stage)
        locked = (readings["clearing_s"] > 0) | (readings["green_s"] < self.site.timing.min_green_s)
        rows = locked.nonzero()[0]
        if len(rows):
            mask[rows] = False
            mask[rows, stage[rows]] = True
        return mask

    def _only_in_time(self, mask: np.ndarray, readings: Readings, stage: np.ndarray) -> None:
        """Where reds come near the limit, leave only the home stage that has waited longest, and the running stage."""
        waited = np.append(readings["red_s"], -1.0)[self._index].max(axis=2)
        ranked = -np.sort(-waited, axis=1)
        rows = np.any(ranked >= self._force_red_s, axis=1).nonzero()[0]
        stays = np.all(ranked < self._leave_red_s, axis=1)
        mask[rows] = False
        mask[rows, stage[rows]] = stays[rows]
        mask[rows, waited[rows].argmax(axis=1)] = True

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
