"""Limits of gates' movements, and weights of the reward: parts of a scenario that its site keeps."""

from __future__ import annotations

from pydantic import Field, model_validator

from envs.core.frozen import Frozen


class Timing(Frozen):
    """Limits of gates' movements.

    Attributes:
        decision_s: seconds between two decisions; SWMM's routing step does not depend on it.
        rate_per_min: largest change of a setting a minute, as a share of the whole way.
        dwell_s: least rest of a gate after a movement.
        moves_per_day: most movements of a gate in any 24 hours.
        deadband: least movement: a gate ignores a closer setpoint.
    """

    decision_s: int = Field(default=300, ge=60, le=3600)
    rate_per_min: float = Field(default=0.2, gt=0, le=1)
    dwell_s: int = Field(default=600, ge=0, le=7200)
    moves_per_day: int = Field(default=72, ge=1)
    deadband: float = Field(default=0.05, ge=0, le=0.5)

    @model_validator(mode="after")
    def _can_move(self) -> Timing:
        step = self.rate_per_min * self.decision_s / 60
        if step <= self.deadband:
            raise ValueError(
                f"deadband is {self.deadband:g}, and a decision moves a gate by {step:g} at most: lower it"
            )
        return self


class Weights(Frozen):
    """Weights of the reward: cost of each term.

    Attributes:
        overflow: controllable overflow of an event's whole size (`reward.py` says how large that is).
        sensitive: the same for overflow into sensitive waters, wherever it left the network.
        movement: a gate's movement from shut to open.
        objective: a unit of the published objective.
    """

    overflow: float = Field(default=30.0, ge=0)
    sensitive: float = Field(default=15.0, ge=0)
    movement: float = Field(default=0.05, ge=0)
    objective: float = Field(default=0.0, ge=0)
