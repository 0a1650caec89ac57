"""Readings → what a policy sees of a damper: its storey, the floors about it, its neighbours, and the ground.

Every damper has the same columns, and motion is relative to recent peaks, whose size is a column, too. So one policy
fits any number of dampers and motions of any strength. All scales are fixed by the site. Works in numpy and torch, on
one building's columns ``(k,)`` or many buildings' ``(E, k)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.dampers.mechanics.device import Array
from envs.dampers.mechanics.frame import drift_sums
from envs.dampers.regulator import LqrWeights, level_for_force, regulator
from envs.dampers.site import DampersSite

DAMPER_FEATURES = (
    "drift",
    "rate",
    "force",
    "level",
    "above",
    "below",
    "ground",
    "drift_now",
    "rate_now",
    "force_now",
    "above_now",
    "below_now",
    "ground_now",
    "roof_now",
    "storey_share",
    "floor_share",
    "drift_size",
    "accel_size",
    "silent",
    "height",
)
"""Columns of the part ``damper``. The first seven are relative to typical values; ``…_now``: to the largest recent
drift, to the force at full voltage times the present level (and a twentieth), and to the largest recent acceleration;
``…_share``: peaks of the own storey and floor as shares of the building's; ``…_size``: logarithms of those peaks."""

NEIGHBOUR_FEATURES = ("drift_now", "rate_now", "force_now", "level", "above_now", "there")
"""Columns of the part ``neighbours``: means over the dampers of adjacent storeys, and half their number."""

REGULATORS = {
    "now": LqrWeights(accel=0.03, effort=1.7, lead_ms=1.0),  # commands without delay: found by a search
    "soon": LqrWeights(accel=0.03, effort=1.7, lead_ms=7.0),  # commands delayed by 5 ms: those of "now", and more lead
    "late": LqrWeights(accel=0.2, effort=2.1, lead_ms=15.0),  # commands delayed by 10 ms: found by a search
}
"""Regulators whose wanted forces are features, named by the delay of commands; the searches were for LQG on the
six-storey frame."""

MODES = 3
"""Number of modes in the features; zeros for modes that the frame lacks."""

FRAME_FEATURES = (
    *(f"{what}_{k + 1}" for what in ("drift", "rate") for k in range(MODES)),
    *(f"{what}_{when}" for what in ("wanted", "level") for when in REGULATORS),
)
"""Columns of the part ``frame``, from estimates of all floors: contribution of each mode to the own storey's drift and
its rate, as shares of the largest recent drift; forces that regulators want, as shares of full force, and the levels
that bring them, 0 where the damper would have to push in the direction of its motion."""

PARTS = {"damper": DAMPER_FEATURES, "neighbours": NEIGHBOUR_FEATURES, "frame": FRAME_FEATURES}
"""Part of the observation → its columns."""

NONE, DRIFT, ACCEL, LEVEL = range(4)
"""Size that a column is divided by: one, the largest recent drift, the largest recent acceleration, the level."""

STATE_FEATURES = ("drift_now", "rate_now", "accel_now", "force_now", "level")
"""Columns of a central critic's state, a row a storey."""

LARGEST = 5.0
"""Largest magnitude of a feature."""

LEAST_PEAK_SHARE = 1e-3
"""Least peak, as a share of the typical value: at rest there is only noise."""


Sums = dict[str, tuple[int, dict[str, np.ndarray]]]
"""Column → size that it is divided by, and the coefficient of each reading for each damper, ``(readings, N)``."""


