"""Sensors that fall silent: who is told of, after how long, and who never is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from envs.core.conditions import Condition
from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.readings import Readings
from serving.alarms.rules import SiteRules
from serving.alarms.sensors import MUTE_S, SilentSensors
from serving.alarms.watch import plant_of
from tests.serving.alarms.test_rules import decide


@pytest.fixture
def loop() -> Iterator[ControlLoop]:
    loop = make_loop("intersections/cologne1")
    loop.reset(1)
    yield loop
    loop.close()


def without(readings: Readings, place: int, *columns: str) -> Readings:
    """The same, but for a place that tells none of these columns."""
    return {
        name: np.where(np.arange(len(column)) == place, np.nan, column) if name in columns else column
        for name, column in readings.items()
    }


def told(sensors: SilentSensors, readings: Readings, time_s: float) -> dict[str, Condition]:
    return {condition.key: condition for condition in sensors.conditions(readings, time_s)}


def test_a_detector_that_falls_silent_is_told_of_once_for_all_its_columns_until_it_is_heard(loop: ControlLoop) -> None:
    sensors, place = SilentSensors(loop.site), loop.site.axes["approach"][2]
    dead = without(loop.readings, 2, "count_veh", "queue_veh")
    assert told(sensors, loop.readings, 0.0) == {}
    assert told(sensors, dead, MUTE_S - 1) == {}
    (condition,) = told(sensors, dead, MUTE_S).values()
    assert condition.text == f"approach {place} has been silent for a minute or more: count_veh, queue_veh"
    assert (condition.priority, condition.place) == ("low", place)
    assert told(sensors, loop.readings, MUTE_S + 5) == {}
    assert told(sensors, dead, 2 * MUTE_S) == {}


def test_what_never_told_anything_may_not_exist_and_nobody_drives_on_an_empty_street(loop: ControlLoop) -> None:
    sensors = SilentSensors(loop.site)
    absent = without(loop.readings, 1, "inside_veh")
    assert told(sensors, absent, 0.0) == {}
    assert told(sensors, without(absent, 1, "inside_veh", "speed_mps"), 10 * MUTE_S) == {}


def test_an_episode_that_begins_has_its_own_minute(loop: ControlLoop) -> None:
    sensors, dead = SilentSensors(loop.site), without(loop.readings, 0, "count_veh")
    assert told(sensors, loop.readings, 5000.0) == {}
    assert told(sensors, dead, 0.0) == {}
    assert told(sensors, dead, MUTE_S - 1) == {}
    assert set(told(sensors, dead, MUTE_S)) == {f"mute:approach {loop.site.axes['approach'][0]}"}


def test_it_stands_over_a_restart_for_those_columns_alone(loop: ControlLoop) -> None:
    before, dead = SilentSensors(loop.site), without(loop.readings, 0, "count_veh", "inside_veh")
    told(before, without(loop.readings, 0, "inside_veh"), 0.0)
    standing = told(before, dead, MUTE_S)
    after = SilentSensors(loop.site, standing)
    assert told(after, dead, MUTE_S + 5) == standing
    assert told(after, without(loop.readings, 0, "inside_veh"), MUTE_S + 10) == {}
    assert told(after, without(loop.readings, 0, "inside_veh"), 9 * MUTE_S) == {}


def test_a_silent_damper_that_rings_already_rings_once() -> None:
    loop = make_loop("dampers/jansen")
    try:
        loop.reset(1)
        sensors = SilentSensors(loop.site)
        told(sensors, loop.readings, 0.0)
        (condition,) = told(sensors, without(loop.readings, 0, "stroke_mm", "force_n"), MUTE_S).values()
    finally:
        loop.close()
    assert condition.beneath == f"silent:{loop.site.agents[0]}"


def test_a_gauge_that_falls_silent_rings() -> None:
    loop = make_loop("drainage/estuary")
    try:
        loop.reset(1)
        rules, dead = SiteRules(plant_of(loop.site)), without(loop.readings, 0, "depth_m")
        assert decide(rules, 1, readings=loop.readings, time_s=0.0, site="estuary") == {}
        assert decide(rules, 2, 300.0, readings=dead, time_s=300.0, site="estuary") == {}
        held = decide(rules, 1, 900.0, readings=dead, time_s=900.0, site="estuary")
    finally:
        loop.close()
    assert set(held) == {f"mute:tank {loop.site.tanks[0].id}"}  # type: ignore[attr-defined]
