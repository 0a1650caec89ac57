"""Readings → what a policy sees of a damper: its storey, the floors about it, its neighbours, and the ground.

Every damper is described alike and motions are told relative to the peaks of late, beside their size, so one policy
fits any number of dampers and motions of any strength. All scales are fixed by the site. Reads alike for numpy and
torch, one building's columns ``(k,)`` or many buildings' ``(E, k)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.dampers.device import Array
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
"""Columns of the part ``damper``. The first seven as shares of what is typical; ``…_now``: of the largest drift, of the
force that full voltage would bring, and of the largest acceleration, of late; ``…_share``: the own storey's and floor's
peaks as shares of the building's; ``…_size``: logarithms of those peaks."""

NEIGHBOUR_FEATURES = ("drift_now", "rate_now", "force_now", "level", "above_now", "there")
"""Columns of the part ``neighbours``: means over the dampers of adjacent storeys, and how many there are of two."""

STATE_FEATURES = ("drift_now", "rate_now", "accel_now", "force_now", "level")
"""Columns of a central critic's state, a row a storey."""

LARGEST = 5.0
"""Features are kept within this, either way."""

LEAST = 1e-3
"""Peaks are taken for no less than this share of what is typical: at rest there is only noise."""


class DampersFeatures:
    """Encodes the readings of a site.

    Parts of the observation:
        damper ``(N, 20)``: columns `DAMPER_FEATURES`.
        neighbours ``(N, 6)``: columns `NEIGHBOUR_FEATURES`.
    """

    def __init__(self, site: DampersSite):
        self.site, building = site, site.building
        n, storeys = building.frame.floors, building.storeys
        self.shapes: Mapping[str, tuple[int, ...]] = {
            "damper": (len(DAMPER_FEATURES),),
            "neighbours": (len(NEIGHBOUR_FEATURES),),
        }
        self.state_shape = (n, len(STATE_FEATURES))
        typical = building.typical
        self._storeys, self._above = _picked(storeys), _picked(storeys + 1)
        self._drift_mm, self._rate_mm_s = 1e3 * typical["drift_m"], 1e3 * typical["rate_m_s"]
        self._accel = float(typical["accel_m_s2"])
        self._omega = 2 * np.pi * float(building.frame.frequencies_hz[0])
        device = building.device
        full_n = device.strongest_n(typical["rate_m_s"][storeys], 1.0)
        self._full_n = full_n * building.counts
        beside = np.abs(storeys[:, None] - storeys[None, :]) == 1
        self._mean_beside = beside / np.maximum(beside.sum(axis=1, keepdims=True), 1.0)
        self._there, self._height = beside.sum(axis=1) / 2.0, (storeys + 1.0) / n
        self._mount = np.zeros((n, len(storeys)))
        self._mount[storeys, np.arange(len(storeys))] = 1.0

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all dampers; see the class."""
        own, beside = self.columns(readings)
        return {"damper": own.astype(np.float32, order="C"), "neighbours": beside.astype(np.float32, order="C")}

    def columns(self, readings: Mapping[str, Array], xp: Any = np) -> tuple[Array, Array]:
        """Both parts, ``(…, N, 20)`` and ``(…, N, 6)``, in the readings' own precision."""
        storeys, constant = self._storeys, self._constant(readings["level"], xp)
        drift_peak, accel_peak = readings["drift_peak_mm"], readings["accel_peak_m_s2"]
        largest = _most(drift_peak, LEAST * float(self._drift_mm.max()), xp)
        most = _most(accel_peak, LEAST * self._accel, xp)
        ground = xp.where(xp.isnan(readings["ground_m_s2"]), 0.0, readings["ground_m_s2"])
        floors = xp.concatenate([ground, readings["accel_est_m_s2"]], -1)  # the ground is the floor below the first
        own, own_rate = readings["drift_est_mm"][..., storeys], readings["rate_est_mm_s"][..., storeys]
        above, below = floors[..., self._above], floors[..., storeys]
        force, level = readings["force_est_n"], readings["level"]
        full_n = constant(self._full_n)
        drift_now, rate_now = own / largest, own_rate / (self._omega * largest)
        force_now, above_now = force / full_n, above / most
        flat = own * 0.0
        rows = [
            own / constant(self._drift_mm[storeys]),
            own_rate / constant(self._rate_mm_s[storeys]),
            force_now,
            level,
            above / self._accel,
            below / self._accel,
            ground / self._accel + flat,
            drift_now,
            rate_now,
            force / (full_n * (0.05 + level)),
            above_now,
            below / most,
            ground / most + flat,
            floors[..., -1:] / most + flat,
            drift_peak[..., storeys] / largest,
            accel_peak[..., storeys] / most,
            xp.log(largest / float(self._drift_mm.max())) / 3.0 + flat,
            xp.log(most / self._accel) / 3.0 + flat,
            readings["silent_s"] * 10.0,
            constant(self._height) + flat,
        ]
        told = self._rows([drift_now, rate_now, force_now, level, above_now], xp) @ constant(self._mean_beside.T)
        there = constant(self._there) + flat
        every = xp.concatenate([self._rows(rows, xp), told, there[..., None, :]], -2).clip(-LARGEST, LARGEST)
        columns = every.swapaxes(-1, -2)
        return columns[..., : len(rows)], columns[..., len(rows) :]

    @staticmethod
    def _rows(rows: list[Array], xp: Any) -> Array:
        """Stacked, ``(…, rows, N)``; in one building this is thrice as quick as ``stack``."""
        return xp.concatenate(rows, -1).reshape(*rows[0].shape[:-1], len(rows), -1)

    @staticmethod
    def _constant(like: Array, xp: Any) -> Any:
        if xp is np:
            return lambda values: values
        return lambda values: xp.as_tensor(values, dtype=like.dtype)

    def state(self, readings: Readings) -> np.ndarray:
        """What a central critic sees, float32 ``(…, storeys, 5)``: columns `STATE_FEATURES`."""
        largest = _most(readings["drift_peak_mm"], LEAST * float(self._drift_mm.max()))
        most = _most(readings["accel_peak_m_s2"], LEAST * self._accel)
        columns = [
            readings["drift_est_mm"] / largest,
            readings["rate_est_mm_s"] / (self._omega * largest),
            readings["accel_est_m_s2"] / most,
            (readings["force_est_n"] / self._full_n) @ self._mount.T,
            readings["level"] @ self._mount.T,
        ]
        return np.stack(columns, -1).clip(-LARGEST, LARGEST).astype(np.float32)


def _picked(places: np.ndarray) -> Any:
    """What picks these places of an axis: a slice where they follow each other, which takes no copy."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def _most(values: Array, least: float, xp: Any = np) -> Array:
    """The largest along the last axis, which stays, or ``least`` if that is more."""
    if xp is np:
        return np.maximum(np.maximum.reduce(values, axis=-1, keepdims=True), least)
    return values.amax(-1, keepdim=True).clip(least, None)
