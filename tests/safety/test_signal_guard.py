"""Whatever is asked for, the lamps never conflict, cut a yellow short or starve a movement."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.intersections.guard import SignalGuard
from envs.intersections.signals import SignalController
from tests.safety.cabinet import MAPS, Cabinet, site_of

SITES = [(name, regime) for name in MAPS for regime in ("engineer", "resco")]
SECONDS = 420
quick = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


def requests(junctions):
    """Requests of every kind: stages, near misses, other numbers, other shapes, other types."""
    stages = st.lists(st.integers(-2, 9), min_size=junctions, max_size=junctions).map(np.array)
    odd = st.sampled_from([0.0, 1.0, 2.5, -1.0, 1e300, math.nan, math.inf, -math.inf])
    floats = st.lists(odd, min_size=junctions, max_size=junctions).map(np.array)
    shapes = st.sampled_from([np.zeros((junctions, 2)), np.zeros(0), np.array(1), np.array(None), np.array(["2"] * 3)])
    return st.one_of(stages, stages, floats, shapes)


@pytest.mark.parametrize(("name", "regime"), SITES)
def test_no_sequence_of_requests_makes_a_fault(name, regime):
    site = site_of(name, regime)

    @quick
    @given(st.lists(requests(len(site.junctions)), min_size=1, max_size=5))
    def drive(pattern):
        cabinet = Cabinet(site)
        for k in range(SECONDS // site.timing.decision_s):
            assert cabinet.decide(pattern[k % len(pattern)]) == []

    drive()


@pytest.mark.parametrize(("name", "regime"), SITES)
def test_random_requests_make_no_fault(name, regime):
    cabinet, rng = Cabinet(site_of(name, regime)), np.random.default_rng(0)
    for _ in range(900 // cabinet.site.timing.decision_s):
        assert cabinet.decide(rng.integers(0, 9, len(cabinet.site.junctions))) == []


def test_a_site_with_other_timing_has_reds_of_its_own():
    """Also where it is a copy of one that was asked before."""
    site = site_of("grid2x2", "engineer")
    assert site.longest_intergreen_s(site.junctions[0]) < 12
    slow = site.model_copy(update={"timing": site.timing.model_copy(update={"yellow_s": 6, "all_red_s": 6})})
    for junction in site.junctions:
        assert slow.longest_intergreen_s(junction) == 12
        assert slow.max_red_s(junction) >= site.max_red_s(junction)
        assert slow.force_red_s(junction)[-1] < site.force_red_s(junction)[-1]


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("stage", range(4))
def test_one_stubborn_request_starves_nobody(name, stage):
    site = site_of(name, "engineer")
    cabinet = Cabinet(site)
    longest = np.zeros(sum(len(junction.movements) for junction in site.junctions))
    for _ in range(900 // site.timing.decision_s):
        assert cabinet.decide(np.full(len(site.junctions), stage)) == []
        longest = np.maximum(longest, cabinet.controller.status(cabinet.time_s)["red_s"])
    limits = np.concatenate(
        [np.where(np.array(j.home_stages) >= 0, site.max_red_s(j), math.inf) for j in site.junctions]
    )
    assert (longest <= limits).all()
    assert longest[np.isfinite(limits)].max() > 60, "the request was not stubborn enough to need the guard"


def test_the_only_signal_may_hold_a_stage_for_most_of_the_longest_red():
    """Full junctions lose what they could carry if stages end before others need it."""
    site = site_of("junction8", "engineer")
    cabinet, longest = Cabinet(site), 0.0
    for _ in range(900 // site.timing.decision_s):
        assert cabinet.decide(cabinet.controller.status(cabinet.time_s)["stage"].astype(int)) == []
        longest = max(longest, cabinet.controller.status(cabinet.time_s)["red_s"].max())
    most = max(map(site.max_red_s, site.junctions))
    assert most - 3 * site.timing.decision_s < longest <= most
    several = site_of("grid4x4", "engineer")
    for junction in several.junctions:
        assert several.leave_red_s(junction) == several.force_red_s(junction)


@pytest.mark.parametrize("name", [*MAPS, "ingolstadt21"])
def test_spite_starves_nobody(name):
    """Ask, of all that is allowed, for what helps those least who have waited longest, and change often."""
    site = site_of(name, "engineer")
    cabinet = Cabinet(site)
    widest = max(len(junction.stages) for junction in site.junctions)
    for k in range(1200 // site.timing.decision_s):
        status = cabinet.controller.status(cabinet.time_s)
        red_s, mask, wished = iter(status["red_s"].tolist()), cabinet.guard.mask(status), []
        for j, junction in enumerate(site.junctions):
            ages = [next(red_s) for _ in junction.movements]
            relief = [sum(age**2 for age, s in zip(ages, stage, strict=True) if s in "Gg") for stage in junction.stages]
            relief[int(status["stage"][j])] += 1e-3 * (k % 3)
            wished.append(min(np.flatnonzero(mask[j, :widest]).tolist(), key=relief.__getitem__))
        assert cabinet.decide(np.array(wished)) == []


def test_a_guard_leaves_a_choice_where_nobody_is_near_the_limit():
    """Serving all stages of a grid's junction in turn needs no interference."""
    site = site_of("grid4x4", "engineer")
    guard, controller = SignalGuard(site), SignalController(site)
    homes = sorted(set(site.junctions[0].home_stages))
    interfered = 0
    for k in range(120):
        readings = controller.status(5.0 * k)
        free = (readings["clearing_s"] == 0) & (readings["green_s"] >= site.timing.min_green_s)
        interfered += int((free & (guard.mask(readings).sum(axis=1) == 1)).sum())
        turn = homes[(k // 3) % len(homes)]
        commands, _ = guard.check(readings, np.full(len(site.junctions), turn))
        controller.command(5.0 * k, commands)
    assert interfered == 0


@pytest.mark.parametrize(("name", "regime"), SITES)
def test_the_mask_and_the_check_agree(name, regime):
    site = site_of(name, regime)
    guard, controller, rng = SignalGuard(site), SignalController(site), np.random.default_rng(1)
    for k in range(60):
        time_s = float(k * site.timing.decision_s)
        readings = controller.status(time_s)
        mask = guard.mask(readings)
        assert mask.any(axis=1).all()
        wished = rng.integers(0, mask.shape[1], len(mask))
        commands, changes = guard.check(readings, wished)
        rows = np.arange(len(mask))
        assert mask[rows, commands].all(), "a command is always an allowed stage"
        assert (commands == wished)[mask[rows, wished]].all(), "an allowed wish is carried out"
        assert len(changes) == (~mask[rows, wished]).sum()
        controller.command(time_s, commands)


def test_a_guard_is_pure():
    site = site_of("cologne8", "engineer")
    guard, readings = SignalGuard(site), SignalController(site).status(30.0)
    before = {name: values.copy() for name, values in readings.items()}
    first = guard.check(readings, np.ones(8, dtype=np.int64))
    second = guard.check(readings, np.ones(8, dtype=np.int64))
    assert (first[0] == second[0]).all()
    assert first[1] == second[1]
    assert all((readings[name] == before[name]).all() for name in before)


def test_the_cabinet_refuses_a_change_while_it_clears():
    site = site_of("cologne8", "engineer")
    controller = SignalController(site)
    controller.command(10.0, np.ones(8, dtype=np.int64))
    with pytest.raises(ValueError, match="clearing"):
        controller.command(11.0, np.zeros(8, dtype=np.int64))
