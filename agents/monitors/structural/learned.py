"""What a monitor learned from a healthy building, as plain JSON: enough to watch without learning again."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import Field, FiniteFloat, model_validator

from agents.monitors.detection import Calibration
from agents.monitors.structural.config import MonitorConfig
from agents.monitors.structural.modes import Reference
from agents.monitors.structural.temperature import Compensation
from agents.monitors.structural.updating import Frame
from envs.core.frozen import Frozen

FORMAT = 1
"""Version of the file's layout."""

Row = tuple[FiniteFloat, ...]
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
        config: with which it was learned.
        axes: in the order of the features.
        centre_c, half_c, coefficients, leverage: of the `Compensation`.
        covariance: of healthy residuals.
        threshold: beyond which a window is unusual.
        offset, slope: of the `Calibration`.
        channel_offset: the channels' means, m/s².
        level_mean, level_sigma: of `vibration.levels`.
        windows: how many were learned from, and how many set the threshold.
        samples: of the shortest of them; 0 in files from before it was noted.
    """

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    config: MonitorConfig
    axes: tuple[LearnedAxis, ...]
    centre_c: FiniteFloat
    half_c: FiniteFloat = Field(gt=0)
    coefficients: Table
    leverage: Table
    covariance: Table
    threshold: FiniteFloat
    offset: FiniteFloat
    slope: FiniteFloat = Field(ge=0)
    channel_offset: Row
    level_mean: Table
    level_sigma: Table
    windows: tuple[int, int]
    samples: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Refuse parts of different buildings: a monitor made of them would detect nothing."""
        names = tuple(axis.axis for axis in self.axes)
        if names != self.config.axes:
            raise ValueError(f"axes are {list(names)}: the configuration has {list(self.config.axes)}; learn anew")
        storeys, features = len(self.config.masses_kg), 0
        for axis in self.axes:
            modes, channels, floors = len(axis.numbers), len(self.config.rows(axis.axis)), len(axis.floors)
            for name in ("frequency_hz", "damping"):
                _expect(f"{axis.axis}.{name}", getattr(axis, name), (modes,))
            for name in ("floor_of", "gain_mean", "gain_sigma"):
                _expect(f"{axis.axis}.{name}", getattr(axis, name), (channels,))
            _expect(f"{axis.axis}.shape", axis.shape, (modes, channels))
            _expect(f"{axis.axis}.storeys_n_m", axis.storeys_n_m, (storeys,))
            places = [self.config.channels[row].floor for row in self.config.rows(axis.axis)]
            floors_of = tuple(sorted(set(places)))
            if axis.floors != floors_of or list(axis.floor_of) != [floors_of.index(place) for place in places]:
                raise ValueError(f"{axis.axis}.floors are not those of its channels: learn anew")
            if list(axis.numbers) != sorted(set(axis.numbers) & set(range(1, storeys + 1))):
                raise ValueError(f"{axis.axis}.numbers reaches beyond what there is, or does not rise: learn anew")
            if not np.any(axis.shape, axis=1).all():
                raise ValueError(f"{axis.axis}.shape has a mode in which nothing moves: learn anew")
            if min(*axis.frequency_hz, *axis.storeys_n_m, *axis.gain_sigma) <= 0:
                raise ValueError(f"{axis.axis} has a frequency, stiffness or scatter that is not positive: learn anew")
            features += modes * (1 + floors)
        degree, channels = len(self.coefficients), len(self.config.channels)
        _expect("coefficients", self.coefficients, (max(degree, 1), features))
        _expect("leverage", self.leverage, (degree, degree))
        _expect("covariance", self.covariance, (features, features))
        _expect("channel_offset", self.channel_offset, (channels,))
        _expect("level_mean", self.level_mean, (2, channels))
        _expect("level_sigma", self.level_sigma, (2, channels))
        scatters = {"covariance": self.covariance, "leverage": self.leverage}
        for name, table in scatters.items():
            if table and np.linalg.eigvalsh(np.array(table)).min() < -1e-12:
                raise ValueError(f"{name} is no scatter: it must not be negative; learn anew")
        if np.min(self.level_sigma) <= 0:
            raise ValueError("level_sigma is no scatter: it must be positive; learn anew")
        return self

    @property
    def compensation(self) -> Compensation:
        """The regression on temperature."""
        return Compensation(self.centre_c, self.half_c, np.array(self.coefficients), np.array(self.leverage))

    @property
    def calibration(self) -> Calibration:
        """The curve from statistic to probability."""
        return Calibration(self.offset, self.slope)


def _expect(name: str, values: Any, shape: tuple[int, ...]) -> None:
    try:
        found = np.shape(values)
    except ValueError:  # rows of different lengths
        found = ()
    if found != shape:
        raise ValueError(f"{name} is not of shape {shape}: the file was altered or cut; learn anew")
