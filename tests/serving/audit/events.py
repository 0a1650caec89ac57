"""Events for tests, which no service made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from serving.core.events import Decision, Shadowed, SiteChange

DECISION = Decision(
    system="intersections",
    site="grid2x2",
    site_hash="0" * 16,
    tick=0,
    time_s=0.0,
    at_s=1_700_000_000.0,
    who="tests",
    body=b'{"tick": 0, "text": "quotes \\" and \xc3\xa9"}',
    readings_hash="ab" * 32,
    source="champion",
    controller="max-pressure",
    bundle=None,
    requests=[1, 2, float("nan"), 0],
    commands={"A0": {"stage": 1}},
    interventions=[],
    fallback_reason=None,
    latency_ms=1.5,
    deadline_ms=100.0,
)


def decision(tick: int = 0, **changes: Any) -> Decision:
    """A decision; its second follows from its tick."""
    return replace(DECISION, **{"tick": tick, "time_s": 5.0 * tick, "at_s": DECISION.at_s + tick, **changes})


def change(what: str = "promote", **changes: Any) -> SiteChange:
    return replace(
        SiteChange("intersections", "grid2x2", DECISION.at_s, "tests", what, "as a test", {"to": "b"}), **changes
    )


def shadowed(tick: int = 0) -> Shadowed:
    return Shadowed("intersections", "grid2x2", tick, DECISION.at_s + tick, "tiny", None, {}, 0.0, "failed", 2.0)
