"""Detection of sensors that have fallen silent: they sent values once, and have sent none for a while.

A plant that sends null for a sensor decides as safely as it can without it, and input checks find nothing wrong with
that. Somebody has to mend the sensor all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from envs.core.conditions import Condition
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site

MUTE_S = 60.0
"""Seconds of the plant's clock without a value."""


class SilentSensors:
    """Finds sensors of a site that have fallen silent.

    A sensor that has never sent a value may not exist, and is left out.

    Args:
        site: of the sensors.
        standing: conditions when the last process ended, by key: these sensors had sent values before.
    """

    def __init__(self, site: Site, standing: Mapping[str, Condition] | None = None):
        schema = get_system(site.system).readings
        columns = [column for column in schema.columns if column.nullable and column.name not in schema.void]
        self._names = [column.name for column in columns]
        self._of = [(column.axis, place, column.name) for column in columns for place in site.axes[column.axis]]
        before = {key: _columns(one) for key, one in (standing or {}).items()}
        self._told = np.array([name in before.get(_key(axis, place), ()) for axis, place, name in self._of], bool)
        self._last_s = np.where(self._told, -np.inf, np.nan)
        self._now_s = -np.inf

    def conditions(self, readings: Readings, time_s: float) -> Iterator[Condition]:
        """Conditions of silent sensors, one for all sensors of a place.

        Args:
            readings: as the plant sent them.
            time_s: the plant's clock; where it goes back, a new episode begins, and the waiting begins anew.
        """
        tells = ~np.isnan(np.concatenate([readings[name] for name in self._names])) if self._names else self._told
        if time_s < self._now_s:
            self._last_s[:] = time_s
        self._now_s = time_s
        self._told |= tells
        self._last_s[tells] = time_s
        mute = self._told & (time_s - self._last_s >= MUTE_S)
        if mute.any():
            yield from self._named(mute)

    def _named(self, mute: np.ndarray) -> Iterator[Condition]:
        places: dict[tuple[str, str], list[str]] = {}
        for k in np.flatnonzero(mute).tolist():
            axis, place, name = self._of[k]
            places.setdefault((axis, place), []).append(name)
        for (axis, place), names in places.items():
            text = f"{axis} {place} has been silent for a minute or more: {', '.join(names)}"
            yield Condition(_key(axis, place), "low", text, place, beneath=f"silent:{place}")


def _key(axis: str, place: str) -> str:
    return f"mute:{axis} {place}"


def _columns(condition: Condition) -> list[str]:
    return condition.text.rpartition(": ")[2].split(", ")
