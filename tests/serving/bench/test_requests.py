"""Requests that benches send: a plant's ticks, and malformed ones."""

from __future__ import annotations

import orjson

from serving.bench.fuzz import odd_requests
from serving.bench.ticks import _ticks_of


def test_a_plant_that_begins_anew_says_so() -> None:
    bodies = [orjson.dumps({"tick": k, "time_s": 10.0 * k, "readings": {}}) for k in range(3)]
    ask = _ticks_of("host", "/v1/a/b/act", bodies, None, "turn 0")
    asked = [orjson.loads(ask(number).partition(b"\r\n\r\n")[2]) for number in range(5)]
    assert [(tick["episode"], tick["tick"]) for tick in asked] == [
        ("turn 0, run 0", 0),
        ("turn 0, run 0", 1),
        ("turn 0, run 0", 2),
        ("turn 0, run 1", 0),
        ("turn 0, run 1", 1),
    ]
    assert [tick["time_s"] for tick in asked] == [0.0, 10.0, 20.0, 0.0, 10.0]


def test_malice_does_not_run_dry() -> None:
    body = orjson.dumps({"tick": 1, "time_s": 5.0, "readings": {"queue_veh": [1.0, 2.0], "blocked": [[0], [1]]}})
    sent = list(odd_requests("intersections/grid2x2", [body], 10_000, seed=0))
    assert len(sent) == 10_000
    ticks = [content for _, where, content in sent if where == "/v1/intersections/grid2x2/act"]
    assert sum(len(content) for content in ticks) < 100_000_000  # nor does what was sent pile up in what is sent next
