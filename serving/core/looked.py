"""What the input checks make of a tick, and the interface by which others know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.envelope import Envelope
from envs.core.readings import Readings
from envs.core.world import Observation
from serving.core.wire import Tick


@dataclass(frozen=True)
class Looked:
    """Readings after the input checks.

    Attributes:
        readings: as the controllers see them.
        imputed: ``column[k]`` → stand-in for a value that cannot be trusted.
        findings: of the checks, in words.
        local: indices of agents that the fallback is to decide, as their own sensors cannot be trusted.
        fall_back: reason why the fallback is to decide for all; None if it need not.
        envelope: how far the readings lie from what the policy was trained on; above 1 they are outside. None: unknown.
    """

    readings: Readings
    imputed: Mapping[str, float | None] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    local: Sequence[int] = ()
    fall_back: str | None = None
    envelope: float | None = None


class Checks(Protocol):
    """Looks at the readings of one site, tick after tick."""

    def follow(self, envelope: Envelope | None) -> None:
        """Compare readings with this envelope of the policy in charge from now on; None: it has none."""
        ...

    def look(self, tick: Tick, at_s: float) -> Looked:
        """Check a tick that arrived at ``at_s``, seconds since 1970. Deterministic in the order of ticks."""
        ...

    def judge(self, looked: Looked, observation: Observation) -> Looked:
        """Check the same tick once it is encoded."""
        ...

    def reset(self) -> None:
        """Forget the episode."""
        ...

    def describe(self) -> dict[str, Any]:
        """The present state of the sensors, as plain data."""
        ...
