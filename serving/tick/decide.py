"""The decision within a tick: requests of the controller in charge, or of the fallback, within the deadline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.core.errors import CityloopError
from envs.core.world import Observation, Requests, as_numbers
from serving.charge.crew import Crew
from serving.charge.seat import Seat, reason_of
from serving.core.deadline import Late
from serving.core.events import FallbackCause
from serving.core.looked import Looked
from serving.tick.asked import Asked

LOGGER = logging.getLogger("cityloop.serving")


@dataclass(frozen=True)
class Choice:
    """Requests for the guard, and the controller that made them.

    Attributes:
        requests: one entry an agent.
        seat: the controller that decided.
        source: ``champion``, ``canary`` or ``fallback``.
        reason: reason why the fallback decided, in words; None if it did not.
        cause: kind of that reason; None if it did not.
        local: indices of agents that the fallback decided by itself.
    """

    requests: Requests
    seat: Seat
    source: str
    reason: str | None = None
    cause: FallbackCause | None = None
    local: tuple[int, ...] = ()


async def decide(
    crew: Crew, asked: Asked, looked: Looked, observation: Observation, out_of_charge: str | None
) -> Choice:
    """Decide a tick.

    Args:
        crew: the site's controllers.
        asked: the tick, with the time that is left.
        looked: the checked readings.
        observation: of them.
        out_of_charge: reason why the controller in charge may not decide at all; None if it may.
    """
    seat, source = crew.in_charge
    if out_of_charge is not None:
        return _by_fallback(crew, looked, observation, out_of_charge, "rolled_back")
    if looked.fall_back is not None:
        return _by_fallback(crew, looked, observation, looked.fall_back, "inputs")
    try:
        requests = await seat.decide_in_time(looked.readings, observation, asked.left_s(), asked.deadline_ms / 1e3)
    except Exception as error:
        late = isinstance(error, Late)
        if not late and not isinstance(error, CityloopError):
            LOGGER.warning("%s/%s: %s failed", crew.site.system, crew.site.name, seat.name, exc_info=error)
        why = f"{seat.name}: {reason_of(error)}"
        return _by_fallback(crew, looked, observation, why, "late" if late else "failed")
    if looked.local:
        requests = _with_local(crew, looked, observation, requests)
    return Choice(requests, seat, source, local=tuple(looked.local))


def _by_fallback(crew: Crew, looked: Looked, observation: Observation, reason: str, cause: FallbackCause) -> Choice:
    requests, second = _ask_fallback(crew, looked, observation)
    return Choice(requests, crew.fallback, "fallback", f"{reason}; {second}" if second else reason, cause)


def _ask_fallback(crew: Crew, looked: Looked, observation: Observation) -> tuple[Requests, str | None]:
    """The fallback's requests, and the reason if it fails too."""
    try:
        return crew.fallback.decide(looked.readings, observation), None
    except Exception as error:
        LOGGER.warning(
            "%s/%s: fallback %s failed", crew.site.system, crew.site.name, crew.fallback.name, exc_info=error
        )
        # No wish at all: the guard then keeps what is running, or moves on where it must.
        return np.full(len(crew.site.agents), np.nan), f"{crew.fallback.name}: {reason_of(error)}"


def _with_local(crew: Crew, looked: Looked, observation: Observation, requests: Requests) -> Requests:
    """Requests in which those of some agents are the fallback's."""
    local, _ = _ask_fallback(crew, looked, observation)
    return with_rows(requests, local, looked.local, crew.fallback.width)


def with_rows(requests: Requests, others: Requests, rows: Sequence[int], width: int) -> Requests:
    """Requests in which those of some agents are replaced.

    Args:
        requests: one entry an agent.
        others: likewise.
        rows: indices of those agents.
        width: length of an agent's request; 0 where it is a single number.
    """
    agents, columns = len(requests), max(width, 1)
    out, theirs = as_numbers(requests, agents, columns), as_numbers(others, agents, columns)
    out[list(rows)] = theirs[list(rows)]
    return out if requests.ndim > 1 else out[:, 0]
