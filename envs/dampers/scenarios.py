"""Scenarios of dampers: published benchmark buildings, and users' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen
from envs.core.scenario import Scenario
from envs.dampers.mechanics.building import BUILDINGS, Building, read_building
from envs.dampers.motions.motion import Motion, recorded_s
from envs.dampers.timing import Timing

LONGEST_S = 600.0
"""Longest duration of an episode."""


class Conditions(Frozen):
    """Deviations from nominal conditions.

    Attributes:
        delay_ms: from a reading to its command at the driver, beyond the coil's own lag.
        dropout: share of a sensor's samples that are lost.
        noise: factor on the noise of all sensors as given by the building.
        dead: number of dampers without voltage, drawn for each episode.
        stiffness: largest relative deviation of a storey's stiffness, drawn uniformly for each.
    """

    delay_ms: float = Field(default=0.0, ge=0, le=100)
    dropout: float = Field(default=0.0, ge=0, le=0.9)
    noise: float = Field(default=1.0, ge=0, le=100)
    dead: int = Field(default=0, ge=0)
    stiffness: float = Field(default=0.0, ge=0, le=0.5)


class Variety(Frozen):
    """Variation of conditions over training episodes: each is drawn uniformly from nominal to the value here.

    Attributes:
        good: share of episodes in nominal conditions.
        delay_ms, dropout, stiffness: largest value.
        noise: largest factor.
        dead: share of episodes with one dead damper.
    """

    good: float = Field(default=0.4, ge=0, le=1)
    delay_ms: float = Field(default=12.0, ge=0, le=100)
    dropout: float = Field(default=0.15, ge=0, le=0.9)
    noise: float = Field(default=4.0, ge=1, le=100)
    dead: float = Field(default=0.15, ge=0, le=1)
    stiffness: float = Field(default=0.15, ge=0, le=0.5)


class DampersScenario(Scenario):
    """A building with dampers that is shaken.

    Attributes:
        building: a shipped one's name, or one's own, see `building.Building`.
        dampers: storey → devices, instead of the building's own.
        motion: its excitation.
        timing: intervals of decision and simulation.
        conditions: deviations from nominal, in all episodes but training's.
        variety: their variation in training episodes.
        bits: of sensors' converters, over the sensors' range.
    """

    system: Literal["dampers"] = "dampers"
    duration_s: float = Field(default=30.0, gt=0, le=LONGEST_S)
    building: Building
    dampers: dict[int, int] = Field(default_factory=dict)
    motion: Motion = Motion()
    timing: Timing = Timing()
    conditions: Conditions = Conditions()
    variety: Variety = Variety()
    bits: int = Field(default=16, ge=8, le=32)

    @model_validator(mode="before")
    @classmethod
    def _as_long_as_its_record(cls, content: Any) -> Any:
        """An episode lasts as long as its record where the scenario does not say."""
        if not isinstance(content, dict) or "duration_s" in content:
            return content
        try:
            motion = Motion.model_validate(content.get("motion", {}))
        except ValidationError:
            return content  # reported with the other fields
        if motion.record is None:
            return content
        length_s = recorded_s(motion)
        if length_s > LONGEST_S:
            raise CityloopError(f"record {motion.record} lasts {length_s:g} s: give duration_s, {LONGEST_S:g} at most")
        return content | {"duration_s": length_s}

    def override(self, settings: dict[str, Any]) -> Self:
        """As `Scenario.override`; another record, or speed of one, brings its length, unless that is set, too."""
        changed = super().override(settings)
        before, after = ((motion.record, motion.speed) for motion in (self.motion, changed.motion))
        if "duration_s" in settings or before == after:
            return changed
        content = changed.model_dump(mode="json", exclude={"duration_s"})
        return self.parse(content if changed.motion.record else content | {"duration_s": changed.duration_s}, self.ref)

    @field_validator("building", mode="before")
    @classmethod
    def _shipped(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in BUILDINGS:
                raise ValueError(f"no such building ships: choose {', '.join(BUILDINGS)}, or describe your own")
            return read_building(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> DampersScenario:
        if self.conditions.dead > len(self.mounted.dampers):
            raise ValueError(
                f"conditions.dead is {self.conditions.dead}: there are {len(self.mounted.dampers)} dampers"
            )
        return self

    @property
    def mounted(self) -> Building:
        """The building with the dampers that this scenario gives it."""
        if not self.dampers:
            return self.building
        content = self.building.model_dump() | {"dampers": dict(sorted(self.dampers.items()))}
        return Building.model_validate(content)

    @property
    def decision_s(self) -> float:
        """Seconds between two decisions, from the timing."""
        return self.timing.decision_ms / 1e3

    def files(self) -> list[Path]:
        """The record, if there is one."""
        return [] if self.motion.record is None else [self.motion.record]


WEAK = Motion(pga_g=0.03, pga_range_g=(0.012, 0.12))
"""Motion of the six-storey laboratory frame: its dampers do about as well at full voltage as at none."""

SCENARIOS: dict[str, str] = {
    "jansen": "six storeys, dampers on the first two (Jansen & Dyke 2000), random motions",
    "jansen-all": "the same frame with a damper on every storey",
    "dyke": "three storeys, one damper (Dyke et al. 1996), random motions at five times real speed",
    "yang8": "eight storeys, dampers on the first three, random motions",
    "ohtori3": "Ohtori's three storeys as a shear model, random motions",
    "ohtori9": "Ohtori's nine storeys as a shear model, near-field pulses",
    "ohtori20": "Ohtori's twenty storeys as a shear model, far-field motions of long period",
}
NAMES = tuple(SCENARIOS)


def load(name: str) -> DampersScenario:
    """A shipped scenario by its short name (one of `NAMES`)."""
    building, _, variant = name.partition("-")
    content: dict[str, Any] = {"name": name, "description": SCENARIOS[name], "building": building}
    if building == "jansen":
        content["motion"] = WEAK
    if variant == "all":
        content["dampers"] = dict.fromkeys(range(1, 7), 2)
    if building == "dyke":
        strong: dict[str, Any] = {"strong_s": (0.5, 2.5), "decay_1_s": (1.0, 2.5), "pga_g": 0.3}
        content |= {"timing": Timing(decision_ms=2, substep_ms=0.5), "duration_s": 8.0, "motion": Motion(**strong)}
    if building == "ohtori9":
        content |= {"motion": Motion(kind="pulse", pga_g=0.3), "duration_s": 40.0}
    if building == "ohtori20":
        content |= {"motion": Motion(kind="basin", pga_g=0.05), "duration_s": 60.0}
    return DampersScenario(**content)
