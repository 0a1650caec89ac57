"""Messages of ticks: reading a tick's body, typed models for documentation, JSON schemas of a site.

The models document; the hot path does not build them. A tick is checked by the system's own `Schema`, which is the one
that shaped the readings in training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import orjson
from gymnasium.spaces import Box, Discrete
from pydantic import BaseModel, ConfigDict, Field

from envs.core.errors import ReadingError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.system import System
from serving.core.json_depth import MAX_DEPTH, too_deep
from serving.core.refusals import brief

MAX_BODY_BYTES = 1 << 20
"""Longest body that is read; a tick of a hundred junctions has about 30 kB."""

MAX_LOOPS = 32
"""WebSocket loops at a time, in one process."""

MAX_TICK = 2**53
"""Largest whole number that every JSON reader keeps exactly."""

KEYS = ("tick", "time_s", "readings")
OPTIONAL = ("deadline_ms", "episode", "ages_s")

MAX_EPISODE = 64
"""Longest name of an episode."""

MAX_DEADLINE_MS = 60_000
"""Longest deadline that makes sense to a loop."""


class Model(BaseModel):
    """Base of all documented messages."""

    model_config = ConfigDict(extra="forbid")


class ActRequest(Model):
    """One tick of a whole site. `GET /v1/{system}/{site}` has the exact schema of its readings."""

    tick: int = Field(ge=0, le=MAX_TICK, description="number of the tick; the answer repeats it")
    time_s: float = Field(description="the plant's clock in seconds")
    readings: dict[str, list[float | None]] = Field(
        description="column → one value for every identifier along its axis, in the site's order and in the unit of "
        "the column's name; null where a sensor is silent"
    )
    deadline_ms: float = Field(
        default=None,  # type: ignore[assignment]
        gt=0,
        le=MAX_DEADLINE_MS,
        description="how long the answer may take; the site's own deadline if that is shorter, or none is given",
    )
    episode: str = Field(
        default=None,  # type: ignore[assignment]
        min_length=1,
        max_length=MAX_EPISODE,
        description="a name of this run of the plant; a new name begins a new episode, and so does a tick number that "
        "does not rise where no name is given",
    )
    ages_s: dict[str, float] = Field(
        default=None,  # type: ignore[arg-type]
        description="column → how old its readings were when they were sent, where they are not of this moment",
    )


class Change(Model):
    """A request that the guard changed."""

    agent: str = Field(description="whose")
    requested: float | None = Field(description="what was asked for; null where it was nothing that exists")
    commanded: float = Field(description="what is to be carried out instead")
    reason: str = Field(description="the rule that it would have broken")


class ActAnswer(Model):
    """What to carry out until the next tick."""

    tick: int = Field(description="as asked")
    time_s: float = Field(description="as asked: the plant's clock in seconds")
    commands: dict[str, dict[str, int | float | list[float] | str]] = Field(
        description="agent → what to set, e.g. {'stage': 2}; {'program': name} where the plant runs a program itself"
    )
    interventions: list[Change] = Field(description="what the guard changed")
    source: Literal["champion", "canary", "fallback", "manual"] = Field(
        description="who was in charge: a policy in one of its acting roles, the fallback, or a person at every agent"
    )
    controller: str = Field(description="who decided")
    bundle: str | None = Field(description="first digits of the policy's SHA-256; null if no policy decided")
    fallback: bool = Field(description="whether the fallback controller had to decide")
    fallback_reason: str | None = Field(description="why it had to; null if it did not")
    local: list[str] = Field(description="agents that the fallback decided, as their own sensors cannot be trusted")
    overridden: dict[str, str] = Field(description="agent → reason of the manual override that holds")
    imputed: dict[str, float | None] = Field(description="reading → what stood in for it, as it cannot be trusted")
    findings: list[str] = Field(description="what is wrong with the readings, in words")
    latency_ms: float = Field(description="from the body's arrival to this answer, within the service")


class Problem(Model):
    """What is wrong with a request."""

    field: str = Field(description="what of the request is at fault")
    value: Any = Field(description="what it is, shortened")
    mend: str = Field(description="what would be accepted")


class Refusal(Model):
    """Answer to a request that cannot be used."""

    error: Problem


class InCharge(Model):
    """Who decides at a site."""

    controller: str = Field(description="its name")
    why: str | None = Field(default=None, description="why it is the one, where 'policy' was asked for; else null")
    role: Literal["champion", "canary"] = Field(description="in which it acts")
    program: bool = Field(description="whether it is a program that runs inside the plant")
    bundle: str | None = Field(description="first digits of its SHA-256; null if it is no policy")
    fallback: str = Field(description="the controller that stands in for it")
    out_of_charge: str | None = Field(description="why the fallback decides instead; null if it does not")
    deadline_ms: float = Field(description="how long an answer may take before the fallback's is given")


class SiteSummary(Model):
    """A site in a list."""

    name: str = Field(description="its name, as in addresses")
    url: str = Field(description="path of its addresses")
    agents: int = Field(description="how many it has")
    controller: str = Field(description="who decides")
    interval_s: float = Field(description="usual time between two of its ticks")


class SystemSummary(Model):
    """A system and its sites."""

    name: str = Field(description="its name, as in addresses")
    description: str = Field(description="what it is, in a few words")
    command: str = Field(description="what its agents set, e.g. 'stage'")
    sites: list[SiteSummary] = Field(description="those that are served")


class Systems(Model):
    """All that is served."""

    systems: list[SystemSummary] = Field(description="those with a site that is served")


class CommandRange(Model):
    """What an agent may be told to do, by anybody: one of several things, or numbers within bounds."""

    name: str = Field(description="what it sets, e.g. 'stage'")
    choices: int | None = Field(default=None, description="one of the whole numbers from 0 to below this")
    low: list[float] | None = Field(default=None, description="the least of every number that it sets")
    high: list[float] | None = Field(default=None, description="the most")

    @classmethod
    def of(cls, system: System, site: Site) -> Self:
        """That of a site's agents."""
        space = system.action_space(site)
        if isinstance(space, Discrete):
            return cls(name=system.command, choices=int(space.n))
        if isinstance(space, Box):
            return cls(name=system.command, low=space.low.tolist(), high=space.high.tolist())
        return cls(name=system.command)


