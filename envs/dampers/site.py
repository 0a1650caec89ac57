"""Site of a building with dampers: all that estimation, features and guard need, without a simulator."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from envs.core.readings import Axes
from envs.core.site import Site
from envs.dampers.mechanics.building import Building
from envs.dampers.timing import Timing

SAFE_LEVEL = 0.3
"""Default level of the guard's fallback, as a share of full voltage: between no and excessive force."""


class DampersSite(Site):
    """A building with dampers.

    Attributes:
        timing: intervals of control, and slew rate of drivers.
        building: frame, dampers, sensors.
        safe_level: level of a damper whose sensors are in doubt, as a share of full voltage.
    """

    system: Literal["dampers"] = "dampers"
    timing: Timing
    building: Building
    safe_level: float = SAFE_LEVEL

    @model_validator(mode="after")
    def _level(self) -> DampersSite:
        if not 0 <= self.safe_level <= 1:
            raise ValueError(f"safe_level is {self.safe_level:g}: give a share from 0 to 1")
        return self

    @property
    def plant(self) -> Any:
        """Masses, stiffness, damping and devices; neither sensors nor the drift capacity."""
        return self.building.model_dump(exclude={"sensors", "typical_m_s2", "capacity_share"})

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The dampers, by their storeys: ``d1``, ``d2``."""
        return tuple(f"d{storey}" for storey in self.building.dampers)

    @cached_property
    def axes(self) -> Axes:
        """Floors ``f1``…, storeys ``s1``…, dampers, and the ground."""
        n = self.building.frame.floors
        return {
            "floor": tuple(f"f{k + 1}" for k in range(n)),
            "storey": tuple(f"s{k + 1}" for k in range(n)),
            "damper": self.agents,
            "ground": ("ground",),
        }

    @property
    def limits(self) -> dict[str, Any]:
        """The timing, and every damper's full voltage, rating and stroke."""
        device = self.building.device
        one = {"full_v": device.full_v, "rated_n": device.rated_n, "stroke_mm": device.stroke_mm}
        return {"timing": self.timing.model_dump(), "dampers": dict.fromkeys(self.agents, one)}

    @cached_property
    def ranges(self) -> dict[str, np.ndarray]:
        """Ranges of sensors: ``accel_m_s2``, ``stroke_mm`` and ``force_n`` (of each damper's devices)."""
        device = self.building.device
        return {
            "accel_m_s2": np.array(40.0 * self.building.typical_m_s2),
            "stroke_mm": np.array(1.5 * device.stroke_mm),
            "force_n": 1.25 * device.rated_n * self.building.counts,
        }

    @cached_property
    def sample_range(self) -> np.ndarray:
        """Range of every sample of a decision, see `_by_sample`."""
        return self._by_sample(self.ranges["accel_m_s2"], self.ranges["stroke_mm"] / 1e3, self.ranges["force_n"])

    @cached_property
    def sample_noise(self) -> np.ndarray:
        """Standard deviation of the noise of sound sensors, for every sample of a decision, see `_by_sample`."""
        own = self.building.sensors
        return self._by_sample(own.accel_m_s2, own.stroke_mm / 1e3, own.force_n * self.building.counts)

    def _by_sample(self, accel_m_s2: Any, stroke_m: Any, force_n: np.ndarray) -> np.ndarray:
        """Values in the order of the acquisition unit: floors, strokes, forces, the ground, ``(n + 2d + 1,)``."""
        floors, strokes = np.full(self.building.frame.floors, accel_m_s2), np.full(len(self.agents), stroke_m)
        return np.concatenate([floors, strokes, force_n, [accel_m_s2]])
