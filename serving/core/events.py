"""Events of the service as plain records: decisions, changes by people or rules, reports of structural monitors.

`SiteService` makes them, and `serving.structural` makes those of monitors. Either hands each event to the sinks: the
audit log, the metrics and the streams. A sink must return at once and never raise; slow work it does elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from envs.core.readings import Readings

SOURCES = ("champion", "canary", "fallback", "manual")
"""Sources of a command: a policy in one of its two acting roles, the fallback, a person."""

FallbackCause = Literal["late", "failed", "inputs", "rolled_back"]
"""Causes for which a fallback decides: the controller in charge missed its deadline, or failed; the readings cannot be
trusted; or the service took that controller out of charge."""


@dataclass(frozen=True)
class Decision:
    """One answered tick.

    Attributes:
        system, site, site_hash: the site.
        tick, time_s: as asked.
        at_s: wall clock when the body arrived, seconds since 1970.
        who: name of the key that asked; ``anonymous`` where the service is open.
        body: of the request, as it came.
        readings_hash: SHA-256 of the checked readings' bytes.
        imputed: ``column[k]`` → the value that stood in for a reading that could not be trusted.
        findings: of the input checks, in words.
        source: one of `SOURCES`.
        controller: its name.
        bundle: SHA-256 of the bundle that decided, None if no policy did.
        requests: to the guard, one entry an agent, as plain data; None where a program runs in the plant.
        commands: agent → command, as answered.
        interventions: as answered.
        fallback_reason: reason why the fallback decided, in words; None if it did not.
        fallback_cause: kind of that reason; None if it did not.
        overridden: agent → reason of the manual override that held.
        latency_ms: from the body's arrival to the answer.
        deadline_ms: the most that it was to take.
        late: whether the controller missed the deadline.
        episode: name of the plant's episode, as asked; None if it has none.
        begins: whether every controller, and the input checks, forgot earlier ticks ahead of this one.
        local: agents whose requests came from the fallback, as their own sensors could not be trusted.
        manual: agent → request of a manual override to the guard, as plain data.
        envelope: how far the readings lie from what the policy was trained on; above 1 they are outside. None: unknown.
        readings: those of the body, for sinks that look at once; not kept, so None where the event comes from a log.
    """

    system: str
    site: str
    site_hash: str
    tick: int
    time_s: float
    at_s: float
    who: str
    body: bytes
    readings_hash: str
    source: str
    controller: str
    bundle: str | None
    requests: list[Any] | None
    commands: Mapping[str, Any]
    interventions: list[Any]
    fallback_reason: str | None
    latency_ms: float
    deadline_ms: float
    late: bool = False
    imputed: Mapping[str, float | None] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    overridden: Mapping[str, str] = field(default_factory=dict)
    episode: str | None = None
    begins: bool = False
    local: tuple[str, ...] = ()
    manual: Mapping[str, Any] = field(default_factory=dict)
    envelope: float | None = None
    fallback_cause: FallbackCause | None = None
    readings: Readings | None = field(default=None, repr=False, compare=False)

    def kept(self) -> dict[str, Any]:
        """The event as plain data without the readings, which the body has."""
        content = dict(vars(self))
        del content["readings"]
        return content


@dataclass(frozen=True)
class Shadowed:
    """Requests of a challenger in the shadow at a tick; never carried out.

    Attributes:
        system, site, tick, at_s: of the decision beside it.
        controller, bundle: the challenger.
        commands: agent → command that the guard would have let through; empty if it failed.
        differs: share of agents whose command would have been another, 0 to 1.
        error: reason why it gave none.
        latency_ms: of the challenger.
    """

    system: str
    site: str
    tick: int
    at_s: float
    controller: str
    bundle: str | None
    commands: Mapping[str, Any]
    differs: float
    error: str | None
    latency_ms: float


CHANGES = (
    *("shadow", "canary", "promote", "demote", "rollback", "return", "configure"),
    *("override", "release", "acknowledge", "shelve", "unshelve"),
)
"""Kinds of changes at a site."""


@dataclass(frozen=True)
class SiteChange:
    """A change by a person or a rule of the service: roles, overrides, the controller in charge, alarms.

    Attributes:
        system, site: the site; empty if the change concerns the service as a whole.
        at_s: wall clock, seconds since 1970.
        who: name of the key; ``service`` where a rule made the change, and ``configuration`` where a file did.
        what: one of `CHANGES`.
        reason: in words.
        detail: of the change, as plain data; for a ``rollback`` by the service ``from``, ``to``, and the ``role`` of
            the controller that was taken out of charge.
    """

    system: str
    site: str
    at_s: float
    who: str
    what: str
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Structure:
    """A structural monitor's report of a window.

    Attributes:
        system, site: the site.
        at_s: wall clock of the window's last tick, seconds since 1970.
        report: as plain data, see `agents.monitors.storeys.StoreyReport`.
    """

    system: str
    site: str
    at_s: float
    report: Mapping[str, Any]


Event = Decision | Shadowed | SiteChange | Structure


class Sink(Protocol):
    """Takes every event."""

    def record(self, event: Event) -> None:
        """Take note; returns at once, never raises."""

    def close(self) -> None:
        """Finish what is under way."""
