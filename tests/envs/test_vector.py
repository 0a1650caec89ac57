"""Many plants at once: the same as one after the other, whatever the processes do, and nothing left behind."""

import multiprocessing as mp
from pathlib import Path

import numpy as np
import pytest

from envs import CityloopError, load_scenario, vector_env
from envs.core.env import make_loop

SHORT = {"duration_s": 60}
GRID = "intersections/grid2x2"


def shared_memory():
    return set(Path("/dev/shm").glob("psm_*"))


def play(seed, decisions=30):
    """Requests that depend on what was seen, so that a difference anywhere spreads."""
    out = []
    with vector_env(GRID, num_envs=2, seed=seed, **SHORT) as plants:
        batch = plants.reset()
        for _ in range(decisions):
            requests = (np.abs(batch.observation).sum(axis=2) * 10).astype(int) % 2
            batch = plants.step(requests)
            out.append(batch)
    return out


@pytest.fixture(scope="module")
def batches():
    return play(5)


def test_equals_plants_one_after_the_other(batches):
    for k in range(2):
        loop = make_loop(GRID, **SHORT)
        loop.reset(5 + k)
        for t in range(11):
            flat = loop.layout.flatten(loop.observation)
            step = loop.step((np.abs(flat).sum(axis=1) * 10).astype(int) % 2)
            np.testing.assert_array_equal(batches[t].reward[k], step.reward)
            np.testing.assert_array_equal(batches[t].observation[k], loop.layout.flatten(loop.observation))
            np.testing.assert_array_equal(batches[t].state[k], loop.features.state(loop.readings))
        loop.close()


def test_same_seed_same_everything(batches):
    for a, b in zip(batches, play(5), strict=True):
        np.testing.assert_array_equal(a.observation, b.observation)
        np.testing.assert_array_equal(a.reward, b.reward)


def test_next_episode_follows_and_the_last_observation_is_kept(batches):
    ends = [t for t, batch in enumerate(batches) if batch.done.all()]
    assert ends == [11, 23]
    end = batches[11]
    assert set(end.kpis[0]) == set(load_scenario(GRID) and make_loop(GRID).system.kpis)
    assert not np.array_equal(end.last_observation, end.observation)
    assert batches[10].kpis == [{}, {}]


def test_nothing_is_left_behind():
    before = shared_memory()
    plants = vector_env(GRID, num_envs=2, **SHORT)
    plants.reset()
    assert len(mp.active_children()) >= 2
    plants.close()
    plants.close()
    assert not mp.active_children()
    assert shared_memory() <= before


def test_a_dead_plant_is_told():
    with vector_env(GRID, num_envs=2, **SHORT) as plants:
        plants.reset()
        plants._workers[1].kill()
        plants._workers[1].join()
        with pytest.raises(CityloopError, match="plant 1 died"):
            plants.step(np.zeros((2, 4), dtype=int))


def test_a_user_error_in_a_plant_is_a_sentence(tmp_path):
    broken = tmp_path / "broken.rou.xml"
    broken.write_text("<routes><vehicle")
    with vector_env(load_scenario(GRID), num_envs=1, **SHORT) as plants:
        plants.reset()
    with pytest.raises(CityloopError, match=r"broken\.rou\.xml"):
        vector_env(load_scenario(GRID, routes=[str(broken)]), num_envs=1)
