"""How signals are timed, and by whose rules: part of a scenario and of its site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from envs.core.frozen import Frozen

Regime = Literal["engineer", "resco"]


class Timing(Frozen):
    """How signals are timed.

    Attributes:
        decision_s: seconds between two decisions.
        yellow_s: seconds of yellow; None: from the approach speed (ITE formula, at least 3 s).
        all_red_s: seconds of all-red after a yellow; None: from the junction's width and the approach speed.
        min_green_s: seconds that a green lasts at least.
        max_red_s: seconds after which a movement is served whatever is asked for; None: never.
        max_green_s: longest green of a vehicle-actuated stage; no bound for requests.
    """

    decision_s: int = Field(ge=1, le=60)
    yellow_s: int | None = Field(default=None, ge=1, le=6)
    all_red_s: int | None = Field(default=None, ge=0, le=6)
    min_green_s: int = Field(ge=1, le=60)
    max_red_s: int | None = Field(default=None, ge=30)
    max_green_s: int = Field(default=50, ge=5)

    @model_validator(mode="after")
    def _bounded(self) -> Timing:
        if self.max_green_s < self.min_green_s:
            raise ValueError(f"max_green_s is {self.max_green_s}: give at least min_green_s, {self.min_green_s}")
        return self


REGIMES: dict[str, Timing] = {
    "engineer": Timing(decision_s=5, min_green_s=7, max_red_s=120),
    "resco": Timing(decision_s=10, yellow_s=3, all_red_s=0, min_green_s=7),
}
"""Regime → its timing."""
