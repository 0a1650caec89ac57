"""Metrics: what is counted, that labels are bounded, and that dashboards and alerts ask for what there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from envs import get_system, load_scenario
from envs.core.env import make_loop
from envs.core.registry import SYSTEMS
from envs.core.site import Site
from serving.app import create_app
from serving.build import Plan
from serving.config import ServiceConfig
from serving.core.events import CHANGES, Shadowed, SiteChange, Structure
from serving.core.wire import example_tick
from serving.watch.metrics import MAX_REASONS, Metrics
from tests.serving.plants import client_of
from tests.serving.watch.test_streams import change, decision

DASHBOARDS = Path(__file__).parents[3] / "serving" / "watch" / "dashboards"
AT = {"system": "drainage", "site": "estuary"}


@pytest.fixture(scope="module")
def site() -> Site:
    return get_system("drainage").load_site(load_scenario("drainage/estuary"))


@pytest.fixture
def metrics(site: Site) -> Metrics:
    return Metrics([site])


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((f"cityloop_{name}", frozenset(labels.items())))


def test_everything_that_counts_begins_at_zero(metrics: Metrics) -> None:
    for name in ("deadline_misses_total", "rollbacks_total", "imputed_readings_total", "shadow_ticks_total"):
        assert value(metrics, name, **AT) == 0
    assert value(metrics, "ticks_total", **AT, source="champion") == 0
    assert value(metrics, "fallbacks_total", **AT, cause="late") == 0
    assert {value(metrics, "changes_total", **AT, what=what) for what in CHANGES} == {0}
    assert np.isnan(value(metrics, "last_tick_timestamp_seconds", **AT) or 0)


def test_its_refusals_are_described_as_the_json_that_they_are() -> None:
    with closing(Plan.make(ServiceConfig(sites=[{"site": "drainage/estuary"}])).gateway()) as gateway:
        openapi = client_of(create_app(gateway)).get("/openapi.json").json()
    described = openapi["paths"]["/metrics"]["get"]["responses"]
    kinds = {status: list(answer["content"]) for status, answer in described.items()}
    assert kinds == {"200": ["text/plain"], **{key: ["application/json"] for key in ("401", "403", "429")}}


def test_a_log_that_is_not_kept_is_not_told_to_be_spoilt(metrics: Metrics) -> None:
    assert np.isnan(value(metrics, "audit_healthy") or 0), "0 is what the alert on the audit log waits for"


def test_a_first_fault_of_a_route_is_an_increase() -> None:
    plan = Plan.make(ServiceConfig.make({"sites": [{"site": "drainage/estuary", "champion": "static"}]}))
    with closing(plan.gateway()) as gateway:
        assert gateway.metrics is not None
        create_app(gateway)
        for route in ("/v1/{system}/{site}/act", "/v1/{system}/{site}/state", "/v1/alarms"):
            assert value(gateway.metrics, "http_answers_total", route=route, status="500") == 0


def test_a_tick_is_counted(metrics: Metrics) -> None:
    metrics.record(
        decision(
            3,
            latency_ms=7.0,
            imputed={"depth_m[0]": 1.0},
            findings=("a", "b"),
            interventions=[{"agent": "gate", "reason": "rate"}] * 2,
            overridden={"gate": "maintenance"},
            envelope=0.7,
        )
    )
    assert value(metrics, "ticks_total", **AT, source="champion") == 1
    assert value(metrics, "decision_latency_seconds_bucket", **AT, le="0.0075") == 1
    assert value(metrics, "decision_latency_seconds_bucket", **AT, le="0.005") == 0
    assert value(metrics, "guard_interventions_total", **AT, reason="rate") == 2
    assert value(metrics, "input_findings_total", **AT) == 2
    assert value(metrics, "imputed_readings_total", **AT) == 1
    assert value(metrics, "overridden_agents", **AT) == 1
    assert value(metrics, "envelope_score", **AT) == 0.7
    assert value(metrics, "last_tick_timestamp_seconds", **AT) == 1e9 + 3


def test_a_rule_that_took_over_has_no_score_of_the_policy_before_it(metrics: Metrics) -> None:
    metrics.record(decision(0))
    metrics.record(decision(1, envelope=2.1))
    assert value(metrics, "envelope_score", **AT) == 2.1
    metrics.record(decision(2))
    assert value(metrics, "envelope_score", **AT) is None, "the alert on it would never end"


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"late": True}, "late"),
        ({"findings": ("x",)}, "failed"),
        ({"findings": ("x",)}, "inputs"),
        ({}, "rolled_back"),
    ],
)
def test_fallbacks_have_a_cause(metrics: Metrics, more: dict[str, Any], cause: str) -> None:
    metrics.record(decision(source="fallback", fallback_reason="why", fallback_cause=cause, **more))
    assert value(metrics, "fallbacks_total", **AT, cause=cause) == 1


def test_rollbacks_are_the_service_s_own(metrics: Metrics) -> None:
    for who, what in (("service", "rollback"), ("ana", "rollback"), ("service", "return")):
        metrics.record(SiteChange("drainage", "estuary", 0.0, who, what, "late"))
    assert value(metrics, "rollbacks_total", **AT) == 1
    assert value(metrics, "changes_total", **AT, what="rollback") == 2
    assert value(metrics, "changes_total", **AT, what="return") == 1


def test_what_a_monitor_hears_is_a_probability_or_unknown(metrics: Metrics) -> None:
    for chance in (0.25, None):
        metrics.record(Structure("drainage", "estuary", 0.0, {"probability": chance}))
        told = value(metrics, "structure_loss_probability", **AT)
        assert told == chance or (chance is None and told is not None and np.isnan(told))


def test_one_is_in_charge_at_a_time(metrics: Metrics) -> None:
    for event in (decision(), decision(source="fallback", controller="equal", bundle=None), decision()):
        metrics.record(event)
    charged = [labels for (name, labels), v in samples(metrics).items() if name == "cityloop_in_charge" and v == 1]
    assert [dict(labels)["controller"] for labels in charged] == ["gate-policy"]


def test_shadows_are_counted(metrics: Metrics) -> None:
    for error in (None, "it failed"):
        metrics.record(Shadowed("drainage", "estuary", 0, 0.0, "new", None, {}, 0.25, error, 1.0))
    assert value(metrics, "shadow_ticks_total", **AT) == 2
    assert value(metrics, "shadow_errors_total", **AT) == 1
    assert value(metrics, "shadow_differences_total", **AT) == 0.5


def test_labels_are_bounded(metrics: Metrics) -> None:
    for k in range(1000):
        metrics.record(decision(interventions=[{"reason": f"reason {k}"}]))
        metrics.record(decision(place=("drainage", f"site{k}")))
        metrics.record(change(place=("drainage", f"site{k}")))
        metrics.record(decision(controller=f"policy {k}"))
    found = [name for name, _ in samples(metrics)]
    assert found.count("cityloop_guard_interventions_total") == MAX_REASONS + 1
    assert found.count("cityloop_in_charge") == 1
    assert len(found) < 150


def test_what_is_asked_at_a_scrape(metrics: Metrics) -> None:
    metrics.watch_audit(lambda: False, lambda: 7)
    metrics.watch_streams(lambda: 2, lambda: 3)
    metrics.watch_alarms({"high": 1, "medium": 0, "low": 4}.__getitem__)
    metrics.answered("/v1/{system}/{site}/act", 429)
    assert value(metrics, "audit_healthy") == 0
    assert value(metrics, "audit_lag_events") == 7
    assert value(metrics, "stream_subscribers") == 2
    assert value(metrics, "stream_gaps") == 3
    assert value(metrics, "alarms", priority="low") == 4
    assert value(metrics, "http_answers_total", route="/v1/{system}/{site}/act", status="429") == 1


class TestPlants:
    def test_the_last_readings_are_summed_up(self, metrics: Metrics, site: Site) -> None:
        tick = example_tick(site)
        tick["readings"]["depth_m"] = [t.full_m / 2 for t in site.tanks]  # type: ignore[attr-defined]
        metrics.record(decision(body=orjson.dumps(tick)))
        assert value(metrics, "plant", **AT, gauge="fullest") == 0.5
        assert value(metrics, "plant", **AT, gauge="overflowing_tanks") == 0
        tick["readings"]["depth_m"] = [None] * len(site.tanks)  # type: ignore[attr-defined]
        metrics.record(decision(body=orjson.dumps(tick)))
        assert value(metrics, "plant", **AT, gauge="fullest") is None

    def test_a_body_that_says_nothing_is_no_reason_to_fail(self, metrics: Metrics) -> None:
        metrics.record(decision(body=b"not JSON"))
        assert value(metrics, "plant", **AT, gauge="fullest") is None

    @pytest.mark.parametrize("ref", ["intersections/grid2x2", "drainage/estuary", "dampers/jansen", "transit/hcmc"])
    def test_every_system_has_gauges_even_if_no_sensor_tells(self, ref: str) -> None:
        loop = make_loop(ref)
        try:
            loop.reset(1)
            told = loop.system.gauges(loop.site, loop.readings)
            silent = {
                c.name: np.full_like(loop.readings[c.name], np.nan) if c.nullable else loop.readings[c.name]
                for c in loop.system.readings.columns
            }
            assert told.keys() == loop.system.gauges(loop.site, silent).keys()
            assert all(isinstance(number, float) for number in told.values())
            assert np.isfinite(list(told.values())).any()
        finally:
            loop.close()

    def test_every_system_is_tested(self) -> None:
        assert set(SYSTEMS) == {"intersections", "drainage", "dampers", "transit"}


def dashboard_queries() -> Iterator[str]:
    content = orjson.loads((DASHBOARDS / "cityloop.json").read_bytes())
    for panel in content["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (one["expr"] for one in content["annotations"]["list"])


def alert_queries() -> Iterator[str]:
    content = yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())
    yield from (rule["expr"] for group in content["groups"] for rule in group["rules"])


def selectors(expr: Any) -> Iterator[Any]:
    """The selectors in a parsed query."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr
    elif isinstance(expr, promql_parser.MatrixSelector):
        yield expr.vector_selector
    for name in ("expr", "lhs", "rhs"):
        if hasattr(expr, name):
            yield from selectors(getattr(expr, name))
    for argument in getattr(expr, "args", ()):
        yield from selectors(argument)


