"""Windows from single samples: measurements of one motion without a gap in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.monitors.gaps import still
from agents.monitors.storeys.config import StoreyConfig
from envs.core.errors import CityloopError

SHORTEST = 0.5
"""Least duration of a motion, as a share of a window's length."""

LOST_S = 1.0
"""Longest gap of samples in a window; a longer one ends it. Timestamps that go back by less are samples that are late,
repeated or uneven; ones that go back by more are a clock that began anew."""


@dataclass(frozen=True)
class Window:
    """What was measured, NaN where a sample is missing.

    Attributes:
        accel_m_s2: of the ground and every floor from the first up, ``(n + 1, T)``.
        stroke_m, force_n: of every damper, ``(d, T)``; force positive while it is stretched.
        time_s: of the plant's clock when it began.
    """

    accel_m_s2: np.ndarray
    stroke_m: np.ndarray
    force_n: np.ndarray
    time_s: float = 0.0

    @property
    def constant(self) -> bool:
        """Whether no channel changes at all; sensors that work have noise, also at rest."""
        return all(still(rows).all() for rows in (self.accel_m_s2, self.stroke_m, self.force_n))


def check_window(config: StoreyConfig, window: Window) -> Window:
    """A window as floats.

    Raises:
        CityloopError: if it is of another building, too short, or holds no numbers.
    """
    rows = {"accel_m_s2": len(config.masses_kg) + 1, "stroke_m": len(config.dampers), "force_n": len(config.dampers)}
    found = {}
    for name in rows:
        try:
            found[name] = np.asarray(getattr(window, name), dtype=float)
        except (TypeError, ValueError):
            raise CityloopError(f"window.{name} is no table of numbers: give (channels, samples)") from None
    samples = found["accel_m_s2"].shape[-1] if found["accel_m_s2"].ndim else 0
    for name, count in rows.items():
        if found[name].shape != (count, samples):
            raise CityloopError(f"window.{name} has shape {found[name].shape}: give ({count}, {samples})")
    if samples < SHORTEST * config.samples:
        raise CityloopError(f"window has {samples} samples: give {int(SHORTEST * config.samples)} at least")
    return Window(**found, time_s=window.time_s)


class Windows:
    """Gathers samples, one decision's after another, into windows.

    Args:
        config: of the building.
    """

    def __init__(self, config: StoreyConfig):
        self._config = config
        floors, dampers = len(config.masses_kg), len(config.dampers)
        self._rows = {"ground_m_s2": 1, "accel_m_s2": floors, "stroke_mm": dampers, "force_n": dampers}
        self._table = np.full((sum(self._rows.values()), config.samples), np.nan)
        self._filled, self._began_s = 0, 0.0

    def add(self, time_s: float, readings: Mapping[str, Sequence[Any]], begins: bool = False) -> Window | None:
        """Take a sample; the window that it ends, if it ends one.

        Args:
            time_s: of the plant's clock.
            readings: the columns of a tick, as they were sent; None where a sample was lost.
            begins: whether another motion begins.
        """
        ahead = (time_s - self._began_s) * self._config.rate_hz
        at = round(ahead) if abs(ahead) < self._config.samples else -1  # a timestamp may exceed any integer
        broken = begins or at < 0 or abs(at - self._filled) > LOST_S * self._config.rate_hz
        ended = self._end() if broken or at >= self._config.samples else None
        if self._filled == 0:
            self._began_s, at = time_s, 0
        self._table[:, at] = np.array([v for name in self._rows for v in readings[name]], dtype=float)
        self._filled = max(self._filled, at + 1)
        return ended if ended is not None or self._filled < self._config.samples else self._end()

    def _end(self) -> Window | None:
        """What was gathered, if it is enough; the table is empty then."""
        filled, self._filled = self._filled, 0
        whole, self._table = self._table, np.full_like(self._table, np.nan)
        if filled < SHORTEST * self._config.samples:
            return None
        floors, dampers = len(self._config.masses_kg), len(self._config.dampers)
        split = 1 + floors + dampers
        seen = whole[:, :filled]
        return Window(seen[: 1 + floors], 1e-3 * seen[1 + floors : split], seen[split:], self._began_s)
