"""Every system keeps the contract: ours, PettingZoo's, Gymnasium's and stable-baselines3's. Run over the registry."""

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env

import envs
from envs import SYSTEMS, CityGymEnv, CityloopError, get_system, load_scenario, parallel_env
from envs.core.env import make_loop
from envs.core.rollout import random_requests
from envs.core.testing import systems as testing
from envs.core.testing.systems import check_system
from tests.contract.remote import RemoteEnv

ROOT = Path(__file__).resolve().parents[2]

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


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_definition_of_an_indicator_says_it_all(system):
    """Tables and JSON show one beside a name, without the one before."""
    back = re.compile(r"^(its|the same)\b|\b(of|over) (it|them)\b|\bit did\b|\bthere,| there$")
    assert not [definition for definition in get_system(system).kpis.values() if back.search(definition)]


ELSEWHERE = """
import io, json, sys
from envs.core import rollout
for given in map(json.dumps, json.load(sys.stdin)):
    sys.stdin = io.StringIO(given)
    rollout.print_digest(json.loads(given)["system"])
"""


@pytest.fixture(scope="module")
def digest_elsewhere():
    """As `envs.core.rollout.digest_elsewhere`, in one process for all scenarios, as each imports everything."""
    scenarios = [
        scenario.shortened(testing.DECISIONS * scenario.decision_s, get_system(scenario.system).first_s(scenario))
        for scenario in map(load_scenario, SCENARIOS)
    ]
    found = {}

    def digest(scenario, hash_seed):
        if hash_seed not in found:
            given = json.dumps([each.model_dump(mode="json") for each in scenarios])
            environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-c", ELSEWHERE]
            done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, env=environment, check=True)
            digests = [line for line in done.stdout.split() if len(line) == 64]
            found[hash_seed] = {each.hash: one for each, one in zip(scenarios, digests, strict=True)}
        return found[hash_seed][scenario.hash]

    return digest


def test_our_contract(ref, digest_elsewhere, monkeypatch):
    if ref != "dampers/dyke":  # which has processes of its own, as by `cityloop check`
        monkeypatch.setattr(testing, "digest_elsewhere", digest_elsewhere)
    checks = check_system(ref)
    assert [check for check in checks if not check.ok] == []
    assert checks[0].detail == f"hash {load_scenario(ref).hash}", "of the whole, as evaluations and cards have it"


def test_pettingzoo_api(ref):
    env = parallel_env(short(ref), seed=0)
    try:
        parallel_api_test(env, num_cycles=60)
    finally:
        env.close()


def test_agents_and_terms_of_an_episode(ref):
    """The agents are the same from start to end, and an agent's terms sum to its reward."""
    env = parallel_env(short(ref, 3), seed=0)
    try:
        env.reset()
        assert env.agents == env.possible_agents
        while env.agents:
            requests = random_requests(env.loop, np.random.default_rng(0))
            _, rewards, _, _, infos = env.step(dict(zip(env.agents, requests, strict=True)))
            assert list(rewards) == env.possible_agents
            for agent, reward in rewards.items():
                assert sum(infos[agent]["terms"].values()) == pytest.approx(reward)
    finally:
        env.close()


def test_pettingzoo_seeds(ref):
    scenario = short(ref, 8)
    alone = scenario.system in ("intersections", "drainage")  # one simulator a process
    parallel_seed_test(lambda: RemoteEnv(scenario) if alone else parallel_env(scenario, seed=0), num_cycles=8)


EPISODE = """
import sys
import numpy as np
from envs.core.env import make_loop
for ref in sys.argv[1:]:
    loop = make_loop(ref)
    loop.world.prepare()
    before = set(sys.modules)
    loop.reset(1)
    loop.step(np.zeros((len(loop.site.agents), *loop.action_space.shape)))
    loop.close()
    print(ref, *sorted(set(sys.modules) - before))
"""


