"""Conduct of the controller in charge at a tick, for automatic rollback."""

from __future__ import annotations

from collections.abc import Collection

from serving.charge.rollback import Conduct
from serving.tick.report import Outcome
from serving.tick.shadow import guarded_agents


def conduct_of(outcome: Outcome, agents: int, everyday: Collection[str]) -> Conduct:
    """Conduct of the controller in charge at a tick, whether it was asked or not."""
    decided = outcome.decided
    guarded = 0.0
    if decided.source != "fallback" and outcome.changes:
        theirs = guarded_agents(outcome.changes, everyday) - set(outcome.overridden)
        guarded = len(theirs) / agents
    return Conduct(float(decided.cause == "failed"), float(decided.cause == "late"), outside_of(outcome), guarded)


def outside_of(outcome: Outcome) -> float:
    """1 if the readings lie outside what the policy was trained on."""
    envelope = outcome.looked.envelope
    return float(envelope is not None and envelope > 1.0)
