"""The monitor sees every fault that is planted: it is what all other safety tests lean on."""

import pytest

from envs.intersections.guard import ConflictMonitor
from envs.intersections.signals import transition
from tests.safety.cabinet import MAPS, site_of


def watch(site, junction, *shown):
    """What a monitor reports on a sequence of (state, seconds)."""
    monitor, time_s, faults = ConflictMonitor(site, junction), 0, []
    for state, seconds in shown:
        for _ in range(int(seconds)):
            faults += monitor.watch(float(time_s), state)
            time_s += 1
    return faults


def change(site, junction, old=0, new=1):
    """A correct change of stage, as (state, seconds)."""
    between = [(phase.state, phase.duration_s) for phase in transition(site, junction, old, new)]
    return [(junction.stages[old], 10), *between, (junction.stages[new], 10)]


def opposing(junction):
    """Two stages of which the second takes a green away."""
    stages = range(len(junction.stages))
    return next((a, b) for a in stages for b in stages if junction.lost(a, b))


@pytest.fixture(params=MAPS)
def site(request):
    """A site of which few junctions are enough, for the grids' are alike."""
    site = site_of(request.param, "engineer")
    return site if len(site.junctions) < 10 else site.model_copy(update={"junctions": site.junctions[:2]})


def test_correct_changes_are_no_fault(site):
    for junction in site.junctions:
        for old in range(len(junction.stages)):
            for new in range(len(junction.stages)):
                assert watch(site, junction, *change(site, junction, old, new)) == []


def test_conflicting_greens_are_seen(site):
    for junction in site.junctions:
        monitor = ConflictMonitor(site, junction)
        for a, b in junction.foes:
            state = "".join("G" if k in (a, b) else "r" for k in range(len(junction.movements)))
            assert any(f"movements {a} and {b} conflict" in fault for fault in monitor.watch(0.0, state))


def test_a_permissive_green_must_be_the_one_that_yields(site):
    junction = site.junctions[0]
    one_way = [(a, b) for a, b in junction.yields if (b, a) not in junction.yields]
    a, b = next(pair for pair in one_way if tuple(sorted(pair)) in junction.foes)
    right = "".join({a: "g", b: "G"}.get(k, "r") for k in range(len(junction.movements)))
    wrong = "".join({a: "G", b: "g"}.get(k, "r") for k in range(len(junction.movements)))
    assert watch(site, junction, (right, 1)) == []
    assert any("conflict" in fault for fault in watch(site, junction, (wrong, 1)))


def test_a_yellow_that_is_a_second_short_is_seen(site):
    for junction in site.junctions:
        green, (yellow, seconds), *rest = change(site, junction, *opposing(junction))
        lost = junction.lost(*opposing(junction))
        assert seconds == site.yellow_s(junction, *opposing(junction)) >= 3
        faults = watch(site, junction, green, (yellow, seconds - 1), *rest)
        assert any("yellow" in fault for fault in faults)
        assert any(f"movement {k} " in fault for fault in faults for k in lost)


def test_a_missing_yellow_is_seen(site):
    for junction in site.junctions:
        green, _, *rest = change(site, junction, *opposing(junction))
        assert any("yellow of 0 s" in fault for fault in watch(site, junction, green, *rest))


def test_starvation_is_seen(site):
    for junction in site.junctions:
        limit_s = site.max_red_s(junction)
        all_is_well = watch(site, junction, ("r" * len(junction.movements), limit_s + 1))
        assert all_is_well == []
        faults = watch(site, junction, ("r" * len(junction.movements), limit_s + 2))
        assert any("at most" in fault for fault in faults)
