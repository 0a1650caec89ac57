"""The bench's plants: what they ask is what a plant would."""

from __future__ import annotations

import orjson

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
