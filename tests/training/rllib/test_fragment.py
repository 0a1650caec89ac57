"""Advantages on arrays equal a plain loop over each agent's episodes, for every kind of episode end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.core.layout import Layout
from training.rllib.fragment import Fragment, advantages


def fragment(steps, plants, agents, seed, ends=0.3, terminates=0.5, locks=0.0):
    rng = np.random.default_rng(seed)
    done = rng.random((steps, plants)) < ends
    ended, terminated = int(done.sum()), done & (rng.random(done.shape) < terminates)
    return Fragment(
        scenario=0,
        layout=Layout({"features": (2,)}),
        observation=rng.random((steps + 1, plants, agents, 2)).astype(np.float32),
        state=rng.random((steps + 1, plants, 1, 1)).astype(np.float32),
        actions=np.zeros((steps, plants, agents, 1), np.float32),
        logp=np.zeros((steps, plants, agents), np.float32),
        reward=rng.standard_normal((steps, plants, agents)).astype(np.float32),
        done=done,
        terminated=terminated,
        locked=done & ~terminated & (rng.random(done.shape) < locks),
        last_observation=rng.random((ended, agents, 2)).astype(np.float32),
        last_state=rng.random((ended, 1, 1)).astype(np.float32),
    )


def one_by_one(f, values, last_values, gamma, lambda_):
    """Generalised advantages as the sum that defines them, agent by agent and step by step."""
    steps, plants, agents = f.logp.shape
    order = {tuple(place): k for k, place in enumerate(np.argwhere(f.done).tolist())}
    found = np.zeros((steps, plants, agents))
    for t, e, i in np.ndindex(steps, plants, agents):
        weight = 1.0
        for s in range(t, steps):
            if f.terminated[s, e]:
                following = 0.0
            elif f.locked[s, e]:
                following = f.reward[s, e, i] / (1.0 - gamma)
            elif f.done[s, e]:
                following = last_values[order[s, e], i]
            else:
                following = values[s + 1, e, i]
            found[t, e, i] += weight * (f.reward[s, e, i] + gamma * following - values[s, e, i])
            if f.done[s, e]:
                break
            weight *= gamma * lambda_
    return found


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3)),
    seed=st.integers(0, 2**32 - 1),
    ends=st.sampled_from([0.0, 0.2, 1.0]),
    terminates=st.sampled_from([0.0, 0.5, 1.0]),
    locks=st.sampled_from([0.0, 0.5]),
    gamma=st.floats(0.0, 0.99),
    lambda_=st.floats(0.0, 1.0),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_equal_to_the_sum_that_defines_them(size, seed, ends, terminates, locks, gamma, lambda_):
    f = fragment(*size, seed, ends, terminates, locks)
    rng = np.random.default_rng([seed, 1])
    values = rng.standard_normal((size[0] + 1, *size[1:])).astype(np.float32)
    last_values = rng.standard_normal((int(f.done.sum()), size[2])).astype(np.float32)
    found, targets = advantages(f, values, last_values, gamma, lambda_)
    expected = one_by_one(f, values, last_values, gamma, lambda_)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(targets, expected + values[:-1], rtol=1e-4, atol=1e-5)
    assert found.dtype == targets.dtype == np.float32


@pytest.mark.parametrize("terminated", [False, True])
def test_by_hand(terminated):
    """An end after the first of two steps: 1 + 0.5 · 8 - 2 = 3, or 1 - 2 if nothing follows; then 2 + 0.5 · 6 - 4."""
    f = fragment(2, 1, 1, 0, ends=0.0)
    f.reward[:, 0, 0] = 1.0, 2.0
    f.done[0, 0], f.terminated[0, 0] = True, terminated
    values = np.array([2.0, 4.0, 6.0], np.float32).reshape(3, 1, 1)
    found, targets = advantages(f, values, np.full((1, 1), 8.0, np.float32), 0.5, 1.0)
    assert found.ravel().tolist() == [-1.0 if terminated else 3.0, 1.0]
    assert targets.ravel().tolist() == [1.0 if terminated else 5.0, 5.0]


def test_a_plant_that_nothing_moves_any_more_goes_on_to_cost_what_it_costs():
    """A reward of -2 for ever, at a discount of a half, is -4, whatever the critic hopes for."""
    f = fragment(1, 1, 1, 0, ends=0.0)
    f.reward[:] = -2.0
    f.done[0, 0] = f.locked[0, 0] = True
    _, targets = advantages(f, np.zeros((2, 1, 1), np.float32), np.full((1, 1), 8.0, np.float32), 0.5, 1.0)
    assert targets.item() == -4.0


def test_values_given_are_left_alone():
    f = fragment(3, 2, 2, 0, ends=1.0)
    values = np.ones((4, 2, 2), np.float32)
    advantages(f, values, np.zeros((6, 2), np.float32), 0.9, 0.9)
    assert (values == 1.0).all()


def test_its_length_is_its_environment_steps():
    f = fragment(3, 2, 5, 0)
    assert len(f) == 6
    assert f.decisions == 30
