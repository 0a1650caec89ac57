"""What becomes an alarm, and when."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from envs.core.conditions import Condition
from envs.core.env import make_loop
from envs.core.readings import Readings
from envs.core.registry import get_system, load_scenario
from serving.alarms.rules import GUARDED_TICKS, RAISE_TICKS, RETURN_S, RETURN_TICKS, SiteRules
from serving.alarms.watch import AlarmWatch
from serving.core.events import Decision, SiteChange, Structure
from tests.serving.operators import Clock

DECISION = Decision(
    system="drainage",
    site="town",
    site_hash="0",
    tick=0,
    time_s=0.0,
    at_s=0.0,
    who="scada",
    body=b"{}",
    readings_hash="",
    source="champion",
    controller="gates",
    bundle=None,
    requests=None,
    commands={},
    interventions=[],
    fallback_reason=None,
    latency_ms=1.0,
    deadline_ms=100.0,
    readings={},
)


LEFT = {"from": "new", "to": "old", "role": "canary"}
"""Detail of the change by which a canary leaves."""


def decide(rules: SiteRules, ticks: int, start_s: float = 0.0, **what: object) -> dict[str, Condition]:
    held: dict[str, Condition] = {}
    for k in range(ticks):
        held = rules.decided(replace(DECISION, **what), start_s + 5.0 * k)  # type: ignore[arg-type]
    return held


def nothing(readings: Readings, time_s: float) -> list[Condition]:
    return []


def test_a_fallback_that_lasts_is_raised_and_one_that_flickers_is_not() -> None:
    rules = SiteRules(nothing)
    assert decide(rules, RAISE_TICKS - 1, fallback_reason="late") == {}
    assert decide(rules, 1, 20.0) == {}
    held = decide(rules, RAISE_TICKS, 30.0, fallback_reason="late")
    assert held["fallback"].text == "the fallback decides: late"
    assert "fallback" in decide(rules, RETURN_TICKS - 1, 60.0)
    assert decide(rules, 1, 60.0 + RETURN_S + 5) == {}


def test_the_plant_is_heard_at_once_where_it_is_urgent() -> None:
    full = Condition("full:T1", "high", "T1 is full")
    filling = Condition("filling:T2", "medium", "T2 fills")
    rules = SiteRules(lambda *_: [full, filling])
    assert set(decide(rules, 1)) == {"full:T1"}
    assert set(decide(rules, RAISE_TICKS, 10.0)) == {"full:T1", "filling:T2"}


def test_a_guard_that_works_half_of_the_time_is_told_of_unless_its_reasons_are_everyday() -> None:
    rules, wrong, everyday = SiteRules(nothing), [{"reason": "invalid"}], [{"reason": "deadband"}]
    assert decide(rules, GUARDED_TICKS, interventions=everyday) == {}
    assert decide(rules, GUARDED_TICKS // 2 - 1, 600.0, interventions=wrong) == {}
    assert set(decide(rules, RAISE_TICKS, 900.0, interventions=wrong)) == {"guard"}


def test_each_sensor_has_an_alarm_of_its_own_whatever_it_shows() -> None:
    rules, keys = SiteRules(nothing), set()
    for k in range(RAISE_TICKS):
        findings = (
            f"depth_m[0] (tank T1) jumped from {k} to 9",
            f"depth_m[1] (tank T2) shows {k}.5, beyond what it ever did",
            f"observations beyond what the policy has seen (1.{k} times the limit): V2",
            "readings contradict each other at tank T1: more water than fits",
            "and 3 more",
        )
        keys = set(decide(rules, 1, 5.0 * k, findings=findings))
    sensors = {"sensor:depth_m[0] (tank T1)", "sensor:depth_m[1] (tank T2)"}
    assert keys == sensors | {"envelope", "contradiction:more water than fits"}


def test_a_rollback_holds_until_the_policy_is_back() -> None:
    rules = SiteRules(nothing)
    held = decide(rules, 1, fallback_reason="late in 5 of 20 ticks", fallback_cause="rolled_back")
    assert {key: (c.priority, c.text) for key, c in held.items()} == {
        "rollback": ("high", "the policy was taken out of charge: late in 5 of 20 ticks")
    }
    assert decide(rules, RETURN_TICKS + 2, 60.0) == {}


def test_a_canary_that_left_is_told_of_at_once_and_returns_by_itself() -> None:
    rules = SiteRules(nothing)
    held = rules.changed(SiteChange("drainage", "town", 0.0, "service", "rollback", "it fails", LEFT))
    assert {key: (c.priority, c.text) for key, c in held.items()} == {
        "canary": ("medium", "canary new left, old decides: it fails")
    }
    assert set(decide(rules, RETURN_TICKS - 1, 5.0)) == {"canary"}
    assert decide(rules, RETURN_TICKS, 15.0) == {}
    assert rules.changed(SiteChange("drainage", "town", 0.0, "ana", "rollback", "worse", {"before": {}})) == {}


def test_silence_is_measured_by_the_sites_own_pace() -> None:
    rules = SiteRules(nothing)
    assert rules.waited(1e6) == {}, "a site that never spoke is not silent"
    decide(rules, 4)
    assert rules.waited(15.0 + 15.0) == {}
    assert set(rules.waited(15.0 + 15.1)) == {"silent"}
    assert decide(rules, 1, 40.0) == {}


def test_what_is_said_of_silence_does_not_run_on() -> None:
    """It is told once, as it begins: a number in it would stand still wherever it was told."""
    rules = SiteRules(nothing)
    decide(rules, 4)
    assert rules.waited(100.0) == rules.waited(1000.0)


def test_a_pause_between_the_first_two_ticks_is_no_pace() -> None:
    rules = SiteRules(nothing, interval_s=10.0)
    decide(rules, 1)
    decide(rules, 1, 600.0)
    assert rules.waited(600.0 + 30.0) == {}
    assert set(rules.waited(600.0 + 30.1)) == {"silent"}, "by the usual pace"
    decide(rules, 1, 602.0)
    assert rules.waited(602.0 + 30.0) == {}, "nor is a tick soon after"
    decide(rules, 1, 604.0)
    assert rules.waited(604.0 + 6.0) == {}
    assert set(rules.waited(604.0 + 6.1)) == {"silent"}, "by its own"


@pytest.fixture
def watch() -> AlarmWatch:
    site = get_system("drainage").load_site(load_scenario("drainage/estuary"))
    return AlarmWatch([site], clock=lambda: 100.0)


def test_a_watch_reads_the_plant_from_what_was_asked(watch: AlarmWatch) -> None:
    try:
        loop = make_loop("drainage/estuary")
        loop.reset(1)
        readings = dict(loop.readings, depth_m=np.array([tank.full_m for tank in loop.site.tanks]))
        loop.close()
        watch.take(replace(DECISION, site="estuary", readings=readings, at_s=99.0))
        watch.take(replace(DECISION, site="elsewhere", at_s=99.0))
        alarms = watch.book.all(100.0)
        assert {alarm.key for alarm in alarms} == {f"full:{tank.id}" for tank in loop.site.tanks}
    finally:
        watch.close()


def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    looks, again = iter((True, False)), Event()

    def look(_: AlarmWatch) -> None:
        if next(looks, False):
            raise RuntimeError("something of whoever is told of alarms")
        again.set()

    monkeypatch.setattr("serving.alarms.watch.LOOK_S", 0.0)
    monkeypatch.setattr(AlarmWatch, "check_silence", look)
    with closing(AlarmWatch([])):
        assert again.wait(5.0)
    assert "silence could not be looked for" in caplog.text


def test_silence_is_looked_for_however_many_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    flooded, looked = Event(), Event()

    def take(watch: AlarmWatch, event: Decision) -> None:
        flooded.set()
        watch.record(event)  # there is always another one

    def look(_: AlarmWatch) -> None:
        if flooded.is_set():
            looked.set()

    monkeypatch.setattr("serving.alarms.watch.LOOK_S", 0.0)
    monkeypatch.setattr(AlarmWatch, "take", take)
    monkeypatch.setattr(AlarmWatch, "check_silence", look)
    with closing(AlarmWatch([])) as watch:
        watch.record(DECISION)
        assert looked.wait(5.0)


def alarms(watch: AlarmWatch) -> list[tuple[int, str, str]]:
    with watch.lock:
        return [(alarm.id, alarm.key, alarm.state) for alarm in watch.book.all(100.0)]


def test_what_held_and_was_seen_before_a_restart_does_not_ring_again(tmp_path: Path) -> None:
    site = get_system("drainage").load_site(load_scenario("drainage/estuary"))
    fallen = replace(DECISION, site="estuary", readings=None, fallback_reason="it fails", fallback_cause="rolled_back")
    for at_s in (100.0, 200.0):
        with closing(AlarmWatch([site], tmp_path / "alarms.json", clock=lambda: 100.0)) as watch:
            watch.check_silence()
            watch.take(replace(fallen, at_s=at_s))
            watch.acknowledge(1, "ana")
            assert alarms(watch) == [(1, "rollback", "acknowledged")]
    steady = Clock()
    with closing(AlarmWatch([site], tmp_path / "alarms.json", clock=lambda: 100.0, steady=steady)) as watch:
        for _ in range(RETURN_TICKS):
            assert alarms(watch) == [(1, "rollback", "acknowledged")]
            watch.take(replace(fallen, fallback_reason=None, fallback_cause=None))
            steady.now_s += 5.0
        assert alarms(watch) == []


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_neither_hides_silence_nor_makes_it(jump_s: float) -> None:
    site, wall, steady = get_system("drainage").load_site(load_scenario("drainage/estuary")), Clock(), Clock()
    quiet = replace(DECISION, site="estuary", readings=None)
    with closing(AlarmWatch([site], clock=wall, steady=steady)) as watch:
        for _ in range(4):
            watch.take(replace(quiet, at_s=wall.now_s))
            wall.now_s, steady.now_s = wall.now_s + 2.0, steady.now_s + 2.0
        wall.now_s += jump_s
        watch.check_silence()
        assert alarms(watch) == []
        steady.now_s += 10.0
        watch.check_silence()
        assert alarms(watch) == [(1, "silent", "raised")]


def test_no_answer_waits_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = get_system("drainage").load_site(load_scenario("drainage/estuary"))
    begun, goes_on = Event(), Event()

    def hanging(path: Path, content: bytes, mode: int) -> None:
        begun.set()
        goes_on.wait()

    monkeypatch.setattr("serving.alarms.book.write_bytes", hanging)
    with closing(AlarmWatch([site], tmp_path / "alarms.json", clock=lambda: 100.0)) as watch:
        watch.record(SiteChange("drainage", "estuary", 99.0, "service", "rollback", "it fails", LEFT))
        try:
            assert begun.wait(60.0)
            assert watch.lock.acquire(blocking=False)
            watch.lock.release()
            assert [alarm.key for alarm in watch.listed(lambda *_: True).alarms] == ["canary"]
        finally:
            goes_on.set()


@pytest.mark.parametrize(("listening", "keys"), [((("dampers", "jansen"),), {"damage"}), ((), set())])
def test_what_a_monitor_heard_stands_over_a_restart_while_it_listens(
    tmp_path: Path, listening: tuple[tuple[str, str], ...], keys: set[str]
) -> None:
    site = get_system("dampers").load_site(load_scenario("dampers/jansen"))
    with closing(AlarmWatch([site], tmp_path / "alarms.json", clock=lambda: 100.0)) as watch:
        watch.take(heard("alarm", "none", 1))
    with closing(AlarmWatch([site], tmp_path / "alarms.json", clock=lambda: 100.0, listening=listening)) as watch:
        watch.check_silence()
        assert {key for _, key, state in alarms(watch) if state == "raised"} == keys


def test_what_is_told_once_waits_however_many_ticks_do(watch: AlarmWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.alarms.watch.QUEUE", 0)
    watch.record(replace(DECISION, site="estuary", fallback_reason="it fails", fallback_cause="rolled_back"))
    watch.record(SiteChange("drainage", "estuary", 99.0, "service", "rollback", "it fails", LEFT))
    watch.close()
    assert [alarm.key for alarm in watch.book.all(100.0)] == ["canary"]


@pytest.mark.parametrize("ref", ["intersections/cologne1", "drainage/estuary", "dampers/jansen", "transit/hcmc"])
def test_every_system_can_tell_from_readings_with_silent_sensors(ref: str) -> None:
    loop = make_loop(ref)
    try:
        loop.reset(1)
        silent = {
            c.name: np.full_like(loop.readings[c.name], np.nan) if c.nullable else loop.readings[c.name]
            for c in loop.system.readings.columns
        }
        assert loop.system.conditions(loop.site, silent) == []
    finally:
        loop.close()


def heard(alarm: str, deaf: str, location: int | None) -> Structure:
    storeys = [{"share": 0.9}, {"share": 1.0}]
    report = {"alarm": alarm, "deaf": deaf, "location": location, "storeys": storeys}
    return Structure("dampers", "jansen", 0.0, report)


def test_what_a_monitor_hears_rings_as_long_as_it_says_so_and_no_tick_ends_it() -> None:
    rules = SiteRules(lambda *_: [])
    assert rules.listened(heard("watch", "none", 1)) == {}
    (damage,) = rules.listened(heard("alarm", "none", 1)).values()
    assert (damage.key, damage.priority, damage.place) == ("damage", "high", "s1")
    assert damage.text == "storey 1 seems to have lost 10 % of its stiffness: have it inspected"
    assert set(rules.waited(1e9)) == {"damage"}
    (stands,) = rules.listened(heard("alarm", "watch", None)).values()
    assert "alarm of earlier windows stands" in stands.text
    assert {c.key: c.priority for c in rules.listened(heard("none", "alarm", None)).values()} == {"deaf": "medium"}
    assert rules.listened(heard("none", "none", None)) == {}
