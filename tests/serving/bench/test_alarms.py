"""Counting alarms over whole episodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envs.core.conditions import Condition
from envs.core.registry import get_system
from serving.bench.alarms import bench_alarms


def test_every_alarm_counts_and_so_does_each_time_that_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    dampers, calls = get_system("dampers"), []

    def now_and_then(site: object, readings: object) -> list[Condition]:
        calls.append(site)
        return [Condition("drift:s1", "high", "beyond")] if len(calls) < 10 or 1500 < len(calls) < 1510 else []

    system = replace(dampers, conditions=now_and_then)
    monkeypatch.setattr("serving.alarms.watch.get_system", lambda name: system)
    found = bench_alarms(["dampers/jansen"], seeds=1, hours=0)
    assert found["figures"]["dampers/jansen: high"] == 2
    hours = found["figures"]["dampers/jansen: hours played"]
    assert found["ratios"]["dampers/jansen: alarms in ten minutes / one"] == pytest.approx(2 / (6 * hours))


@pytest.mark.slow
def test_a_healthy_building_is_silent() -> None:
    found = bench_alarms(["dampers/jansen"], seeds=1, hours=0)
    assert found["ratios"] == {"dampers/jansen: alarms in ten minutes / one": 0.0}
