"""The stable-baselines3 reference: its plain network equals the model; unsuitable scenarios are refused."""

from types import SimpleNamespace
from typing import get_type_hints

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import CityGymEnv, CityloopError, load_scenario
from envs.core.scenario import read_yaml
from envs.dampers.world import DampersWorld
from training import reference
from training.actions import ActionCodec
from training.reference import DEFAULTS, flat_policy, train_reference
from training.settings import Settings
from training.tracking.folders import SPEED
from verbs.train import train


def test_plain_network_scores_as_the_model_does():
    env = CityGymEnv("intersections/cologne1")
    model = PPO("MlpPolicy", env, policy_kwargs={"net_arch": [DEFAULTS.width] * 2}, seed=0, device="cpu")
    policy = flat_policy(model, env.loop.layout.shapes)
    rows = np.random.default_rng(0).random((50, env.loop.layout.size), dtype=np.float32)
    parts = env.loop.layout.unflatten(torch.from_numpy(rows))
    parts["action_mask"][:] = 1.0
    with torch.no_grad():
        flat = torch.cat([part.flatten(1) for part in parts.values()], dim=1)
        theirs = model.policy.get_distribution(flat).distribution.logits
        ours = torch.log_softmax(policy(parts), dim=1)
    torch.testing.assert_close(ours, theirs)


def test_plain_network_sets_the_numbers_that_the_model_does():
    """Of dampers and gates; those were trained to the end, and then could not be validated."""
    env = CityGymEnv("dampers/dyke")
    model = PPO("MlpPolicy", env, policy_kwargs={"net_arch": [DEFAULTS.width] * 2}, seed=0, device="cpu")
    with torch.no_grad():
        model.policy.action_net.weight *= 100  # beyond the range, too
        model.policy.log_std[:] = -1.0
    policy, codec = flat_policy(model, env.loop.layout.shapes), ActionCodec(env.action_space)
    rows = np.random.default_rng(0).random((50, env.loop.layout.size), dtype=np.float32)
    with torch.no_grad():
        ours = policy(env.loop.layout.unflatten(torch.from_numpy(rows))).numpy()
    theirs = model.predict(rows, deterministic=True)[0]
    np.testing.assert_allclose(codec.requests(codec.best(ours)), theirs, atol=1e-5)
    assert len(np.unique(theirs)) > 5, "so that not all are at an end of the range"
    np.testing.assert_allclose(np.exp(ours[:, 1]) / 2, np.exp(-1.0), rtol=1e-5)


def test_a_site_of_several_agents_is_refused():
    with pytest.raises(CityloopError, match="has 4 agents"):
        train_reference(load_scenario("intersections/grid2x2"))


def test_what_is_kept_for_tests_is_not_learned_from():
    with pytest.raises(CityloopError, match="drainage/astlingen-oct2000 is for tests alone"):
        train_reference(load_scenario("drainage/astlingen-oct2000"))


@pytest.mark.parametrize("seed", [0, 1])
def test_plants_learn_from_training_seeds(monkeypatch, tmp_path, seed):
    scenario, begun, reset = load_scenario("dampers/dyke"), [], DampersWorld.reset

    def learn(model, **_):
        assert model.logger.dir is None, "a folder of its own would be left behind"
        model.env.reset()

    monkeypatch.setattr(reference, "SubprocVecEnv", lambda plants, start_method: DummyVecEnv(plants))
    monkeypatch.setattr(reference, "_Watch", lambda *_: SimpleNamespace(validate=int, settle=int, close=int))
    monkeypatch.setattr(PPO, "learn", learn)
    monkeypatch.setattr(DampersWorld, "reset", lambda world, seed, program: begun.append(seed) or reset(world, seed))
    train_reference(scenario, iterations=1, workers=2, seed=seed, out=tmp_path / "run")
    first = scenario.seeds.train.first + 2 * seed
    assert begun == [first, first + 1]


def test_speed_is_of_one_update_without_validation(monkeypatch, tmp_path):
    clock, written = SimpleNamespace(now=100.0), []

    class Stub:
        def __init__(self, *_):
            self.kpi, self.reference = "delay_s", {}

        def __getattr__(self, name):
            return lambda *_: None

    class Kept(Stub):
        def write(self, figures, *_):
            written.append(figures.get(SPEED))

    monkeypatch.setattr(reference, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(reference, "Validator", Stub)
    monkeypatch.setattr(reference, "Journal", Kept)
    settings = Settings(algorithm="sb3", workers=2, validate_every=1)
    scenario = load_scenario("intersections/cologne1")
    watch = reference._Watch(scenario, settings, tmp_path, {"minutes": None, "iterations": 9}, None, None)
    watch.model = SimpleNamespace(logger=SimpleNamespace(name_to_value={}))
    monkeypatch.setattr(watch, "validate", lambda: setattr(clock, "now", clock.now + 1000.0))
    for seconds in (5.0, 4.0, 8.0):
        clock.now += seconds
        watch._on_rollout_end()
    assert written == [None, reference.STEPS * 2 / 4.0, reference.STEPS * 2 / 8.0]


def test_help_tells_how_long_it_trains_by_default(monkeypatch, tmp_path):
    """It said 30 minutes for all algorithms, and this one stopped after 10."""
    monkeypatch.setattr(reference, "SubprocVecEnv", lambda *_, **__: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(reference, "_Watch", lambda *_: None)
    monkeypatch.setattr(reference, "_learn", lambda *_: None)
    run = train_reference(load_scenario("intersections/cologne1"), out=tmp_path / "run")
    minutes = read_yaml(run / "config.yaml")["budget"]["minutes"]
    (option,) = get_type_hints(train, include_extras=True)["minutes"].__metadata__
    assert f"{minutes:g} for sb3" in option.show_default