class DampersFeatures:
    """Encodes the readings of a site.

    Parts of the observation:
        damper ``(N, 20)``: columns `DAMPER_FEATURES`.
        neighbours ``(N, 6)``: columns `NEIGHBOUR_FEATURES`.
        frame ``(N, 12)``: columns `FRAME_FEATURES`.

    Every column but the levels is a weighted sum of readings over a size: one matrix product gives them all.
    """

    def __init__(self, site: DampersSite):
        self.site, building = site, site.building
        n, storeys = building.frame.floors, building.storeys
        self.shapes: Mapping[str, tuple[int, ...]] = {name: (len(columns),) for name, columns in PARTS.items()}
        self.state_shape = (n, len(STATE_FEATURES))
        typical = building.typical
        self._storeys, self._picked = storeys, _picked(storeys)
        self._drift_mm, self._rate_mm_s = 1e3 * typical["drift_m"], 1e3 * typical["rate_m_s"]
        self._accel = float(typical["accel_m_s2"])
        self._omega = 2 * np.pi * float(building.frame.frequencies_hz[0])
        self._full_n = building.full_force_n
        self._mount = np.zeros((n, len(storeys)))
        self._mount[storeys, np.arange(len(storeys))] = 1.0
        self._sums, self._size_of = self._table()
        self._one_n = self._full_n / building.counts
        self._tensors: dict[str, Array] = {}  # the same, for torch

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficient of each reading in each column of each damper, ``(readings, N columns)``, and the size (`NONE`,
        …) that each column is divided by, ``(N columns,)``.
        """
        own, d = self._mount, len(self._storeys)
        n = len(own)
        sums = self._own_sums() | self._sums_beside() | self._sums_of_frame()
        rows = {"drift": n, "rate": n, "floors": n + 1, "force": d, "level": d, "silent": d}
        rows |= {"drift_peak": n, "accel_peak": n, "size": 3}
        starts = dict(zip(rows, np.cumsum([0, *rows.values()]), strict=False))
        table = np.zeros((sum(rows.values()), d, len(sums)))
        for column, (_, weights) in enumerate(sums.values()):
            for name, each in weights.items():
                table[starts[name] : starts[name] + rows[name], :, column] = each
        kinds = np.array([kind for kind, _ in sums.values()])
        return table.reshape(len(table), -1), np.where(kinds == LEVEL, LEVEL + np.arange(d)[:, None], kinds).ravel()

    def _own_sums(self) -> Sums:
        """Columns of the part ``damper``; ``floors`` are the ground's acceleration and all floors'."""
        own, accel, n, d = self._mount, self._accel, len(self._mount), len(self._storeys)
        above, below = np.pad(own, ((1, 0), (0, 0))), np.pad(own, ((0, 1), (0, 0)))
        ground, roof = (np.eye(n + 1)[:, [floor]].repeat(d, axis=1) for floor in (0, n))
        log_drift, log_accel, one = (np.eye(3)[:, [k]].repeat(d, axis=1) for k in range(3))
        force = np.diag(1.0 / self._full_n)
        found: list[tuple[int, dict[str, np.ndarray]]] = [
            (NONE, {"drift": own / self._drift_mm[self._storeys]}),
            (NONE, {"rate": own / self._rate_mm_s[self._storeys]}),
            (NONE, {"force": force}),
            (NONE, {"level": np.eye(d)}),
            (NONE, {"floors": above / accel}),
            (NONE, {"floors": below / accel}),
            (NONE, {"floors": ground / accel}),
            (DRIFT, {"drift": own}),
            (DRIFT, {"rate": own / self._omega}),
            (LEVEL, {"force": force}),
            (ACCEL, {"floors": above}),
            (ACCEL, {"floors": below}),
            (ACCEL, {"floors": ground}),
            (ACCEL, {"floors": roof}),
            (DRIFT, {"drift_peak": own}),
            (ACCEL, {"accel_peak": own}),
            (NONE, {"size": log_drift / 3.0}),
            (NONE, {"size": log_accel / 3.0}),
            (NONE, {"silent": 10.0 * np.eye(d)}),
            (NONE, {"size": one * (self._storeys + 1.0) / n}),
        ]
        return dict(zip(DAMPER_FEATURES, found, strict=True))

    def _sums_beside(self) -> Sums:
        """Columns of the part ``neighbours``."""
        own, d = self._mount, len(self._storeys)
        beside = np.abs(self._storeys[:, None] - self._storeys[None, :]) == 1
        there = beside.sum(axis=0)
        mean = beside / np.maximum(there, 1.0)
        found: list[tuple[int, dict[str, np.ndarray]]] = [
            (DRIFT, {"drift": own @ mean}),
            (DRIFT, {"rate": own @ mean / self._omega}),
            (NONE, {"force": mean / self._full_n[:, None]}),
            (NONE, {"level": mean}),
            (ACCEL, {"floors": np.pad(own @ mean, ((1, 0), (0, 0)))}),
            (NONE, {"size": np.vstack([np.zeros((2, d)), there / 2.0])}),
        ]
        return {f"{name} beside": one for name, one in zip(NEIGHBOUR_FEATURES, found, strict=True)}

    def _sums_of_frame(self) -> Sums:
        """Columns of the part ``frame``, but for the levels."""
        frame, storeys, n = self.site.building.frame, self._storeys, len(self._mount)
        omega, shapes = frame.modes
        drifts = np.diff(shapes, axis=0, prepend=0.0)
        of_drifts = drift_sums(n)
        moved = [np.outer(of_drifts @ (frame.mass_kg * shapes[:, k]), drifts[storeys, k]) for k in range(min(MODES, n))]
        moved += [np.zeros_like(self._mount)] * (MODES - len(moved))
        omega = np.pad(omega, (0, MODES), constant_values=1.0)
        found: list[tuple[int, dict[str, np.ndarray]]] = [(DRIFT, {"drift": one}) for one in moved]
        found += [(DRIFT, {"rate": one / omega[k]}) for k, one in enumerate(moved)]
        for weights in REGULATORS.values():
            gain = np.vsplit(regulator(self.site, weights) / self._full_n, [n, 2 * n])
            found.append((NONE, dict(zip(("drift", "rate", "force"), gain, strict=True))))
        return {f"{name} of frame": one for name, one in zip(FRAME_FEATURES, found, strict=False)}

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all dampers; see the class."""
        return {name: part.astype(np.float32, order="C") for name, part in self.columns(readings).items()}

    def columns(self, readings: Mapping[str, Array], xp: Any = np) -> dict[str, Array]:
        """All parts, each ``(…, N, columns)``, in the readings' own precision."""
        level = readings["level"]
        drift_peak, accel_peak = readings["drift_peak_mm"], readings["accel_peak_m_s2"]
        drift = _most(drift_peak, LEAST_PEAK_SHARE * float(self._drift_mm.max()), xp)
        accel = _most(accel_peak, LEAST_PEAK_SHARE * self._accel, xp)
        ground = xp.where(xp.isnan(readings["ground_m_s2"]), 0.0, readings["ground_m_s2"])
        one = drift * 0.0 + 1.0
        logs = [xp.log(drift / float(self._drift_mm.max())), xp.log(accel / self._accel)]
        motion = [readings["drift_est_mm"], readings["rate_est_mm_s"], ground, readings["accel_est_m_s2"]]
        dampers = [readings["force_est_n"], level, readings["silent_s"]]
        every = xp.concatenate([*motion, *dampers, drift_peak, accel_peak, *logs, one], -1)
        size = xp.concatenate([one, drift, accel, 0.05 + level], -1)
        sums, size_of, one_n = (self._as(name, every, xp) for name in ("_sums", "_size_of", "_one_n"))
        shares = ((every @ sums) / size[..., size_of]).clip(-LARGEST, LARGEST).reshape(*level.shape, -1)
        own, beside = len(DAMPER_FEATURES), len(DAMPER_FEATURES) + len(NEIGHBOUR_FEATURES)
        wanted = shares[..., -len(REGULATORS) :]
        rate = 1e-3 * readings["rate_est_mm_s"][..., self._picked, None]
        brings = level_for_force(self.site.building.device, abs(wanted) * one_n[:, None], rate).clip(0.0, 1.0)
        brings = xp.where(wanted * rate > 0, brings, 0.0)
        parts = shares[..., :own], shares[..., own:beside], xp.concatenate([shares[..., beside:], brings], -1)
        return dict(zip(PARTS, parts, strict=True))

    def _as(self, name: str, like: Array, xp: Any) -> Array:
        """A constant, as a tensor if ``like`` is one."""
        found = vars(self)[name]
        if xp is np:
            return found
        if name not in self._tensors:
            whole = np.issubdtype(found.dtype, np.integer)
            self._tensors[name] = xp.as_tensor(found, dtype=None if whole else like.dtype)
        return self._tensors[name]

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(…, storeys, 5)``: columns `STATE_FEATURES`."""
        largest = _most(readings["drift_peak_mm"], LEAST_PEAK_SHARE * float(self._drift_mm.max()))
        most = _most(readings["accel_peak_m_s2"], LEAST_PEAK_SHARE * self._accel)
        columns = [
            readings["drift_est_mm"] / largest,
            readings["rate_est_mm_s"] / (self._omega * largest),
            readings["accel_est_m_s2"] / most,
            (readings["force_est_n"] / self._full_n) @ self._mount.T,
            readings["level"] @ self._mount.T,
        ]
        return np.stack(columns, -1).clip(-LARGEST, LARGEST).astype(np.float32)


def _picked(places: np.ndarray) -> Any:
    """An index of these places on an axis: a slice, which takes no copy, where they are consecutive."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def _most(values: Array, least: float, xp: Any = np) -> Array:
    """The largest along the last axis, which stays, or ``least`` if that is more."""
    if xp is np:
        return np.maximum(np.maximum.reduce(values, axis=-1, keepdims=True), least)
    return values.amax(-1, keepdim=True).clip(least, None)
