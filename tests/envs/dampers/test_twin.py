"""The twin that is learned through is the world: the same motion, and gradients that finite differences confirm."""

import numpy as np
import pytest
import torch

from agents.baselines.dampers import PassiveOn
from envs import load_scenario
from envs.dampers.assembly import is_stable
from envs.dampers.block import Block
from envs.dampers.mechanics.structure import Structure
from envs.dampers.scenarios import Conditions
from envs.dampers.twin import Twin
from tests.envs.dampers.shaken import building, noise
from training.tuning.dampers import Tuner

GOOD = {"delay_ms": 0, "dropout": 0, "noise": 1, "dead": 0, "stiffness": 0}


@pytest.mark.parametrize("changes", [{}, {"yield_mm": 1.0}], ids=["elastic", "yielding"])
def test_torch_and_numpy_step_alike(changes):
    plant = Structure(building(**changes), 0.001)
    ground, rng = noise(0.5, 0.001, peak=3.0), np.random.default_rng(0)
    volts = rng.uniform(0, 5, (len(ground), 2, 3))
    one, other = plant.rest(3), plant.rest(3, torch)
    other = torch.utils._pytree.tree_map(lambda part: part.double(), other)
    matrix = torch.from_numpy(plant.matrix)
    for now, v in zip(ground, volts, strict=True):
        row = np.full((1, 3), now)
        one, seen = plant.step(one, v, row, plant.matrix)
        other, same = plant.step(other, torch.from_numpy(v), torch.from_numpy(row), matrix, torch)
        np.testing.assert_allclose(seen, same.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["stochastic", "wind"])
def test_the_twin_sees_what_the_world_sees(monkeypatch, kind):
    """Same seeds, the world's own substep, no noise: observations and peaks agree to single precision."""
    monkeypatch.setattr("envs.dampers.twin.SUBSTEP_S", 0.001)
    scenario = load_scenario(
        "dampers/jansen", duration_s=2.0, variety={**GOOD}, bits=32, motion__kind=kind, motion__wind={"width_m": 0.1}
    )
    scenario = scenario.override({"building.sensors": {"accel_m_s2": 1e-9, "stroke_mm": 1e-9, "force_n": 1e-9}})
    twin = Twin(scenario, 1, 0)
    seed = int(np.random.default_rng([0, 19]).integers(scenario.seeds.train.first, scenario.seeds.train.last + 1))
    block = Block(scenario, twin.site)
    block.begin([seed])
    features, worst = twin._features, 0.0
    levels = np.random.default_rng(1).uniform(0, 1, (150, 1, 2))
    k = 0

    def policy(parts):
        nonlocal k, worst
        for name, part in features.columns(block.readings).items():
            worst = max(worst, float(abs(part - parts[name].numpy()).max()))
        block.step(levels[k])
        k += 1
        return torch.from_numpy(levels[k - 1].astype(np.float32))

    twin.window(policy, 150)
    assert worst < 0.05
    np.testing.assert_allclose(twin._state.x[0].numpy(), block._state.x, rtol=0.02, atol=1e-5)


def test_compiled_steps_are_those_of_tensors():
    """The same motions, circumstances and voltages: the same cost, and the same slope of it."""
    found = []
    for compiled in (True, False):
        twin = Twin(load_scenario("dampers/jansen", duration_s=2.0), 8, 0)
        assert twin._constants is not None
        twin._constants = twin._constants if compiled else None
        asked = torch.linspace(0.2, 0.8, 25, requires_grad=True)
        levels = iter(asked)
        window = twin.window(lambda parts: next(levels) + 0.1 * parts["damper"][..., 0], 25)  # noqa: B023
        window.cost.backward()
        found.append((float(window.cost.detach()), asked.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    scenario = load_scenario("dampers/jansen", duration_s=2.0)
    start = 0.3

    def cost(level):
        twin = Twin(scenario, 2, 3)
        asked = torch.tensor(level, dtype=torch.float64, requires_grad=True)
        window = twin.window(lambda parts: asked.float().expand(parts["damper"].shape[:2]), 20)
        return window, asked

    window, asked = cost(start)
    window.cost.backward()
    ends = [float(cost(start + step)[0].cost.detach()) for step in (-0.003, 0.003)]
    assert float(asked.grad) == pytest.approx((ends[1] - ends[0]) / 0.006, rel=0.02)


def test_windows_go_on_and_episodes_begin_anew():
    twin = Twin(load_scenario("dampers/jansen", duration_s=1.0), 8, 0)
    level = torch.tensor(0.3, requires_grad=True)
    idle = lambda parts: level.expand(parts["damper"].shape[:2])  # noqa: E731
    reached = [twin.window(idle, 40).reached for _ in range(6)]
    assert np.isfinite(reached).any()
    saved = twin.get_state()
    ahead = [float(twin.window(idle, 40).cost.detach()) for _ in range(3)]
    twin.set_state(saved)
    assert [float(twin.window(idle, 40).cost.detach()) for _ in range(3)] == ahead
    whole = []
    for decisions in (100, 101):  # an episode has 100
        twin.set_state(saved)
        window = twin.window(idle, decisions)
        whole.append((float(window.cost.detach()), window.decisions))
    assert whole == [(whole[0][0], 100 * twin.num_envs * twin.agents)] * 2


def test_motions_are_played_twice_and_then_only_what_bears_on_the_peak_counts():
    """What builds up to the peak has a slope in the first pass, and next to none once the peak is known."""
    twin = Twin(load_scenario("dampers/jansen", duration_s=6.0, variety={**GOOD}), 1, 0)
    slopes, motions = [], []
    for _ in range(3):
        levels = torch.full((6,), 0.3, requires_grad=True)
        for level in levels.split(1):
            twin.window(lambda parts, level=level: level.expand(parts["damper"].shape[:2]), 100).cost.backward()
            if len(motions) == len(slopes):
                motions.append(twin._loads.clone())
        slopes.append(levels.grad.abs())
    peak = int(slopes[1].argmax())
    assert peak > 0
    assert slopes[0][0] > 0.1
    assert slopes[1][0] < 1e-3 * slopes[0][0]
    assert slopes[1][peak] > 0.5 * slopes[0][peak]
    assert torch.equal(motions[0], motions[1])
    assert not torch.equal(motions[1], motions[2])


def test_dampers_too_stiff_for_its_coarse_steps_are_simulated_with_the_worlds():
    """With steps of 2 ms the motion of this one grew without bound, where the world's 1 ms are fine."""
    scenario = load_scenario("dampers/jansen", duration_s=3.0, dampers={1: 50})
    assert is_stable(scenario.mounted, 1.0)
    assert not is_stable(scenario.mounted, 2.0)
    twin = Twin(scenario, 2, 0)
    window = twin.window(lambda parts: torch.ones(parts["damper"].shape[:2]), 200)
    assert torch.isfinite(window.cost)
    assert Tuner(scenario, Conditions(), motions=2).scores([PassiveOn(twin.site, {})])[0] < 2


@pytest.mark.parametrize("decisions", [30, 45, 60])
def test_windows_may_be_as_long_as_an_episode(decisions):
    """Groups that start in the middle of their first motion have no room for long ones: they begin anew."""
    twin = Twin(load_scenario("dampers/jansen", duration_s=0.6), 8, 0)
    for _ in range(3):
        window = twin.window(lambda parts: torch.ones(parts["damper"].shape[:2]), decisions)
        assert torch.isfinite(window.cost)
        assert (twin._step <= 60).all()
