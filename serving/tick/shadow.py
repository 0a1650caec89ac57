"""Asking a controller after the answer, for comparison: a challenger in the shadow, or a policy out of charge.

It runs in its own seat's thread on the same observation. Where it is still busy with an earlier tick, the tick is
dropped: an answer is never held up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Commands, Guard, Intervention, Observation
from serving.charge.seat import Seat, reason_of


@dataclass(frozen=True)
class Tried:
    """Result of asking a controller for comparison.

    Attributes:
        commands: those that the guard would have let through; None if the controller failed.
        differs: share of agents whose command differs from the one carried out.
        guarded: share of agents whose request the guard would have changed.
        error: reason why there are none.
        latency_ms: of the controller.
    """

    commands: Commands | None
    differs: float
    guarded: float
    error: str | None
    latency_ms: float


def try_out(
    seat: Seat,
    guard: Guard,
    readings: Readings,
    observation: Observation,
    mask: np.ndarray,
    issued: Commands,
    tell: Callable[[Tried], None],
    everyday: Collection[str] = (),
) -> bool:
    """Ask a controller without carrying out its requests; returns whether it has time.

    Args:
        seat: the controller.
        guard: of the site.
        readings: of the decision beside it.
        observation: of the same.
        mask: of the same.
        issued: the commands that are carried out.
        tell: called with the result, in the seat's thread.
        everyday: the guard's reasons that do not count.
    """

    def job() -> None:
        started = time.perf_counter()
        try:
            requests = seat.decide(readings, observation)
            commands, changes = guard.check(readings, requests, mask)
        except Exception as error:
            tell(Tried(None, 0.0, 0.0, reason_of(error), _ms(started)))
            return
        agents = len(issued)
        other = np.reshape(commands != issued, (agents, -1)).any(axis=1)
        guarded = len(guarded_agents(changes, everyday)) / agents
        tell(Tried(commands, float(other.mean()), guarded, None, _ms(started)))

    return seat.post(job)


def guarded_agents(changes: Sequence[Intervention], everyday: Collection[str]) -> set[str]:
    """Agents whose requests the guard changed for a reason that counts against the controller."""
    return {change.agent for change in changes if change.reason not in everyday}


def _ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 3)
