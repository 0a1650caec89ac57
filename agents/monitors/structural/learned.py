"""What a monitor learned from a healthy building, as plain JSON: enough to watch without learning again."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, ValidationError

from agents.monitors.structural.config import MonitorConfig
from agents.monitors.structural.detection import Calibration
from agents.monitors.structural.modes import Reference
from agents.monitors.structural.temperature import Compensation
from agents.monitors.structural.updating import Frame
from envs.core.errors import CityloopError
from envs.core.site import Frozen, first_problem

FORMAT = 1
"""Version of the file's layout."""

Row = tuple[float, ...]
Table = tuple[Row, ...]


class LearnedAxis(Frozen):
    """One axis of the healthy building; see `Reference` and `Frame`, whose names these are.

    Attributes:
        axis: its name.
        numbers, frequency_hz, damping, floors, shape, floor_of: of the reference modes.
        storeys_n_m: of the frame.
        gain_mean, gain_sigma: of the channels' apparent sensitivities.
    """

    axis: str
    numbers: tuple[int, ...] = Field(min_length=1)
    frequency_hz: Row
    damping: Row
    floors: tuple[int, ...]
    shape: Table
    floor_of: tuple[int, ...]
    storeys_n_m: Row
    gain_mean: Row
    gain_sigma: Row

    def frame(self, masses_kg: Row) -> Frame:
        """The frame with its reference."""
        reference = Reference(
            numbers=self.numbers,
            frequency_hz=np.array(self.frequency_hz),
            damping=np.array(self.damping),
            floors=self.floors,
            shape=np.array(self.shape),
            floor_of=np.array(self.floor_of),
        )
        return Frame(reference, np.array(masses_kg), np.array(self.storeys_n_m))


class Learned(Frozen):
    """All that was learned.

    Attributes:
        format: version of the layout.
        config: what it was learned with.
        axes: in the order of the features.
        centre_c, half_c, coefficients, leverage: of the `Compensation`.
        covariance: of healthy residuals.
        threshold: beyond which a window is unusual.
        offset, slope: of the `Calibration`.
        channel_offset: the channels' means, m/s².
        level_mean, level_sigma: of `vibration.levels`.
        windows: how many were learned from, and how many set the threshold.
    """

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    config: MonitorConfig
    axes: tuple[LearnedAxis, ...]
    centre_c: float
    half_c: float
    coefficients: Table
    leverage: Table
    covariance: Table
    threshold: float
    offset: float
    slope: float
    channel_offset: Row
    level_mean: Table
    level_sigma: Table
    windows: tuple[int, int]

    @property
    def compensation(self) -> Compensation:
        """The regression on temperature."""
        return Compensation(self.centre_c, self.half_c, np.array(self.coefficients), np.array(self.leverage))

    @property
    def calibration(self) -> Calibration:
        """The curve from statistic to probability."""
        return Calibration(self.offset, self.slope)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `StructuralMonitor.save` wrote.

        Raises:
            CityloopError: if the file is missing or is no such thing.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CityloopError(
                f"monitor file {path} cannot be read ({error.strerror}): give an existing file"
            ) from None
        except ValidationError as error:
            raise CityloopError(f"monitor file {path}: {first_problem(error)}") from None
