"""Signals that stand close ask for stages that fit: nobody is let onto a short lane that does not empty."""

from itertools import product

import numpy as np
import pytest

from agents import make_controller
from agents.policy import Policy
from envs.core.env import make_loop
from envs.core.readings import Readings
from envs.core.registry import get_system, load_scenario
from envs.intersections.close_signals import BOTH_BLOCK_NATS, RED_NATS, SHORT_M, CloseSignals
from envs.intersections.junction import Approach, Exit, Junction, Movement, Phase, Segment
from envs.intersections.site import SignalSite
from envs.intersections.timing import REGIMES
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


def worth(site: SignalSite, stages, logits: np.ndarray, seen: Readings) -> float:
    """What stages of all signals are worth, reckoned lane by lane."""
    logp = logits - np.log(np.exp(logits.astype(float)).sum(axis=1, keepdims=True))
    return float(logp[np.arange(len(stages)), stages].sum()) - cost(site, stages, seen)


def cost(site: SignalSite, stages, seen: Readings) -> float:
    shown = [junction.stages[stage] for junction, stage in zip(site.junctions, stages, strict=True)]
    total, fed, waits = 0.0, set(), []
    for behind, junction in enumerate(site.junctions):
        green = [movement for movement, signal in zip(junction.movements, shown[behind], strict=True) if signal != "r"]
        onto = {site.exits[index].id for movement in green for index in movement.exits}
        leads = {site.exits[index].id for movement in junction.movements for index in movement.exits}
        for ahead, other in enumerate(site.junctions):
            for a in other.approaches:
                lane = site.approaches[a]
                if ahead == behind or lane.id not in leads or lane.segments[0].length_m >= SHORT_M:
                    continue
                signals = [shown[ahead][k] for k, m in enumerate(other.movements) if m.approach == a]
                if lane.id in onto:
                    total += RED_NATS * ("r" in signals)
                    fed |= {(behind, ahead), (behind, ahead, a)}
                if seen["count_veh"][a] + seen["inside_veh"][a] >= 1 and set(signals) != {"G"}:
                    waits.append((behind, ahead, a) if lane.segments[0].length_m >= 15.0 else (behind, ahead))
    blocked = {way[:2] for way in waits if way in fed}
    return total + BOTH_BLOCK_NATS * sum((b, a) in blocked for a, b in blocked if a < b)


def test_signals_far_apart_are_not_close():
    assert CloseSignals.of(street(30.0)) is None
    assert CloseSignals.of(street(20.0)) is not None


def test_a_short_lane_is_opened_at_both_ends_unless_somebody_likes_otherwise_much_better():
    site = street(12.0)
    signals, empty = CloseSignals.of(site), readings(site)
    assert signals.settle(likes(EAST, EAST, by=3.0), empty).tolist() == [EAST, EAST]
    # Each lets vehicles on to the other, which stops them.
    assert signals.settle(likes(EAST, SIDE, by=2 * RED_NATS + 1.0), empty).tolist() == [EAST, SIDE]
    settled = signals.settle(likes(EAST, SIDE, by=2 * RED_NATS - 1.0), empty)
    assert settled.tolist() != [EAST, SIDE]
    assert cost(site, settled, empty) == 0