class SiteInfo(Model):
    """Everything that a client needs to know of a site."""

    system: str = Field(description="as in the address")
    site: str = Field(description="as in the address")
    site_hash: str = Field(description="content hash: equal exactly when the sites are")
    agents: list[str] = Field(description="their identifiers")
    axes: dict[str, list[str]] = Field(description="identifiers along every axis, in the order of the readings")
    limits: dict[str, Any] = Field(description="what the guard enforces, each with its unit in its name")
    command: CommandRange
    in_charge: InCharge
    request_schema: dict[str, Any] = Field(description="JSON schema of a tick of this very site")
    answer_schema: dict[str, Any] = Field(description="JSON schema of its answer")
    example: dict[str, Any] = Field(description="a tick that is accepted, of an idle plant")


class Health(Model):
    """Whether the service works."""

    status: str = Field(description="'ok', or 'degraded' where anything below is something else")
    sites: dict[str, str] = Field(
        description="site → 'ok', or why its fallback decides, what is not saved or booked, or that nobody answers"
    )
    audit: str = Field(default="ok", description="'ok', also where no audit log is kept, or why it cannot be written")
    access: str = Field(default="ok", description="'ok', or what is wrong with the files that say who is let in")


class Ready(Model):
    """Whether the service can be relied on."""

    status: Literal["ready", "unready"] = Field(description="'unready' where anything is at fault")
    faults: dict[str, str] = Field(description="what → why it cannot")


@dataclass(frozen=True)
class Tick:
    """One tick, checked.

    Attributes:
        tick, time_s, readings: as asked.
        deadline_ms: how long the answer may take; None: as long as the site's own.
        episode: the name of the plant's run, if it has one.
        ages_s: column → how old its readings are, where they are not of this moment.
    """

    tick: int
    time_s: float
    readings: Readings
    deadline_ms: float | None = None
    episode: str | None = None
    ages_s: Mapping[str, float] = field(default_factory=dict)