def test_what_episodes_import_is_there_before_a_process_is_forked_for_each():
    """Else each imports it anew: SUMO as a library, or scipy, took longer than many an episode."""
    refs = [first for first, *_ in SMALL.values()]
    done = subprocess.run(
        [sys.executable, "-c", EPISODE, *refs], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    told = [line.split() for line in done.stdout.splitlines() if line.startswith(tuple(refs))]
    assert [found for found in told if len(found) > 1] == []
    assert [ref for ref, *_ in told] == refs


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


def test_an_environment_can_be_copied_once_it_is_closed(joint):
    joint.reset(seed=1)
    joint.close()
    copy = pickle.loads(pickle.dumps(joint))
    first, _ = copy.reset(seed=2)
    copy.close()  # one simulator a process
    assert (joint.reset(seed=2)[0] == first).all()


def test_sites_of_the_same_fields_are_equal_whatever_was_asked_of_them(ref):
    """What a site keeps once it was asked may be arrays, which have no single truth value."""
    scenario = load_scenario(ref)
    system = get_system(scenario.system)
    site = system.load_site(scenario)
    other = type(site).model_validate_json(site.model_dump_json())
    for each in (site, other):
        system.make_features(each), system.make_guard(each), system.make_scene(each)
    assert site == other
    assert hash(site) == hash(other)
    assert site != other.model_copy(update={"name": "other"})


def test_nothing_is_drawn(joint):
    joint.reset(seed=1)
    assert joint.render() is None
    with pytest.raises(CityloopError, match="render_mode is 'human': leave it out"):
        CityGymEnv("dampers/dyke", render_mode="human")


@pytest.mark.filterwarnings("ignore:.*render_mode")  # Gymnasium's, of what stable-baselines3 tries first
def test_stable_baselines_makes_environments_by_name():
    plants = make_vec_env("dampers/dyke-v0")
    assert plants.reset().shape == (1, *plants.observation_space.shape)
    plants.close()


def test_an_environment_is_found_in_a_process_that_has_not_imported_us():
    program = "import gymnasium; gymnasium.make('envs:dampers/dyke-v0').close()"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_simulator_that_nobody_holds_makes_room():
    for _ in range(2):
        CityGymEnv(short("intersections/grid2x2")).reset(seed=1)
    with CityGymEnv(short("intersections/grid2x2")) as held:
        held.reset(seed=1)
        with pytest.raises(CityloopError, match="already runs a SUMO simulation"):
            CityGymEnv(short("intersections/grid2x2")).reset(seed=1)


def test_no_state_before_an_episode():
    with pytest.raises(CityloopError, match=r"call reset\(\) before state\(\)"):
        parallel_env("intersections/grid2x2").state()


def test_no_step_without_an_episode(joint):
    action = joint.action_space.sample()
    for begin_and_end in (lambda: None, lambda: (joint.reset(), joint.close())):
        begin_and_end()
        with pytest.raises(CityloopError, match=r"call reset\(\) before step\(\)"):
            joint.step(action)


def test_nothing_is_seen_before_the_first_episode(ref, joint):
    with pytest.raises(CityloopError, match=r"call reset\(\) before action_masks\(\)"):
        joint.action_masks()
    env = parallel_env(short(ref))
    with pytest.raises(CityloopError, match=r"call reset\(\) before state\(\)"):
        env.state()


def test_an_axis_of_length_one_does_not_change_an_action(joint):
    joint.action_space.seed(0)
    joint.reset(seed=0)
    actions = [joint.action_space.sample() for _ in range(4)]
    rewards = [joint.step(action)[1] for action in actions]
    joint.reset(seed=0)
    assert [joint.step(np.expand_dims(np.squeeze(action), -1))[1] for action in actions] == rewards


@pytest.mark.parametrize("action", [np.zeros(77), "green", None, [[0], [0, 0]]], ids=["77", "word", "none", "ragged"])
def test_an_action_of_another_shape_is_no_action(ref, joint, action):
    """The guard would take it for no request at all, and a policy learn from what it did not decide."""
    joint.reset(seed=0)
    with pytest.raises(CityloopError, match=r"action is .*: give numbers in the shape"):
        joint.step(action)
    joint.close()
    env = parallel_env(short(ref))
    env.reset(seed=0)
    *_, last = env.agents
    with pytest.raises(CityloopError, match=rf"action of agent '{last}' is .*: give numbers in the shape"):
        env.step({agent: env.action_space(agent).sample() for agent in env.agents} | {last: action})
    env.close()


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
def test_a_seed_is_a_whole_number(seed):
    env = parallel_env("dampers/dyke")
    with pytest.raises(CityloopError, match="give a whole number from 0 up"):
        env.reset(seed=seed)


class Own:
    """A controller of somebody's own."""

    name, program = "own", None

    def __init__(self, requests):
        self.requests = requests

    def reset(self):
        pass

    def act(self, readings, observation):
        return self.requests


@pytest.mark.parametrize("requests", [np.zeros((77, 1)), None, {"gate": 1}], ids=["rows", "None", "dict"])
def test_a_controller_of_ones_own_asks_for_one_thing_an_agent(ref, requests):
    """The guard would take it for no request at all, and what it decided itself be told as the controller's."""
    with closing(make_loop(short(ref))) as loop:
        agents = len(loop.site.agents)
        with pytest.raises(CityloopError, match=r"the agents ask for is .*: give numbers .*, a row an agent"):
            loop.episode(Own(requests), 100_000)
        shape = (agents, *loop.action_space.shape)
        assert loop.episode(Own(np.zeros(shape).tolist()), 100_000).done
