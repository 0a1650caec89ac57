"""Settings of one site's input checks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen
from envs.core.system import System

Respond = Literal["report", "impute", "local", "fall_back"]
"""What becomes of a doubtful value: nothing but a finding; another value stands in for it; the agents that rely on it
are decided by the fallback; the whole site is."""


class CheckSettings(Frozen):
    """How one site's inputs are checked.

    Attributes:
        on: whether they are.
        hold_ticks: for so many ticks the last good value stands in for a doubtful one; then null does where the column
            may be silent, and agents that rely on it are decided by the fallback where it may not.
        local_share: an agent is decided by the fallback once more than this share of what it relies on, in any one
            column, is without a value that can be trusted.
        fall_back_share: the whole site is, once more than this share of its agents are.
        respond: column, or rule of `System.consistency` → what becomes of what is found there; ``impute`` where not
            given, ``fall_back`` for rules about the site as a whole; ``report`` for rules that a shift's end or a
            breakdown may break, and for what only limits of other sites speak against, where the policy's envelope does
            not know this one.
        envelope: what becomes of observations beyond what the policy has seen: ``report``, ``local`` (the agents
            concerned; the whole site where all of them together are beyond it) or ``fall_back`` (the whole site).
        envelope_ticks: for so many ticks in a row, before anything but a finding comes of it.
        limits: file of an envelope to take the sensors' limits from, for sites where a rule decides; a policy's bundle
            has its own.
        clock: ``plant``: ``time_s`` only has to advance; ``wall``: it is seconds since 1970, and must be recent.
        max_age_s: how old a reading may be: by the wall clock, where ``clock`` says so, and by its own ``ages_s``;
            three usual intervals, but a second at least, if not given.
    """

    on: bool = True
    hold_ticks: int = Field(default=3, ge=0, le=1000)
    local_share: float = Field(default=0.5, ge=0, le=1)
    fall_back_share: float = Field(default=0.5, ge=0, le=1)
    respond: dict[str, Respond] = Field(default_factory=dict)
    envelope: Literal["report", "local", "fall_back"] = "local"
    envelope_ticks: int = Field(default=2, ge=1, le=1000)
    limits: Path | None = None
    clock: Literal["plant", "wall"] = "plant"
    max_age_s: float | None = Field(default=None, gt=0)

    def check_names(self, system: System, rules: tuple[str, ...]) -> None:
        """Refuse responses to unknown columns and rules.

        Raises:
            CityloopError: naming the unknown key, and those that exist.
        """
        known = (*(column.name for column in system.readings.columns), *rules)
        for name in self.respond:
            if name not in known:
                raise CityloopError(f"checks.respond has unknown key {name!r}: choose {', '.join(known)}")
