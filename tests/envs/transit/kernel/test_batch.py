"""Batched assignment: the cheapest choice of trips, priced by the kernel, and no promise broken."""

import itertools

import numpy as np
import pytest

from agents import make_controller
from envs.core.env import make_loop
from envs.transit.kernel import batch, events, insertion, motion
from envs.transit.kernel.fleet import NOBODY, REFUSED, WAITING
from tests.envs.transit import brute
from tests.envs.transit.small import crowd, garage, town

WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5])


def scene(seed, asked=3, vehicles=3):
    """A service at work: some promised, and some who have just asked."""
    rng = np.random.default_rng(seed)
    roads = town(rng)
    riders, fleet = (
        crowd(rng, roads, 12, until_s=200.0, booked=0.0, wait_s=900.0),
        garage(rng, roads, vehicles, seats=6),
    )
    log, now = events.new_log(500), 200.0
    for r in range(12 - asked):
        motion.answer(r, now, fleet, riders, roads, WEIGHTS, insertion.EVERYWHERE, log)
    return np.arange(12 - asked, 12), now, fleet, riders, roads


def cheapest(asked, trips):
    """By trying every set of trips."""
    best = batch.LEFT * len(asked)
    for count in range(1, len(asked) + 1):
        for some in itertools.combinations(trips, count):
            riders = [r for _, who, _ in some for r in who]
            if len(set(riders)) == len(riders) and len({v for v, _, _ in some}) == count:
                best = min(best, sum(price for _, _, price in some) + batch.LEFT * (len(asked) - len(riders)))
    return best


def test_the_chosen_trips_are_the_cheapest_of_all():
    pairs = 0
    for seed in range(12):
        asked, *state = scene(seed)
        offered = batch.trips(asked, *state, WEIGHTS, np.ones(len(asked)))
        chosen = batch.choose(asked, offered)
        pairs += sum(len(who) == 2 for _, who, _ in chosen)
        served = sum(len(who) for _, who, _ in chosen)
        cost = sum(price for _, _, price in chosen) + batch.LEFT * (len(asked) - served)
        assert cost == pytest.approx(cheapest(asked, offered), abs=1e-3)
        assert len({v for v, _, _ in chosen}) == len(chosen)
    assert pairs > 0


@pytest.mark.parametrize("seed", range(8))
def test_single_prices_are_those_of_trying_every_place(seed):
    asked, now, fleet, riders, roads = scene(seed)
    found = batch.prices(asked, now, fleet, riders, roads, WEIGHTS, np.ones(len(asked)))
    for k, r in enumerate(asked.tolist()):
        assert found[k].min() == pytest.approx(brute.best(r, now, fleet, riders, roads, WEIGHTS)[0], abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_all_that_fit_and_cost_what_one_after_the_other_does(seed):
    asked, now, fleet, riders, roads = scene(seed)
    wait = np.linspace(0.5, 2.0, len(asked))
    found = {(v, who): price for v, who, price in batch.trips(asked, now, fleet, riders, roads, WEIGHTS, wait)}
    for v, (a, b) in itertools.product(range(len(fleet.at)), itertools.permutations(range(len(asked)), 2)):
        alone, copies = (type(whole)(*(column.copy() for column in whole)) for whole in (fleet, riders))
        price = 0.0
        for k in (a, b):
            weights = WEIGHTS.copy()
            weights[insertion.WAIT] = wait[k]
            usual = now, alone, copies, roads, weights
            price += insertion.best_place(v, int(asked[k]), *usual, insertion.EVERYWHERE)[0]
            batch.give(int(asked[k]), v, *usual)
        expected = pytest.approx(price, abs=1e-9) if np.isfinite(price) else None
        assert found.get((v, (int(asked[a]), int(asked[b])))) == expected


@pytest.mark.parametrize("seed", range(8))
def test_what_was_chosen_is_carried_out_and_keeps_every_promise(seed):
    asked, now, fleet, riders, roads = scene(seed)
    chosen = batch.choose(asked, batch.trips(asked, now, fleet, riders, roads, WEIGHTS, np.ones(len(asked))))
    log = events.new_log(200)
    batch.answer(asked, now, fleet, riders, roads, WEIGHTS, np.ones(len(asked)), log)
    for v, who, _ in chosen:
        assert (riders.vehicle[list(who)] == v).all()
    for r in asked.tolist():
        assert riders.state[r] == (REFUSED if riders.vehicle[r] == NOBODY else WAITING)
    for v in range(len(fleet.at)):
        assert brute.play(v, brute.stops_of(v, fleet), now, fleet, riders, roads) is not None
    kinds = log.kind[: log.used[0]]
    assert (kinds == events.REQUESTED).sum() == len(asked)


def test_a_whole_service_in_batches_breaks_nothing_and_answers_everybody():
    changes = {"district__booked": 0.3, "district__cancelled": 0.2, "district__absent": 0.1}
    loop = make_loop("transit/hcmc", duration_s=1800.0, district__begin_h=7.0, **changes)
    try:
        kpis = loop.episode(make_controller("batch", loop.site), 0).kpis
        log = loop.world.log
    finally:
        loop.close()
    assert kpis["broken"] == kpis["failed"] == 0
    assert kpis["served_pct"] > 80
    assert kpis["withdrawn"] > 5
    assert kpis["absent"] > 5
    asked = set(log.rider[log.kind == events.REQUESTED].tolist())
    answers = (log.kind == events.PROMISED) | (log.kind == events.REFUSED)
    assert set(log.rider[answers].tolist()) == asked
    promised = log.kind == events.PROMISED
    assert np.allclose(log.time_s[promised] % 15.0, 0.0), "promises are made when a batch is complete"
