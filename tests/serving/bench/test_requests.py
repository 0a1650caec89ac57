"""Requests that benches send: a plant's ticks, and malformed ones."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import orjson
import pytest

from envs import CityloopError
from serving.bench import soak
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


class Clock:
    """Time that passes while one sleeps, and while a request is answered."""

    def __init__(self, answer_s: float) -> None:
        self.now, self.answer_s, self.held = 0.0, answer_s, 0

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds

    def post(self, *_: object, **__: object) -> SimpleNamespace:
        """Answer."""
        self.now += self.answer_s
        return SimpleNamespace(status_code=200)

    def hold(self) -> tuple[int, int]:
        """More and more."""
        self.held += 1
        return 100 * self.held, 10 * self.held


def soaked(monkeypatch: pytest.MonkeyPatch, seconds: float, answer_s: float) -> list[tuple[float, int, int]]:
    clock = Clock(answer_s)
    monkeypatch.setattr(soak, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep))
    monkeypatch.setattr(soak, "httpx", SimpleNamespace(Client=lambda **_: contextlib.nullcontext(clock)))
    monkeypatch.setattr(soak, "_held", clock.hold)
    return soak._drive("http://x", [("a/b", [b"{}"])], seconds)[0]


@pytest.mark.parametrize("seconds", [1.0, 2.0, 4.5, 5.5, 60.0])
def test_a_soak_test_of_any_length_measures_when_settled_and_at_the_end(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, end = soak._settled(soaked(monkeypatch, seconds, 0.01), seconds)
    assert begin[1] < end[1]
    assert begin[0] == pytest.approx(soak.SETTLED * seconds, abs=0.25)
    assert end[0] == pytest.approx(seconds, abs=0.25)


def test_one_measurement_says_nothing_of_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CityloopError, match="in 2 s what is held was measured but once"):
        soak._settled(soaked(monkeypatch, 2.0, 10.0), 2.0)
