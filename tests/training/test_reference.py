"""The stable-baselines3 reference: its plain network decides as its model does; it says where it does not fit."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from envs import CityGymEnv, CityloopError, load_scenario
from training.reference import DEFAULTS, flat_policy, train_reference


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


def test_a_site_of_several_agents_is_refused():
    with pytest.raises(CityloopError, match="has 4 agents"):
        train_reference(load_scenario("intersections/grid2x2"))