def parse_tick(system: System, site: Site, body: bytes) -> Tick:
    """Read and check the body of a tick.

    Raises:
        ReadingError: naming the first field that does not fit, its value and the mend.
    """
    if too_deep(body):
        raise ReadingError("body", f"more than {MAX_DEPTH} levels deep", "give a tick, which has three levels")
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        found = body[:40].decode(errors="replace")
        raise ReadingError("body", found, f"give JSON; {error}") from None
    if not isinstance(raw, dict):
        raise ReadingError("body", brief(raw), f"give an object with the keys {', '.join(KEYS)}")
    for key in raw:
        if key not in KEYS and key not in OPTIONAL:
            raise ReadingError(brief(key), brief(raw[key]), f"no such key; there are {', '.join((*KEYS, *OPTIONAL))}")
    if body.count(b":") > _colons(raw) or b"\\" in body:  # an escaped colon would hide one
        refuse_twice(body)
    tick: Any = raw.get("tick")
    time_s: Any = raw.get("time_s")
    if type(tick) is not int or not 0 <= tick <= MAX_TICK:
        raise ReadingError("tick", brief(tick), f"give a whole number from 0 to {MAX_TICK}")
    if type(time_s) not in (int, float) or not math.isfinite(time_s):
        raise ReadingError("time_s", brief(time_s), "give the plant's clock in seconds")
    deadline_ms, episode = _deadline(raw), _episode(raw)
    readings = system.readings.validate(raw.get("readings"), site.axes)
    system.cross_check(site, readings)
    return Tick(tick, float(time_s), readings, deadline_ms, episode, _ages(raw, readings))


def refuse_twice(body: bytes) -> None:
    """Refuse JSON in which an object has a key twice: the reader would take the last without a word.

    Raises:
        ReadingError: naming the key and its last value.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            raise ReadingError(brief(twice), brief(found[twice]), "it is given twice: give it once")
        return found

    json.loads(body, object_pairs_hook=once)


def _colons(raw: dict[str, Any]) -> int:
    """Colons in the body of a tick without a key that is given twice: one a member, and those in an episode's name.

    Counted, as that costs a thousandth of what reading the body once more with its keys would.
    """
    members = sum(len(part) for part in (raw, raw.get("readings"), raw.get("ages_s")) if isinstance(part, dict))
    episode = raw.get("episode")
    return members + (episode.count(":") if isinstance(episode, str) else 0)


def _deadline(raw: dict[str, Any]) -> float | None:
    if "deadline_ms" not in raw:
        return None
    value = raw["deadline_ms"]
    if type(value) not in (int, float) or not 0 < value <= MAX_DEADLINE_MS:
        raise ReadingError("deadline_ms", brief(value), f"give a time from above 0 to {MAX_DEADLINE_MS} ms")
    return float(value)


def _episode(raw: dict[str, Any]) -> str | None:
    if "episode" not in raw:
        return None
    value = raw["episode"]
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_EPISODE:
        raise ReadingError("episode", brief(value), f"give a name of 1 to {MAX_EPISODE} characters")
    return value


def _ages(raw: dict[str, Any], readings: Readings) -> dict[str, float]:
    if "ages_s" not in raw:
        return {}
    ages = raw["ages_s"]
    if not isinstance(ages, dict):
        raise ReadingError("ages_s", brief(ages), "give an object: column → age in seconds")
    for name, age in ages.items():
        if name not in readings:
            raise ReadingError(f"ages_s.{brief(name)}", brief(age), f"no such column; there are {', '.join(readings)}")
        if type(age) not in (int, float) or not 0 <= age < math.inf:
            raise ReadingError(f"ages_s.{name}", brief(age), "give an age in seconds, 0 or more")
    return ages


def request_schema(site: Site) -> dict[str, Any]:
    """The JSON schema of a tick of one site."""
    schema = ActRequest.model_json_schema()
    readings = get_system(site.system).readings
    schema["properties"]["readings"] = readings.json_schema(site.axes)
    for name in OPTIONAL:  # may be left out, and are not null: a generated client would send its default
        del schema["properties"][name]["default"]
    return schema


def answer_schema(site: Site) -> dict[str, Any]:
    """The JSON schema of the answer for one site."""
    schema = ActAnswer.model_json_schema()
    one = schema["properties"]["commands"]["additionalProperties"]
    agents = dict.fromkeys(site.agents, one)
    schema["properties"]["commands"] |= {
        "properties": agents,
        "required": list(agents),
        "additionalProperties": False,
    }
    return schema


def example_tick(site: Site) -> dict[str, Any]:
    """An idle tick that the site and its input checks accept."""
    schema = get_system(site.system).readings
    readings = {c.name: np.full(len(site.axes[c.axis]), schema.idle[c.name]) for c in schema.columns}
    return {"tick": 0, "time_s": 0.0, "readings": schema.to_json(readings)}
