"""Whatever is sent: no fault, no trace in an answer, no growth. Our own malice, and what the description allows."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

from serving.bench.fuzz import bench_fuzz
from serving.bench.soak import bench_soak
from tests.serving.plants import app_of, grid, service

pytestmark = pytest.mark.chaos

REQUESTS = int(os.environ.get("CITYLOOP_FUZZ", "10000"))
SOAK_S = float(os.environ.get("CITYLOOP_SOAK_S", "1800"))

TRACE = re.compile(r"Traceback \(most recent call last\)|, line \d+, in ")
"""How a trace looks. A word alone is none: hypothesis sends words of our code, and refusals name what was sent."""

APP = app_of(service(grid()))
DESCRIPTION: dict[str, Any] = TestClient(APP, "http://127.0.0.1").get("/openapi.json").json()
schema = schemathesis.openapi.from_dict(DESCRIPTION)
schema.app = APP


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_the_description_allows_is_answered_as_it_says(case: Any) -> None:
    if "site" in (case.path_parameters or {}):
        case.path_parameters |= {"system": "intersections", "site": "grid2x2"}
    answer = case.call(base_url="http://127.0.0.1")
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    assert not TRACE.search(answer.text)


def test_malice_finds_no_fault_no_trace_and_no_growth() -> None:
    found = bench_fuzz(REQUESTS)
    figures = found["figures"]
    assert (figures["faults of the service"], figures["answers that show a trace"]) == (0, 0), found
    assert figures["ready afterwards"] == 1
    assert found["ratios"]["memory at the end / when settled"] <= 1.05, found


def test_a_long_while_of_ticks_leaves_nothing_behind() -> None:
    found = bench_soak(SOAK_S)
    figures = found["figures"]
    assert {status for status in figures if status.startswith("status")} == {"status 200"}, found
    assert found["ratios"]["memory at the end / when settled"] <= 1.05, found
    assert figures["open files at the end"] <= figures["open files when settled"], found
