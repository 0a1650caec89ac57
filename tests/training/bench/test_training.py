"""The bench's free task keeps its promises, and its contestants learn it; how fast they are, no test says."""

import os
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.core.testing.errors import ContractError
from envs.core.testing.vectors import check_vector
from training.bench import simulator
from training.bench import training as bench
from training.bench.contestants import CONTESTANTS, Sizes
from training.bench.matching import LENGTH, MatchingVector
from training.bench.simulator import efficiency
from training.bench.training import bench_training
from training.session import ray_session

SMALL = Sizes(envs=4, steps=32, agents=4, width=32, minibatch=128)


def play(plants, steps, batch):
    out = []
    for t in range(steps):
        batch = plants.step((np.arange(plants.num_envs * plants.agents).reshape(plants.num_envs, -1) + t) % 8)
        out.append(batch)
    return out


def test_the_right_action_is_allowed_and_shows():
    plants = MatchingVector(6, 1)
    batch = plants.reset()
    parts = plants.layout.unflatten(batch.observation)
    best = parts["features"][..., :8].argmax(axis=-1)
    assert np.take_along_axis(parts["action_mask"], best[..., None], axis=-1).all()
    assert 0.5 < parts["action_mask"].mean() < 0.95
    after = plants.step(best)
    np.testing.assert_allclose(after.reward, 1.0)


def test_episodes_end_in_turn_and_report():
    plants = MatchingVector(5, 1)
    batches = play(plants, 2 * LENGTH, plants.reset())
    ends = np.array([batch.done for batch in batches])
    assert (ends.sum(axis=0) == 2).all()
    assert ends.any(axis=1).sum() == 10, "no two end at once"
    for batch in batches:
        assert all(("matched" in kpis) == done for kpis, done in zip(batch.kpis, batch.done, strict=True))


def test_plants_keep_what_they_promise():
    assert check_vector(lambda seed: MatchingVector(3, seed), steps=2 * LENGTH) == 6


class Forgetful(MatchingVector):
    """Goes on from a state as if a step more had been played."""

    def set_state(self, state):
        return super().set_state((state[0], state[1] + 1, *state[2:]))


class Drifting(MatchingVector):
    """Begins otherwise every time."""

    def reset(self, seed=None):
        self._seed += 1
        return super().reset(seed)


class Wide(MatchingVector):
    """Rewards in another shape."""

    def receive(self):
        batch = super().receive()
        batch.reward = batch.reward.mean(axis=1)
        return batch


class Silent(MatchingVector):
    """Has no indicators."""

    def receive(self):
        batch = super().receive()
        batch.kpis = [{} for _ in batch.kpis]
        return batch


class Willing(MatchingVector):
    """Takes whatever it is asked for."""

    def send(self, requests):
        self._requests = requests


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Forgetful, "go on from a state otherwise"),
        (Drifting, "do not repeat themselves"),
        (Wide, r"reward has shape \(3,\)"),
        (Silent, "indicators come otherwise"),
        (Willing, "taken before the first episode"),
    ],
)
def test_plants_that_break_a_promise_are_found(broken, words):
    with pytest.raises(ContractError, match=words):
        check_vector(lambda seed: broken(3, seed), steps=2 * LENGTH)


@pytest.mark.parametrize("name", ["plain torch", "stable-baselines3"])
def test_contestants_learn(name):
    contestant = CONTESTANTS[name](SMALL)
    first = contestant.iterate()
    for _ in range(25):
        last = contestant.iterate()
    contestant.close()
    assert last > first + 0.1  # the share of agents that are right; by chance one in six is


@pytest.mark.slow
def test_ours_learns():
    with ray_session(cpus=1):
        ours = CONTESTANTS["ours"](SMALL)
        returns = [ours.iterate() for _ in range(26)]
        ours.close()
    assert returns[-1] > returns[2] + 0.1 * LENGTH


def test_memory_is_measured_while_the_trainer_is_at_work(monkeypatch):
    done = []
    ours = SimpleNamespace(iterate=lambda: done.append("iterate"), close=lambda: done.append("close"))
    monkeypatch.setattr(bench, "ray_session", lambda cpus: nullcontext())
    monkeypatch.setitem(CONTESTANTS, "ours", lambda sizes: ours)
    monkeypatch.setattr(bench, "_resident_bytes", lambda: done.append("measure") or len(done))
    assert bench.memory(20) == 22 / 3
    assert done == ["iterate"] * 2 + ["measure"] + ["iterate"] * 18 + ["measure", "close"]


@pytest.mark.slow
def test_the_whole_bench():
    found = bench_training(SMALL, rounds=1, simulators=["intersections/grid2x2"], iterations=20)
    assert len(found["ratios"]) == 3 + 2 + 1
    assert all(ratio > 0 for ratio in found["ratios"].values())


@pytest.mark.slow
def test_simulators_carry_the_same_hour():
    training, bare = efficiency("intersections/grid2x2", processes=1, iterations=1)
    assert 0 < training < 2 * bare


def _die(scenario):
    os._exit(1)


@pytest.mark.slow
def test_a_bare_loop_that_dies_is_told_of(monkeypatch):
    monkeypatch.setattr(simulator, "_bare", _die)
    with pytest.raises(CityloopError, match="a bare loop of intersections/grid2x2 died"):
        simulator.bare_rate(load_scenario("intersections/grid2x2"), 2)
