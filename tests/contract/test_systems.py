"""Every system keeps the contract: ours, PettingZoo's, Gymnasium's and stable-baselines3's. Run over the registry."""

import pickle
import warnings

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs import SYSTEMS, CityGymEnv, CityloopError, load_scenario, parallel_env
from envs.core.testing import check_system
from tests.contract.remote import RemoteEnv

SMALL = {
    "intersections": ("intersections/grid2x2", "intersections/cologne1"),
    "drainage": ("drainage/astlingen", "drainage/theta"),
    "dampers": ("dampers/jansen", "dampers/dyke"),
    "transit": ("transit/hcmc", "transit/cologne"),
}
"""System → small scenarios that its contract is checked on: one with several agents, one with a single one."""

SCENARIOS = [ref for refs in SMALL.values() for ref in refs]


def short(ref, decisions=24):
    scenario = load_scenario(ref)
    return scenario.override({"duration_s": decisions * scenario.decision_s})


@pytest.fixture(params=SCENARIOS)
def ref(request):
    return request.param


@pytest.fixture
def joint(ref):
    with CityGymEnv(short(ref)) as env:
        yield env


def test_no_system_goes_untested():
    assert set(SMALL) == set(SYSTEMS)


def test_our_contract(ref):
    assert [check for check in check_system(ref) if not check.ok] == []


def test_pettingzoo_api(ref):
    env = parallel_env(short(ref), seed=0)
    try:
        parallel_api_test(env, num_cycles=60)
    finally:
        env.close()


def test_pettingzoo_seeds(ref):
    parallel_seed_test(lambda: RemoteEnv(short(ref, 8)), num_cycles=8)


def test_gymnasium(joint):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unbounded boxes are meant: features are scaled, not clipped
        check_env(joint, skip_render_check=True)


def test_stable_baselines3(joint):
    sb3_check_env(joint, warn=True)


def test_gymnasium_make(ref):
    gymnasium.register_envs(envs)
    env = gymnasium.make(f"{ref}-v0", duration_s=600)
    try:
        observation, _ = env.reset(seed=1)
        assert observation in env.observation_space
    finally:
        env.close()


def test_an_environment_can_be_copied_before_its_first_episode(ref):
    env = CityGymEnv(short(ref))
    copy = pickle.loads(pickle.dumps(env))
    assert copy.loop.site.hash == env.loop.site.hash
    assert copy.loop.system is env.loop.system


def test_a_simulator_that_nobody_holds_makes_room():
    for _ in range(2):
        CityGymEnv(short("intersections/grid2x2")).reset(seed=1)
    with CityGymEnv(short("intersections/grid2x2")) as held:
        held.reset(seed=1)
        with pytest.raises(CityloopError, match="already runs a SUMO simulation"):
            CityGymEnv(short("intersections/grid2x2")).reset(seed=1)


def test_no_step_without_an_episode(joint):
    action = joint.action_space.sample()
    for begin_and_end in (lambda: None, lambda: (joint.reset(), joint.close())):
        begin_and_end()
        with pytest.raises(CityloopError, match=r"call reset\(\) before step\(\)"):
            joint.step(action)
