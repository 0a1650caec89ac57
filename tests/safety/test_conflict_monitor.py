"""The monitor sees every fault that is planted: it is what all other safety tests lean on."""

import pytest

from envs.intersections.junction import Movement
from envs.intersections.signals import transition
from tests.envs.intersections import small
from tests.safety.cabinet import MAPS, site_of
from tests.safety.conflict_monitor import ConflictMonitor


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
    """Two stages of which the second takes greens away, of vehicles alone."""
    changes = [(a, b) for a in range(len(junction.stages)) for b in range(len(junction.stages))]
    lost = {change: [junction.movements[k].crossing for k in junction.lost(*change)] for change in changes}
    return next(change for change, walkers in lost.items() if walkers and not any(walkers))


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


def test_a_junction_that_was_not_cleared_is_seen(site):
    """Of every change that needs an all-red: one that is a second short, or not there."""
    for junction in site.junctions:
        changes = [(a, b) for a in range(len(junction.stages)) for b in range(len(junction.stages)) if a != b]
        for old, new in changes:
            crossed = {
                k
                for k in site.starting(junction, old, new)
                if junction.across[k] & set(site.ending(junction, old, new))
            }
            if crossed:
                green, *between, after = change(site, junction, old, new)
                assert any("starts" in fault for fault in watch(site, junction, green, *between[:-1], after))


def test_a_green_arrow_that_becomes_one_that_gives_way_is_seen():
    site = site_of("cologne3", "engineer")
    found = [
        (j, a, b) for j in site.junctions for a in range(len(j.stages)) for b in range(len(j.stages)) if j.demoted(a, b)
    ]
    assert len(found) == 5
    for junction, old, new in found:
        faults = watch(site, junction, (junction.stages[old], 10), (junction.stages[new], 10))
        assert any("starts 0 s after" in fault for fault in faults)
        assert watch(site, junction, *change(site, junction, old, new)) == []


def test_a_walk_that_was_cut_off_is_seen():
    walk = Movement(approach=-1, exits=(), speed_mps=1.2, width_m=16.05, crossing=True)
    place = small.site(
        small.junction(("GrG", "Grr", "rGr"), [small.movement(0), small.movement(1), walk], foes=[(0, 1), (1, 2)])
    )
    junction = place.junctions[0]
    onward = [(phase.state, phase.duration_s) for phase in transition(place, junction, 1, 2)]
    ways = {seconds: watch(place, junction, ("GrG", 10), ("Grr", seconds), *onward, ("rGr", 5)) for seconds in (8, 9)}
    assert ways[9] == []
    assert [fault for fault in ways[8] if "starts 14 s after movement 2, at least 15 s are due" in fault]


def test_starvation_is_seen(site):
    for junction in site.junctions:
        limit_s = site.max_red_s(junction)
        all_is_well = watch(site, junction, ("r" * len(junction.movements), limit_s + 1))
        assert all_is_well == []
        faults = watch(site, junction, ("r" * len(junction.movements), limit_s + 2))
        assert any("at most" in fault for fault in faults)
