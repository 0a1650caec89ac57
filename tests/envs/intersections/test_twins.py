"""Signals that stand close ask for stages that fit: nobody is let onto a short lane that does not empty."""

from itertools import pairwise, product

import numpy as np
import pytest

from agents import make_controller
from agents.policy import Policy
from envs.core.env import make_loop
from envs.core.readings import Readings
from envs.core.registry import get_system, load_scenario
from envs.intersections.scenarios import REGIMES
from envs.intersections.site import Approach, Exit, Junction, Movement, Phase, Segment, SignalSite
from envs.intersections.twins import BOTH_JAM, RED, Twins
from tests.serving.bundles import bundle

STAGES = ("ggr", "Grr", "rGr", "rrG")
"""Both ways along the street, giving way; eastward alone; westward alone; the side street."""
BOTH, EAST, WEST, SIDE = range(len(STAGES))
FORBIDDEN = -1e9


def street(*gaps_m: float) -> SignalSite:
    """Signals along a street, so far apart: a lane each way, and a side street at each that turns both ways."""
    count = len(gaps_m) + 1
    eastward, westward = [100.0, *gaps_m], [*gaps_m, 100.0]
    lanes = {f"e{j}": m for j, m in enumerate(eastward)} | {f"w{j}": m for j, m in enumerate(westward)}
    lanes |= {f"s{j}": 100.0 for j in range(count)}
    exits = [f"e{j}" for j in range(count + 1)] + [f"w{j}" for j in range(-1, count)]
    at, onto = list(lanes), {name: k for k, name in enumerate(exits)}
    junctions = []
    for j in range(count):
        east, west = onto[f"e{j + 1}"], onto[f"w{j - 1}"]
        ways = [(f"e{j}", (east,)), (f"w{j}", (west,)), (f"s{j}", (east, west))]
        movements = [
            Movement(approach=at.index(lane), exits=leads, speed_mps=10.0, width_m=10.0) for lane, leads in ways
        ]
        program = tuple(Phase(state=stage, duration_s=30) for stage in STAGES)
        junctions.append(
            Junction(id=f"J{j}", movements=tuple(movements), stages=STAGES, foes=(), yields=(), program=program)
        )
    approaches = [
        Approach(id=name, speed_mps=10.0, length_m=m, segments=(Segment(lane=name, offset_m=0, length_m=m),))
        for name, m in lanes.items()
    ]
    return SignalSite(
        name="street",
        timing=REGIMES["resco"],
        range_m=150,
        junctions=tuple(junctions),
        approaches=tuple(approaches),
        exits=tuple(Exit(id=name, lanes=(name,), capacity_veh=2) for name in exits),
    )


def readings(site: SignalSite, **vehicles: float) -> Readings:
    counts = np.array([vehicles.get(approach.id, 0.0) for approach in site.approaches])
    return {"count_veh": counts, "inside_veh": np.zeros(len(counts))}


def likes(*stages: int, by: float) -> np.ndarray:
    """Logits of signals that each like one stage better than all others."""
    logits = np.zeros((len(stages), len(STAGES)), dtype=np.float32)
    logits[np.arange(len(stages)), stages] = by
    return logits


def worth(site: SignalSite, stages, logits: np.ndarray, seen: Readings, first: int = 0) -> float:
    """What stages of a street's signals from the first of them on are worth, reckoned lane by lane."""
    logp = logits - np.log(np.exp(logits.astype(float)).sum(axis=1, keepdims=True))
    total = sum(float(logp[first + k, stage]) for k, stage in enumerate(stages))
    return total - cost(site, stages, seen, first)


def cost(site: SignalSite, stages, seen: Readings, first: int = 0) -> float:
    taken = dict(zip(site.axes["approach"], seen["count_veh"] + seen["inside_veh"] >= 1, strict=True))
    total = 0.0
    for k, (a, b) in enumerate(pairwise(STAGES[stage] for stage in stages)):
        eastward, westward = (a[0] != "r" or a[2] != "r"), (b[1] != "r" or b[2] != "r")
        stopped_east, stopped_west = eastward and b[0] == "r", westward and a[1] == "r"
        held_east, held_west = b[0] != "G" and taken[f"e{first + k + 1}"], a[1] != "G" and taken[f"w{first + k}"]
        total += RED * (stopped_east + stopped_west)
        total += BOTH_JAM * (eastward and held_west and westward and held_east)
    return total


def test_signals_far_apart_are_no_twins():
    assert Twins.of(street(30.0)) is None
    assert Twins.of(street(20.0)) is not None


