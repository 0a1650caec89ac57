"""Timing of dampers: intervals of control and simulation, and slew rate of drivers."""

from __future__ import annotations

from pydantic import Field, model_validator

from envs.core.frozen import Frozen


class Timing(Frozen):
    """Intervals of control and simulation.

    Attributes:
        decision_ms: between two decisions.
        substep_ms: time step of the simulation; dampers' hysteresis needs 2 ms or less.
        slew_1_s: slew rate of a driver, in full voltages a second.
    """

    decision_ms: float = Field(default=10.0, ge=1, le=100)
    substep_ms: float = Field(default=1.0, ge=0.05, le=2)
    slew_1_s: float = Field(default=200.0, gt=0)

    @model_validator(mode="after")
    def _divides(self) -> Timing:
        if abs(self.substeps * self.substep_ms - self.decision_ms) > 1e-9:
            raise ValueError(f"substep_ms is {self.substep_ms:g}: it must divide decision_ms, {self.decision_ms:g}")
        return self

    @property
    def substeps(self) -> int:
        """Substeps of a decision."""
        return max(1, round(self.decision_ms / self.substep_ms))
