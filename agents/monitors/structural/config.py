"""Configuration of a structural monitor: the building, its accelerometers, and confidence levels. Nothing is learned
here.

Every limit that an engineer may want to change is here, with its default; `monitor.py` acts on them.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationError, model_validator

from agents.monitors.detection import Persistence
from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem


class Channel(Frozen):
    """An accelerometer.

    Attributes:
        id: its name, e.g. ``x3a``.
        floor: of its place, from 1 above the ground.
        axis: the direction in plan that it measures; any name, e.g. ``x`` or ``north``.
    """

    id: str = Field(min_length=1)
    floor: int = Field(ge=1)
    axis: str = Field(min_length=1)


class Identification(Frozen):
    """Settings of the stochastic subspace identification; see `identification.py`.

    Attributes:
        highest_hz: the highest frequency of interest. Records are decimated to two and a half times that before
            anything else, so that the lags span a period or more of the lowest mode; None: not at all.
        lags: block rows of the Hankel matrix; together they should span a period of the lowest mode.
        order: the largest model order: twice the modes of interest, and as many again for noise.
        frequency, damping, mac: how alike poles of neighbouring orders must be to count as stable: relative difference
            of frequency, absolute difference of damping, modal assurance criterion.
        highest_damping: poles beyond are no modes.
        share: of the orders in which a pole must be stable to be a mode.
    """

    highest_hz: float | None = Field(default=None, gt=0)
    lags: int = Field(default=24, ge=4)
    order: int = Field(default=28, ge=4)
    frequency: float = Field(default=0.01, gt=0)
    damping: float = Field(default=0.02, gt=0)
    mac: float = Field(default=0.95, gt=0, le=1)
    highest_damping: float = Field(default=0.1, gt=0, lt=1)
    share: float = Field(default=0.3, gt=0, le=1)


class SensorLimits(Frozen):
    """What makes a channel implausible; see `sensors.py`.

    Attributes:
        missing: share of samples that are absent.
        held: share of samples that one run of equal values takes up.
        clipped: share of samples that sit at the channel's extremes.
        offset: of the mean, in standard deviations.
        spike: of a sample from the median, in scaled median absolute deviations.
        quiet: root mean square below this share of the median channel's.
        gain: relative change of sensitivity.
        sigma: how many healthy standard deviations a change of gain must stand out by.
    """

    missing: float = Field(default=0.01, gt=0, lt=1)
    held: float = Field(default=0.05, gt=0, lt=1)
    clipped: float = Field(default=0.01, gt=0, lt=1)
    offset: float = Field(default=1.0, gt=0)
    spike: float = Field(default=9.0, gt=3)
    quiet: float = Field(default=0.02, ge=0, lt=1)
    gain: float = Field(default=0.1, gt=0)
    sigma: float = Field(default=6.0, gt=0)


class VibrationLimits(Frozen):
    """When vibration is abnormal; see `vibration.py`. Limits that are None are not watched.

    Attributes:
        sigma: healthy standard deviations of the logarithm of root mean square and peak.
        peak_m_s2: acceleration of any floor.
        rms_m_s2: root mean square of any floor's acceleration.
        velocity_mm_s: peak velocity of any floor, from integrated acceleration (as building-vibration standards limit).
        drift_mm: peak dynamic drift between floors, from twice integrated acceleration.
        lowest_hz: below this, integration is filtered out: static parts cannot be had from accelerations.
    """

    sigma: float = Field(default=5.0, gt=0)
    peak_m_s2: float | None = Field(default=None, gt=0)
    rms_m_s2: float | None = Field(default=None, gt=0)
    velocity_mm_s: float | None = Field(default=None, gt=0)
    drift_mm: float | None = Field(default=None, gt=0)
    lowest_hz: float = Field(default=0.5, gt=0)


class MonitorConfig(Frozen):
    """A building and how it is watched.

    Attributes:
        name: of the building.
        rate_hz: samples a second of every channel.
        masses_kg: storey masses from the first floor to the roof; taken as known.
        channels: the accelerometers, in the order of every window's rows.
        false_alarms: share of healthy windows that may be called unusual.
        confidence: that the threshold keeps this, for any distribution (Wilks' tolerance limit).
        degree: of the polynomial of frequency over temperature.
        gain_prior: standard deviation of the channels' sensitivities that damage detection allows for.
        interval: probability that the interval of a loss covers it.
        model_error: error of a shear frame in a loss, as a share of it (one standard deviation): a loss on one
            face of the plan, which also twists the building, comes out too large.
        prior: probability of damage before a window was seen.
        seed: of the damages that are simulated when the probability is calibrated.
    """

    name: str = Field(min_length=1)
    rate_hz: float = Field(gt=0)
    masses_kg: tuple[float, ...] = Field(min_length=1)
    channels: tuple[Channel, ...] = Field(min_length=1)
    false_alarms: float = Field(default=0.01, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    degree: int = Field(default=3, ge=0, le=5)
    gain_prior: float = Field(default=0.03, ge=0)
    interval: float = Field(default=0.9, gt=0, lt=1)
    model_error: float = Field(default=0.05, ge=0, lt=1)
    prior: float = Field(default=0.5, gt=0, lt=1)
    identification: Identification = Identification()
    sensors: SensorLimits = SensorLimits()
    persistence: Persistence = Persistence()
    vibration: VibrationLimits = VibrationLimits()
    seed: int = 0

    @classmethod
    def of(cls, **settings: object) -> Self:
        """A checked configuration.

        Raises:
            CityloopError: one sentence that names the field, the value and the mend.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise CityloopError(f"monitor: {first_problem(error)}") from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [channel.id for channel in self.channels]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"channel id {twice!r} is given twice: give each accelerometer its own")
        storeys = len(self.masses_kg)
        high = next((channel for channel in self.channels if channel.floor > storeys), None)
        if high:
            raise ValueError(
                f"channel {high.id!r} stands on floor {high.floor} of {storeys}: give masses of all floors"
            )
        light = next((mass for mass in self.masses_kg if not mass > 0), None)
        if light is not None:
            raise ValueError(f"masses_kg holds {light:g}: give positive masses")
        highest = self.identification.highest_hz
        if highest is not None and highest > self.rate_hz / 2.5:
            raise ValueError(
                f"identification.highest_hz is {highest:g} at {self.rate_hz:g} samples a second: give at most "
                f"{self.rate_hz / 2.5:g}"
            )
        for axis in self.axes:
            floors = {channel.floor for channel in self.channels if channel.axis == axis}
            if len(floors) < min(2, storeys):
                raise ValueError(
                    f"axis {axis!r} is measured on floor {min(floors)} alone: give accelerometers on two floors or more"
                )
        return self

    @property
    def decimation(self) -> int:
        """How many samples become one before identification."""
        highest = self.identification.highest_hz
        return 1 if highest is None else max(int(self.rate_hz / (2.5 * highest)), 1)

    @property
    def axes(self) -> tuple[str, ...]:
        """The directions that are measured, in order of appearance."""
        return tuple(dict.fromkeys(channel.axis for channel in self.channels))

    def rows(self, axis: str) -> list[int]:
        """Which rows of a window measure an axis."""
        return [k for k, channel in enumerate(self.channels) if channel.axis == axis]
