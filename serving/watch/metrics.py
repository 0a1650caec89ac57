"""Prometheus metrics of the service: a sink that counts, and gauges that are computed at a scrape.

Labels are bounded. Systems and sites are those that are served. Texts without a bound of their own (reasons of a guard,
names of conditions) are kept up to a number; the rest counts as ``other``. The plant's own gauges take time, and are
computed at a scrape and not at a tick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from envs.core.site import Site
from serving.core.events import CHANGES, SOURCES, Decision, Event, FallbackCause, Shadowed, SiteChange, Structure
from serving.core.gauges import gauges_of

BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Bounds of latency buckets in seconds: fine at a building's period, coarse at a junction's."""

MAX_REASONS = 24
"""Number of guards' reasons with a label of their own, in the whole service."""

AT = ("system", "site")


@dataclass(frozen=True)
class _Every:
    """Metrics that every tick of a site changes, looked up once."""

    latency: Histogram
    ticks: Mapping[str, Counter]
    seen: Gauge
    deadline: Gauge
    overridden: Gauge


class Metrics:
    """Counts events.

    Args:
        sites: the served ones.
    """

    def __init__(self, sites: Sequence[Site]):
        disable_created_metrics()  # a second sample for every counter, which nobody asks for
        self._registry = CollectorRegistry()
        self._sites = {(site.system, site.name): site for site in sites}
        self._last: dict[tuple[str, str], Decision] = {}
        self._reasons: set[str] = set()
        self._in_charge: dict[tuple[str, str], tuple[str, ...]] = {}
        self._make_ticks()
        self._make_service()
        self._registry.register(_Plants(self._sites, self._last))
        self._at = {place: self._begin(place) for place in self._sites}

    def _make_ticks(self) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"cityloop_{name}", what, (*AT, *labels), registry=self._registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"cityloop_{name}", what, (*AT, *labels), registry=self._registry)

        self.latency = Histogram(
            "cityloop_decision_latency_seconds",
            "From the arrival of a tick to its answer, within the service.",
            AT,
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self.ticks = counter("ticks", "Answered ticks, by who was in charge.", "source")
        self.fallbacks = counter("fallbacks", "Ticks that the fallback decided, by cause.", "cause")
        self.late = counter("deadline_misses", "Ticks whose controller missed the deadline.")
        self.interventions = counter("guard_interventions", "Requests that the guard changed, by reason.", "reason")
        self.imputed = counter("imputed_readings", "Readings that another value stood in for.")
        self.findings = counter("input_findings", "What the input checks found, tick by tick.")
        self.changes = counter("changes", "What people and rules changed, by what.", "what")
        self.rollbacks = counter("rollbacks", "Times that a policy was taken out of charge by the service.")
        self.overridden = gauge("overridden_agents", "Agents under a manual override at the last tick.")
        self.envelope = gauge(
            "envelope_score", "How far the last readings lie from what the policy was trained on; above 1: outside."
        )
        self.seen = gauge("last_tick_timestamp_seconds", "Wall clock of the last tick.")
        self.damaged = gauge(
            "structure_loss_probability", "That a building lost stiffness, by its last window; NaN: it was not heard."
        )
        self.deadline = gauge("deadline_seconds", "What the last tick was to take at most.")
        self.charge = gauge("in_charge", "1 for who decided the last tick.", "source", "controller", "bundle")
        self.shadowed = counter("shadow_ticks", "Ticks that a challenger in the shadow decided, too.")
        self.shadow_errors = counter("shadow_errors", "Of these, those at which it failed.")
        self.differs = counter("shadow_differences", "Sum over shadow ticks of the share of agents that differ.")

    def _make_service(self) -> None:
        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"cityloop_{name}", what, labels, registry=self._registry)

        self._audit = gauge("audit_healthy", "1 if the audit log can be written; NaN: none is kept.")
        self._audit.set(math.nan)  # not 0: nobody need be called about a log that nobody wants
        self._audit_lag = gauge("audit_lag_events", "Events that wait to be written to the audit log.")
        self._streams = gauge("stream_subscribers", "Open streams of events.")
        self._gaps = gauge("stream_gaps", "Times that a stream was read too slowly.")
        self.loops = gauge("loop_connections", "Open WebSocket loops.")
        self._alarms = gauge("alarms", "Alarms that hold, by priority.", "priority")
        self.answers = Counter(
            "cityloop_http_answers", "Answers over HTTP, by route.", ("route", "status"), registry=self._registry
        )

    def _begin(self, place: tuple[str, str]) -> _Every:
        """Start a site's counters at 0, so that a first event is an increase."""
        for counter in (self.late, self.imputed, self.findings, self.rollbacks, self.shadowed, self.shadow_errors):
            counter.labels(*place)
        self.differs.labels(*place)
        self.seen.labels(*place).set(math.nan)  # not 1970: a site that has never asked is not silent
        for cause in get_args(FallbackCause):
            self.fallbacks.labels(*place, cause)
        for what in CHANGES:
            self.changes.labels(*place, what)
        return _Every(
            self.latency.labels(*place),
            {source: self.ticks.labels(*place, source) for source in SOURCES},
            self.seen.labels(*place),
            self.deadline.labels(*place),
            self.overridden.labels(*place),
        )

    def record(self, event: Event) -> None:
        """Count an event of a site that is served."""
        place = (event.system, event.site)
        if isinstance(event, SiteChange):
            self._changed(place, event)
        elif place in self._sites:
            if isinstance(event, Decision):
                self._decided(place, event)
            elif isinstance(event, Structure):
                chance = event.report["probability"]
                self.damaged.labels(*place).set(math.nan if chance is None else chance)
            else:
                self._shadowed(place, event)

    def _decided(self, place: tuple[str, str], tick: Decision) -> None:
        self._last[place] = tick
        at = self._at[place]
        at.latency.observe(tick.latency_ms / 1e3)
        at.ticks[tick.source].inc()
        at.seen.set(tick.at_s)
        at.deadline.set(tick.deadline_ms / 1e3)
        at.overridden.set(len(tick.overridden))
        if tick.envelope is not None:
            self.envelope.labels(*place).set(tick.envelope)
        else:  # nothing was compared; an earlier score would ring for as long as a rule decides
            self.envelope.remove(*place)
        if tick.late:
            self.late.labels(*place).inc()
        if tick.fallback_cause is not None:
            self.fallbacks.labels(*place, tick.fallback_cause).inc()
        if tick.imputed:
            self.imputed.labels(*place).inc(len(tick.imputed))
        if tick.findings:
            self.findings.labels(*place).inc(len(tick.findings))
        for change in tick.interventions:
            self.interventions.labels(*place, self._reason(change)).inc()
        charge = (tick.source, tick.controller, (tick.bundle or "")[:12])
        if self._in_charge.get(place) != charge:
            if place in self._in_charge:
                self.charge.remove(*place, *self._in_charge[place])
            self._in_charge[place] = charge
            self.charge.labels(*place, *charge).set(1)

    def _reason(self, change: Mapping[str, Any]) -> str:
        reason = str(change.get("reason", "other"))
        if reason not in self._reasons:
            if len(self._reasons) >= MAX_REASONS:
                return "other"
            self._reasons.add(reason)
        return reason

    def _shadowed(self, place: tuple[str, str], tick: Shadowed) -> None:
        self.shadowed.labels(*place).inc()
        self.differs.labels(*place).inc(tick.differs)
        if tick.error is not None:
            self.shadow_errors.labels(*place).inc()

    def _changed(self, place: tuple[str, str], change: SiteChange) -> None:
        if place not in self._sites and place != ("", ""):
            return
        self.changes.labels(*place, change.what).inc()
        if change.what == "rollback" and change.who == "service":
            self.rollbacks.labels(*place).inc()

    def watch_routes(self, routes: Iterable[str]) -> None:
        """Start the faults of every route at 0: an alert notices an increase, and not a new number."""
        for route in routes:
            self.answers.labels(route, "500")

    def answered(self, route: str, status: int) -> None:
        """Count an answer over HTTP; the route is a template, not an address."""
        self.answers.labels(route, str(status)).inc()

    def watch_audit(self, healthy: Callable[[], bool], waiting: Callable[[], int]) -> None:
        """Ask the audit log at every scrape whether it can write, and how many events wait."""
        self._audit.set_function(lambda: float(healthy()))
        self._audit_lag.set_function(lambda: float(waiting()))

    def watch_streams(self, subscribers: Callable[[], int], gaps: Callable[[], int]) -> None:
        """Ask the streams at every scrape for the number of subscribers, and of gaps."""
        self._streams.set_function(lambda: float(subscribers()))
        self._gaps.set_function(lambda: float(gaps()))

    def watch_alarms(self, holding: Callable[[str], int]) -> None:
        """Ask at every scrape for the number of alarms that hold, by priority."""
        for priority in ("high", "medium", "low"):
            self._alarms.labels(priority).set_function(lambda p=priority: float(holding(p)))  # type: ignore[misc]

    @property
    def names(self) -> set[str]:
        """Names of all samples that a scrape may show."""
        found = set()
        for family in self._registry.collect():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            found |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
        return found

    def render(self) -> tuple[bytes, str]:
        """The metrics, and their media type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def close(self) -> None:
        """Nothing is under way."""


class _Plants(Collector):
    """The plants' own gauges, from the readings of the last tick, whose age another gauge tells."""

    def __init__(self, sites: Mapping[tuple[str, str], Site], last: Mapping[tuple[str, str], Decision]):
        self._sites, self._last = sites, last

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("cityloop_plant", "What the last readings add up to.", labels=(*AT, "gauge"))
        for place, tick in list(self._last.items()):
            for name, value in gauges_of(self._sites[place], tick.body).items():
                if value is not None:
                    family.add_metric((*place, name), value)
        yield family
