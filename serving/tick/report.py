"""The results of a finished tick: the answer to the client, the events for the sinks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.core.site import Site
from envs.core.world import Commands, Intervention, Observation, Requests
from serving.charge.overrides import Override
from serving.charge.seat import Seat
from serving.core.events import Decision, Shadowed
from serving.core.looked import Looked
from serving.tick.asked import Asked
from serving.tick.decide import Choice
from serving.tick.shadow import Tried


@dataclass(frozen=True)
class Outcome:
    """Results of a tick.

    Attributes:
        asked, looked, decided: of the steps before.
        overridden: agent → the command by hand that holds.
        requests: to the guard.
        commands, changes: of the guard; None where a program in the plant decides.
        observation, mask: for controllers that are asked for comparison.
    """

    asked: Asked
    looked: Looked
    decided: Choice
    overridden: Mapping[str, Override]
    requests: Requests
    commands: Commands | None
    changes: Sequence[Intervention]
    observation: Observation
    mask: np.ndarray


def answer_of(site: Site, command: str, outcome: Outcome) -> dict[str, Any]:
    """The answer to the client; see `wire.ActAnswer`."""
    asked, decided, looked = outcome.asked, outcome.decided, outcome.looked
    by_hand = len(outcome.overridden) == len(site.agents)
    bundle, done = decided.seat.bundle, outcome.commands
    commands = programs_of(site, decided.seat.name) if done is None else commands_of(site, command, done)
    return {
        "tick": asked.tick.tick,
        "time_s": asked.tick.time_s,
        "source": "manual" if by_hand else decided.source,
        "controller": decided.seat.name,
        "bundle": None if bundle is None else bundle[:12],
        "commands": commands,
        "interventions": [change._asdict() for change in outcome.changes],
        "fallback": decided.source == "fallback",
        "fallback_reason": decided.reason,
        "local": [site.agents[k] for k in decided.local],
        "overridden": {agent: one.reason for agent, one in outcome.overridden.items()},
        "imputed": dict(looked.imputed),
        "findings": list(looked.findings),
        "latency_ms": round((time.perf_counter() - asked.started) * 1e3, 3),
    }


def programs_of(site: Site, program: str) -> dict[str, dict[str, Any]]:
    """Agent → its program."""
    return {agent: {"program": program} for agent in site.agents}


def commands_of(site: Site, command: str, commands: Commands) -> dict[str, dict[str, Any]]:
    """Agent → its command."""
    return {agent: {command: _value(c)} for agent, c in zip(site.agents, commands.tolist(), strict=True)}


def _value(command: float | list[float]) -> float | list[float]:
    """An agent's command: a number, or a list where it sets several."""
    return command[0] if isinstance(command, list) and len(command) == 1 else command


def decision_of(site: Site, site_hash: str, outcome: Outcome, answer: Mapping[str, Any]) -> Decision:
    """The event of an answered tick."""
    asked, decided = outcome.asked, outcome.decided
    return Decision(
        system=site.system,
        site=site.name,
        site_hash=site_hash,
        tick=asked.tick.tick,
        time_s=asked.tick.time_s,
        at_s=asked.at_s,
        who=asked.who,
        body=asked.body,
        readings_hash=hash_of(outcome.looked.readings),
        source=answer["source"],
        controller=decided.seat.name,
        bundle=decided.seat.bundle,
        requests=None if outcome.commands is None else outcome.requests.tolist(),
        commands=answer["commands"],
        interventions=answer["interventions"],
        fallback_reason=decided.reason,
        latency_ms=answer["latency_ms"],
        deadline_ms=asked.deadline_ms,
        late=decided.cause == "late",
        fallback_cause=decided.cause,
        imputed=outcome.looked.imputed,
        findings=tuple(outcome.looked.findings),
        envelope=outcome.looked.envelope,
        overridden=answer["overridden"],
        episode=asked.tick.episode,
        begins=asked.begins,
        local=tuple(answer["local"]),
        manual={agent: one.command for agent, one in outcome.overridden.items()},
        readings=asked.tick.readings,
    )


def shadowed_of(site: Site, command: str, asked: Asked, seat: Seat, tried: Tried) -> Shadowed:
    """The event of a controller that was asked for comparison."""
    return Shadowed(
        system=site.system,
        site=site.name,
        tick=asked.tick.tick,
        at_s=asked.at_s,
        controller=seat.name,
        bundle=seat.bundle,
        commands={} if tried.commands is None else commands_of(site, command, tried.commands),
        differs=tried.differs,
        error=tried.error,
        latency_ms=tried.latency_ms,
    )


def hash_of(readings: Readings) -> str:
    """SHA-256 of readings: of every column's name and the bytes of its values, in the schema's order."""
    parts = (name.encode() + np.asarray(values, dtype="<f8").tobytes() for name, values in readings.items())
    return hashlib.sha256(b"".join(parts)).hexdigest()