def test_a_short_lane_is_opened_at_both_ends_unless_somebody_likes_otherwise_much_better():
    site = street(12.0)
    twins, empty = Twins.of(site), readings(site)
    assert twins.settle(likes(EAST, EAST, by=3.0), empty).tolist() == [EAST, EAST]
    # Each lets vehicles on to the other, which stops them.
    assert twins.settle(likes(EAST, SIDE, by=2 * RED + 1.0), empty).tolist() == [EAST, SIDE]
    settled = twins.settle(likes(EAST, SIDE, by=2 * RED - 1.0), empty)
    assert settled.tolist() != [EAST, SIDE]
    assert cost(site, settled, empty) == 0


def test_who_waits_on_short_lanes_both_ways_is_let_go_unopposed():
    site = street(12.0)
    twins, logits = Twins.of(site), likes(BOTH, BOTH, by=3.0)
    for seen in (readings(site), readings(site, e1=1), readings(site, w0=2)):
        assert twins.settle(logits, seen).tolist() == [BOTH, BOTH]
    seen = readings(site, e1=1, w0=1)
    assert twins.settle(logits, seen).tolist() != [BOTH, BOTH]
    inside = readings(site, e1=1)
    inside["inside_veh"][[approach.id == "w0" for approach in site.approaches]] = 1.0  # it stands in the middle already
    assert twins.settle(logits, inside).tolist() == twins.settle(logits, seen).tolist()


def test_a_pair_gets_the_best_of_all_pairs_of_stages():
    site, rng = street(12.0), np.random.default_rng(1)
    twins, changed = Twins.of(site), 0
    for _ in range(300):
        logits = rng.normal(scale=2.0, size=(2, len(STAGES))).astype(np.float32)
        seen = readings(site, e1=rng.integers(2), w0=rng.integers(2))
        settled = twins.settle(logits, seen)
        changed += (settled != logits.argmax(axis=1)).any()
        best = max(worth(site, stages, logits, seen) for stages in product(range(len(STAGES)), repeat=2))
        assert worth(site, tuple(settled), logits, seen) == pytest.approx(best)
    assert 50 < changed < 250


def test_in_a_chain_no_pair_could_do_better_and_masks_hold():
    site, rng = street(12.0, 15.0, 80.0, 12.0), np.random.default_rng(2)
    twins = Twins.of(site)
    for _ in range(100):
        logits = rng.normal(scale=2.0, size=(5, len(STAGES))).astype(np.float32)
        logits[rng.random(logits.shape) < 0.3] = FORBIDDEN
        logits[:, BOTH] = rng.normal(size=5)
        seen = readings(site, **{name: rng.integers(2) for name in ("e1", "w0", "e2", "w1", "e4", "w3")})
        settled = twins.settle(logits, seen)
        assert (logits[np.arange(5), settled] > FORBIDDEN).all()
        for row in (slice(0, 3), slice(3, 5)):
            mine = worth(site, settled[row], logits, seen, row.start)
            assert mine >= worth(site, logits[row].argmax(axis=1), logits, seen, row.start) - 1e-9
            for pair, *tried in product(range(row.stop - row.start - 1), range(len(STAGES)), range(len(STAGES))):
                others = settled[row].copy()
                others[pair : pair + 2] = tried
                assert mine >= worth(site, others, logits, seen, row.start) - 1e-9


def test_a_silent_detector_counts_as_an_empty_lane():
    site = street(12.0)
    twins, logits = Twins.of(site), likes(BOTH, BOTH, by=3.0)
    assert twins.settle(logits, readings(site, e1=np.nan, w0=1)).tolist() == [BOTH, BOTH]


@pytest.mark.parametrize(("name", "there"), [("town7", True), ("town5", False), ("cologne3", False)])
def test_twins_are_found_on_maps(name, there):
    """In town5 signals as close are one controller's already."""
    system, scenario = get_system("intersections"), load_scenario(f"intersections/{name}")
    assert (system.make_coordination(system.load_site(scenario)) is not None) == there


def test_a_policy_at_a_site_with_twins_asks_for_what_they_settle(tmp_path):
    loop = make_loop("intersections/town7", duration_s=300)
    alone = Policy.load(bundle(tmp_path / "tiny"))
    placed = make_controller(tmp_path / "tiny", loop.site)
    twins, changed = Twins.of(loop.site), 0
    try:
        loop.reset(1)
        for _ in range(20):
            observation = loop.observation
            asked = placed.act(loop.readings, observation)
            assert asked.tolist() == twins.settle(alone.logits(observation), loop.readings).tolist()
            changed += (asked != alone.act(loop.readings, observation)).any()
            loop.step(asked)
        assert changed
    finally:
        loop.close()