def test_who_waits_on_short_lanes_both_ways_is_let_go_unopposed():
    site = street(12.0)
    signals, logits = CloseSignals.of(site), likes(BOTH, BOTH, by=3.0)
    for seen in (readings(site), readings(site, e1=1), readings(site, w0=2)):
        assert signals.settle(logits, seen).tolist() == [BOTH, BOTH]
    seen = readings(site, e1=1, w0=1)
    assert signals.settle(logits, seen).tolist() != [BOTH, BOTH]
    inside = readings(site, e1=1)
    inside["inside_veh"][[approach.id == "w0" for approach in site.approaches]] = 1.0  # it stands in the middle already
    assert signals.settle(logits, inside).tolist() == signals.settle(logits, seen).tolist()


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("street", [("J0", "J1")]),
        ("town3", [("0.1", "0.2")]),
        ("ingolstadt21", [("243641585", "gneJ257"), ("30503246", "30624898")]),
    ],
)
def test_a_pair_gets_the_best_of_all_pairs_of_stages(name, pairs):
    """On the maps several lanes lead each way; at ingolstadt21's first pair they have no room for two vehicles."""
    system = get_system("intersections")
    site = street(12.0) if name == "street" else system.load_site(load_scenario(f"intersections/{name}"))
    signals, rng, changed = CloseSignals.of(site), np.random.default_rng(1), 0
    size = max(len(junction.stages) for junction in site.junctions)
    exists = np.array([[s < len(junction.stages) for s in range(size)] for junction in site.junctions])
    close = [[site.agents.index(agent) for agent in pair] for pair in pairs]
    for _ in range(50):
        logits = np.where(exists, rng.normal(scale=2.0, size=exists.shape), FORBIDDEN).astype(np.float32)
        seen = readings(site, **{approach.id: rng.integers(2) for approach in site.approaches})
        settled = signals.settle(logits, seen)
        moved = np.flatnonzero(settled != logits.argmax(axis=1))
        changed += len(moved) > 0
        assert set(moved) <= set(np.ravel(close))
        for pair in close:
            tried = []
            for stages in product(*(range(len(site.junctions[j].stages)) for j in pair)):
                others = settled.copy()
                others[pair] = stages
                tried.append(worth(site, others, logits, seen))
            assert worth(site, settled, logits, seen) == pytest.approx(max(tried))
    assert 5 < changed < 45


def test_in_a_chain_no_pair_could_do_better_and_masks_hold():
    site, rng = street(12.0, 15.0, 80.0, 12.0), np.random.default_rng(2)
    signals = CloseSignals.of(site)
    for _ in range(100):
        logits = rng.normal(scale=2.0, size=(5, len(STAGES))).astype(np.float32)
        logits[rng.random(logits.shape) < 0.3] = FORBIDDEN
        logits[:, BOTH] = rng.normal(size=5)
        seen = readings(site, **{name: rng.integers(2) for name in ("e1", "w0", "e2", "w1", "e4", "w3")})
        settled = signals.settle(logits, seen)
        assert (logits[np.arange(5), settled] > FORBIDDEN).all()
        mine = worth(site, settled, logits, seen)
        assert mine >= worth(site, logits.argmax(axis=1), logits, seen) - 1e-9
        for one, *tried in product((0, 1, 3), range(len(STAGES)), range(len(STAGES))):
            others = settled.copy()
            others[one : one + 2] = tried
            assert mine >= worth(site, others, logits, seen) - 1e-9


def test_a_silent_detector_counts_as_an_empty_lane():
    site = street(12.0)
    signals, logits = CloseSignals.of(site), likes(BOTH, BOTH, by=3.0)
    assert signals.settle(logits, readings(site, e1=np.nan, w0=1)).tolist() == [BOTH, BOTH]


@pytest.mark.parametrize(("name", "there"), [("town7", True), ("town5", False), ("cologne3", False)])
def test_close_signals_are_found_on_maps(name, there):
    """In town5 signals as close are one controller's already."""
    system, scenario = get_system("intersections"), load_scenario(f"intersections/{name}")
    assert (system.make_coordination(system.load_site(scenario)) is not None) == there


def test_a_policy_at_a_site_with_close_signals_asks_for_what_they_settle(tmp_path):
    loop = make_loop("intersections/town7", duration_s=300)
    alone = Policy.load(bundle(tmp_path / "tiny"))
    placed = make_controller(tmp_path / "tiny", loop.site)
    signals, changed = CloseSignals.of(loop.site), 0
    try:
        loop.reset(1)
        for _ in range(20):
            observation = loop.observation
            asked = placed.act(loop.readings, observation)
            assert asked.tolist() == signals.settle(alone.logits(observation), loop.readings).tolist()
            changed += (asked != alone.act(loop.readings, observation)).any()
            loop.step(asked)
        assert changed
    finally:
        loop.close()
