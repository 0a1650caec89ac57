"""Interfaces of a service's optional parts: input checks of readings, and the audit log.

The gateway knows them by these few methods alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from agents.envelope import Envelope
from envs.core.readings import Readings
from envs.core.world import Observation
from serving.events import Sink
from serving.wire import Tick

if TYPE_CHECKING:
    from serving.audit.query import Wanted


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


class Trail(Sink, Protocol):
    """The audit log: a sink that can be asked."""

    @property
    def degraded(self) -> str | None:
        """Reason why it cannot write; None if it can."""
        ...

    def recent(self, wanted: Wanted, limit: int = 100) -> list[dict[str, Any]]:
        """The last entries that match, at most ``limit``, oldest first."""
        ...