@pytest.mark.parametrize("query", [*dashboard_queries(), *alert_queries()])
def test_every_query_is_one_and_asks_for_what_there_is(metrics: Metrics, site: Site, query: str) -> None:
    body = orjson.dumps(example_tick(site))
    metrics.record(decision(envelope=0.5, interventions=[{"reason": "rate"}], body=body))
    metrics.watch_alarms({"high": 1, "medium": 0, "low": 4}.__getitem__)
    metrics.record(change())
    metrics.record(Structure(*AT.values(), 0.0, {"probability": 0.5}))
    metrics.answered("/", 200)
    known = {"up": {"job", "instance"}} | {name: set() for name in metrics.names}
    for name, labels in samples(metrics):
        known[name] |= {label for label, _ in labels}
    found = list(selectors(promql_parser.parse(query)))
    assert found, "it asks for nothing"
    for selector in found:
        assert selector.name in known
        assert {m.name for m in selector.matchers.matchers} <= known[selector.name] | {"job", "instance"}


def test_the_dashboard_is_one() -> None:
    content = orjson.loads((DASHBOARDS / "cityloop.json").read_bytes())
    panels = content["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels lie on each other"
    assert max(x for x, _ in cells) == 23


def test_every_metric_of_decisions_is_on_the_dashboard(metrics: Metrics) -> None:
    shown = " ".join([*dashboard_queries()])
    missing = {name for name in metrics.names if name not in shown and f"{name}_bucket" not in shown}
    assert missing <= {"cityloop_decision_latency_seconds"}


def test_every_alert_tells_what_to_do() -> None:
    content = yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())
    rules = [rule for group in content["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description"}
