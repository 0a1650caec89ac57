"""Configuration of the storeys' monitor: masses, sensors and dampers of the building, and confidence levels."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from agents.monitors.detection import Persistence
from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem
from envs.dampers.site import DampersSite

LOW, HIGH, NYQUIST = 0.45, 1.25, 0.8
"""Frequency band of the monitor: a share of the first frequency, a multiple of the last, and the largest share of the
Nyquist frequency."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StoreyConfig(Frozen):
    """A building, its sensors, and limits of the monitor.

    Attributes:
        name: of the building.
        rate_hz: samples a second.
        window_s: length of a window; a motion shorter than half of it is not judged.
        masses_kg: of every floor from the first up; taken as known.
        stiffness_n_m: design stiffness of every storey, the estimate's initial value.
        dampers: storeys that have them, from 1 up; their stroke and force are measured.
        accel_m_s2: standard deviation of the noise of accelerometers, on floors and on the ground.
        stroke_mm: of stroke sensors.
        force_n: of each damper's load cells.
        band_hz: frequencies that are used.
        missing: share of a channel's samples that may be lost.
        widest: a storey is not judged where the standard deviation of its stiffness is larger, as a share.
        false_alarms, confidence, prior, interval, seed: as of `structural.MonitorConfig`.
        persistence: number of the last windows that makes an alarm.
    """

    name: str = Field(min_length=1)
    rate_hz: Positive
    window_s: Positive = 30.0
    masses_kg: tuple[Positive, ...] = Field(min_length=1)
    stiffness_n_m: tuple[Positive, ...]
    dampers: tuple[int, ...] = ()
    accel_m_s2: Positive
    stroke_mm: Positive
    force_n: tuple[Positive, ...] = ()
    band_hz: tuple[Positive, Positive]
    missing: float = Field(default=0.05, gt=0, lt=1)
    widest: float = Field(default=0.05, gt=0, lt=1)
    false_alarms: float = Field(default=0.01, gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    prior: float = Field(default=0.5, gt=0, lt=1)
    interval: float = Field(default=0.9, gt=0, lt=1)
    seed: int = 0
    persistence: Persistence = Persistence()

    @classmethod
    def of_site(cls, site: DampersSite, **settings: object) -> Self:
        """What a site says of itself, with other settings where given.

        Raises:
            CityloopError: if its frame is no chain of storeys, or a setting does not fit.
        """
        building = site.building
        if building.stiffness_n_m is None:
            raise CityloopError(f"building of {site.name} has no stiffness_n_m: a storey's stiffness needs storeys")
        rate_hz = 1e3 / site.timing.decision_ms
        frequencies = building.frame.frequencies_hz
        own = {
            "name": site.name,
            "rate_hz": rate_hz,
            "masses_kg": building.mass_kg,
            "stiffness_n_m": building.stiffness_n_m,
            "dampers": tuple(building.dampers),
            "accel_m_s2": building.sensors.accel_m_s2,
            "stroke_mm": building.sensors.stroke_mm,
            "force_n": tuple((building.sensors.force_n * building.counts).tolist()),
            "band_hz": (LOW * frequencies[0], min(HIGH * frequencies[-1], NYQUIST * rate_hz / 2)),
        }
        try:
            return cls.model_validate(own | settings)
        except ValidationError as error:
            raise CityloopError(f"monitor: {first_problem(error)}") from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        storeys = len(self.masses_kg)
        if len(self.stiffness_n_m) != storeys:
            raise ValueError(f"stiffness_n_m has {len(self.stiffness_n_m)} values: masses_kg says there are {storeys}")
        if len(self.force_n) != len(self.dampers):
            raise ValueError(f"force_n has {len(self.force_n)} values for {len(self.dampers)} dampers: give one each")
        if list(self.dampers) != sorted(set(self.dampers)) or not set(self.dampers) <= set(range(1, storeys + 1)):
            raise ValueError(f"dampers are {list(self.dampers)}: name storeys from 1 to {storeys}, from the lowest up")
        low, high = self.band_hz
        if not low < high <= self.rate_hz / 2:
            raise ValueError(f"band_hz is {low:g} to {high:g}: it must rise, and end at {self.rate_hz / 2:g} at most")
        if self.window_s * (high - low) < 4 * storeys:
            raise ValueError(f"window_s is {self.window_s:g}: give longer ones, for enough of frequencies")
        return self

    @property
    def samples(self) -> int:
        """Of a window."""
        return round(self.window_s * self.rate_hz)
