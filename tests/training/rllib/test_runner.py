"""Sampling: fragments hold the plants' data, padding and halves have no effect, and a saved state continues."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from agents.networks import NOT_ALLOWED, StagePolicy
from envs import CityloopError
from envs.core.layout import Layout
from envs.core.vector import Batch
from tests.agents.test_networks import numbers, shapes
from tests.training.rllib import toys
from training.actions import ActionCodec
from training.rllib.algorithm import configure
from training.rllib.fragment import Fragment
from training.rllib.runner import BatchedRunner, Half, Track
from training.settings import Settings
from training.task import LOST, Plants

SETTINGS = Settings(seed=5, fragment=16, width=16, reward_scale=0.5)


def runner(*scenarios, index=0, settings=SETTINGS):
    return BatchedRunner(config=configure(toys.task(*scenarios), settings, Path("unused")), worker_index=index)


def everything(fragment):
    return {name: value for name, value in vars(fragment).items() if isinstance(value, np.ndarray)}


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for name, array in everything(a).items():
            np.testing.assert_array_equal(array, everything(b)[name], err_msg=name)


SCENARIOS = toys.plants("a", 5, seed=3, terminates=0.5), toys.plants("b", 2, seed=9, agents=7)


def test_runners_begin_apart_and_elsewhere_when_they_go_on():
    def begun(one):
        return [track.plants._seed for track in one._tracks], one._rng.bit_generator.state["state"]["state"]

    seen = [begun(runner(*SCENARIOS, index=index)) for index in (1, 2, 3)]
    assert seen[0][0] == begun(runner(*SCENARIOS))[0], "the first is where a run in one process is"
    gone_on = runner(*SCENARIOS, index=1)
    gone_on.go_on(0)
    assert begun(gone_on) == seen[0]
    for done in (7, 8):
        gone_on.go_on(done)
        seen.append(begun(gone_on))
    assert len({draws for _, draws in seen}) == len(seen)
    # In a split of a thousand seeds, too: those that lay a thousand apart began alike there, and went on alike.
    assert len({seeds[0] % 1000 for seeds, _ in seen}) == len(seen)


def test_fragments_hold_what_the_plants_gave():
    """The same requests, given to the same plants by hand, lead to what the fragments say."""
    ours = runner(*SCENARIOS)
    lots = [(track.scenario, track.plants.num_envs, track.plants._seed) for track in ours._tracks]
    assert lots == [(0, 3, 3), (0, 2, 6), (1, 1, 9), (1, 1, 10)]  # two lots of each, with seeds of their own
    rounds = [ours.sample(), ours.sample()]
    ended = 0
    for k, (scenario, count, seed) in enumerate(lots):
        plants = SCENARIOS[scenario].make(count, seed)
        batch = plants.reset()
        for fragments in rounds:
            fragment = fragments[k]
            assert fragment.scenario == scenario
            lasts = []
            for t in range(SETTINGS.fragment):
                np.testing.assert_array_equal(fragment.observation[t], batch.observation)
                np.testing.assert_array_equal(fragment.state[t], batch.state)
                plants.send(fragment.actions[t, ..., 0].astype(np.int64))
                batch = plants.receive()
                np.testing.assert_array_equal(fragment.reward[t], (0.5 * batch.reward).astype(np.float32))
                np.testing.assert_array_equal(fragment.done[t], batch.done)
                np.testing.assert_array_equal(fragment.terminated[t], batch.terminated)
                lasts += [(batch.last_observation[e], batch.last_state[e]) for e in np.flatnonzero(batch.done)]
            np.testing.assert_array_equal(fragment.observation[-1], batch.observation)
            np.testing.assert_array_equal(fragment.last_observation, [observation for observation, _ in lasts])
            np.testing.assert_array_equal(fragment.last_state, [state for _, state in lasts])
            ended += len(lasts)
    assert ended > 20


class Spoiled(toys.Matching):
    """Gives a number that is not finite in its fourth batch: in an array of `Batch`, at a place."""

    def __init__(self, *args, what, at, value=np.nan, **options):
        super().__init__(*args, **options)
        self.what, self.at, self.value, self.given = what, at, value, 0

    def _batch(self, *args):
        batch = super()._batch(*args)
        self.given += 1
        if self.given == 4:
            getattr(batch, self.what)[self.at] = self.value
        return batch


@pytest.mark.parametrize(
    ("what", "at", "value", "said"),
    [
        ("reward", (1, 2), np.nan, "the reward of agent 2 in plant 1 is nan after 3 decisions"),
        ("reward", (1, 2), 1e300, "the reward of agent 2 in plant 1 is inf after 3 decisions"),
        ("observation", (0, 3, 5), np.inf, "the observation part 'number' of agent 3 in plant 0 is inf after 3 dec"),
        ("state", (1, 0, 2), np.nan, "the state of plant 1 is nan after 3 decisions"),
        ("last_observation", (1, 3, 0), np.nan, "the observation part 'option' of agent 3 in plant 1 is nan after 3"),
        ("last_state", (1, 0, 2), -np.inf, "the state of plant 1 is -inf after 3 decisions"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_what_is_not_finite_is_refused_where_it_comes_from(what, at, value, said):
    scenario = Plants("toys", partial(Spoiled, what=what, at=at, value=value, shortest=3, longest=3), 2, 0, 1)
    with pytest.raises(CityloopError, match=f"^toys: {said}"):
        runner(scenario).sample()


def spoiled(**how):
    """Toys whose reward is no number at the third decision."""
    return Plants("toys", partial(Spoiled, what="reward", at=(1, 2), **how), 2, 0, 1)


def test_a_remote_runner_sends_why_its_plants_cannot_be_used():
    """One that raised an error would be restarted for ever."""
    sent = runner(spoiled(), index=1).sample()
    assert [each.sentence.partition(":")[0] for each in sent] == ["toys"]
    settings = Settings(fragment=16, width=16)
    learner = configure(toys.task(), settings, Path("unused")).build_learner(spaces=runner(toys.plants()).get_spaces())
    with pytest.raises(CityloopError, match="the reward of agent 2 in plant 1 is nan"):
        learner.update(training_data=TrainingData(episodes=sent), num_epochs=1, timesteps={})


def test_a_remote_runner_sends_the_trace_of_a_defect():
    """As in a reward of one's own. It would be restarted for ever, too, and nobody would see why."""
    plants = Plants("toys", partial(Spoiled, what="reward", at="no index"), 2, 0, 1)
    with pytest.raises(IndexError, match="only integers"):
        runner(plants).sample()
    learner = configure(toys.task(), Settings(), Path("unused")).build_learner(
        spaces=runner(toys.plants()).get_spaces()
    )
    with pytest.raises(RuntimeError, match=r"(?s)^Traceback .*IndexError: only integers"):
        learner.update(
            training_data=TrainingData(episodes=runner(plants, index=1).sample()), num_epochs=1, timesteps={}
        )


def test_last_rows_of_episodes_that_go_on_may_be_anything():
    """They are stale: nobody reads them."""
    what = {"what": "last_observation", "at": (0, 0, 0), "shortest": 5, "longest": 5}
    runner(Plants("toys", partial(Spoiled, **what), 2, 0, 1)).sample()


def test_log_probabilities_are_the_policys():
    ours = runner(*SCENARIOS)
    for fragment in ours.sample():
        parts = fragment.layout.unflatten(torch.from_numpy(fragment.observation[:-1]))
        with torch.no_grad():
            logp, _ = ours._codec.score(ours.module.policy(parts), torch.from_numpy(fragment.actions))
        np.testing.assert_allclose(fragment.logp, logp.numpy(), atol=1e-5)


def test_steps_episodes_and_indicators_are_counted():
    ours = runner(*SCENARIOS)
    fragments = ours.sample()
    metrics = ours.get_metrics()
    steps = 16 * (5 + 2)
    assert sum(map(len, fragments)) == steps
    assert ours.num_env_steps_sampled_lifetime == steps
    assert metrics["num_env_steps_sampled"].peek() == steps
    assert metrics["kpi"]["b"]["score"].peek() == 1.0


def test_returns_of_episodes_are_the_unscaled_rewards():
    ours = runner(toys.plants("a", 1, shortest=4, longest=4))
    (fragment,) = ours.sample()
    expected = (fragment.reward.mean(axis=2)[:, 0] / SETTINGS.reward_scale).reshape(4, 4).sum(axis=1)
    assert ours.get_metrics()["episode_return_mean"].peek() == pytest.approx(expected.mean())


def test_same_seed_same_fragments():
    assert_same(runner(*SCENARIOS).sample(), runner(*SCENARIOS).sample())


def test_another_seed_or_another_runner_draws_otherwise():
    first = runner(*SCENARIOS).sample()[0]
    other_seed = runner(*SCENARIOS, settings=SETTINGS.model_copy(update={"seed": 6})).sample()[0]
    assert not np.array_equal(first.actions, other_seed.actions)
    second, third = (runner(*SCENARIOS, index=k).sample()[0] for k in (1, 2))
    assert not np.array_equal(second.observation[0], third.observation[0])
    assert not np.array_equal(second.actions, third.actions)


@pytest.mark.parametrize("kind", ["discrete", "numbers", "mixed"])
def test_a_state_goes_on_as_it_was(kind):
    scenarios = [toys.plants("a", 3, kind=kind, terminates=0.5), toys.plants("b", 2, seed=9, kind=kind, agents=2)]
    ours = runner(*scenarios)
    ours.sample()
    state = ours.get_state()
    expected = ours.sample()
    other = runner(*scenarios, settings=SETTINGS.model_copy(update={"seed": 77}))
    other.sample()
    other.set_state(state)
    assert other.num_env_steps_sampled_lifetime == 16 * 5
    assert_same(other.sample(), expected)
    for mine, theirs in zip(ours._tracks, other._tracks, strict=True):
        np.testing.assert_array_equal(mine.returns, theirs.returns)


def test_a_state_that_was_taken_does_not_change_afterwards():
    ours = runner(toys.plants("a", 2, shortest=30, longest=40))
    ours.sample()
    state = ours.get_state()
    returns = [saved[1].copy() for saved in state["plants"]]
    ours.sample()
    for saved, before in zip(state["plants"], returns, strict=True):
        np.testing.assert_array_equal(saved[1], before)


def test_a_runner_does_not_take_over_anothers_generator():
    """RLlib sends a runner that took a lost one's place the state of another: the two must not explore alike."""
    scenarios = (toys.plants("a", 2),)
    state = runner(*scenarios, index=0).get_state()
    second, third = runner(*scenarios, index=1), runner(*scenarios, index=2)
    for one in (second, third):
        one.set_state(state)
    assert second._rng.bit_generator.state != third._rng.bit_generator.state


def test_parts_of_a_state():
    ours = runner(toys.plants())
    assert set(ours.get_state(components="rl_module")) == {
        "num_env_steps_sampled_lifetime",
        "rl_module",
        "weights_seq_no",
    }
    assert "rl_module" not in ours.get_state(not_components="rl_module")
    assert not any("critic" in name or "returns" in name for name in ours.get_state()["rl_module"])


def test_older_weights_are_not_taken_over():
    ours, theirs = runner(toys.plants()), runner(toys.plants(), settings=SETTINGS.model_copy(update={"seed": 8}))
    newer, older = theirs.module.get_state(), ours.module.get_state()
    ours.set_state({"rl_module": newer, "weights_seq_no": 4})
    ours.set_state({"rl_module": older, "weights_seq_no": 3})
    for name, array in ours.module.get_state().items():
        np.testing.assert_array_equal(array, newer[name])


def test_stopping_closes_the_plants():
    ours = runner(*SCENARIOS)
    toy = [track.plants for track in ours._tracks]
    ours.stop()
    ours.stop()
    assert all(one.closed for one in toy)


class Recorder:
    """Plants that show numbers of their own shape, and keep what they were asked for."""

    def __init__(self, layout, num_envs, agents, seed):
        self.layout, self.num_envs, self.agents, self.state_shape = Layout(layout), num_envs, agents, (1, 1)
        self.rng, self.asked = np.random.default_rng(seed), []

    def reset(self):
        size = (self.num_envs, self.agents, self.layout.size)
        parts = {name: self.rng.random((*size[:2], *shape)) for name, shape in self.layout.shapes.items()}
        parts["action_mask"] = np.ones_like(parts["action_mask"])
        flat = [self.layout.flatten({name: part[k] for name, part in parts.items()}) for k in range(self.num_envs)]
        state, nothing = np.zeros((self.num_envs, 1, 1), np.float32), np.zeros(self.num_envs, int)
        reward, done = np.zeros(size[:2]), np.zeros(self.num_envs, bool)
        observation = np.stack(flat)
        return Batch(observation, state, observation, state, reward, done, [{}] * self.num_envs, nothing)

    def send(self, requests):
        self.asked.append(requests)

    receive = reset


class Linear(torch.nn.Module):
    """A policy that weighs every number of an observation: ``across`` its agents, or each agent alone."""

    def __init__(self, across):
        super().__init__()
        self.ACROSS = across

    def forward(self, parts):
        items = parts["items"]
        if self.ACROSS:
            items = items + items.mean(dim=-3, keepdim=True)
        places = torch.arange(1.0, 1 + items.shape[-2] * items.shape[-1]).reshape(items.shape[-2:])
        total = (items * places.sin()).sum(dim=(-2, -1))
        logits = total[..., None] * torch.arange(1.0, 1 + parts["action_mask"].shape[-1]).cos()
        return torch.where(parts["action_mask"] > 0.5, logits, NOT_ALLOWED)


class Holder:
    def __init__(self, policy):
        self.policy = policy


@pytest.mark.parametrize("across", [False, True])
def test_padding_several_scenarios_decides_nothing(across):
    """Three scenarios in one forward pass: each one's outputs are those of its own observations, and masked beyond."""
    sizes = [((2, 3), 2, 3, 4), ((5, 3), 3, 1, 2), ((1, 3), 1, 4, 6)]
    lots = [
        Recorder({"items": items, "action_mask": (options,)}, envs, agents, seed)
        for seed, (items, envs, agents, options) in enumerate(sizes)
    ]
    tracks = [Track(k, str(k), lot) for k, lot in enumerate(lots)]
    for track in tracks:
        track.begin(2, 1)
    half, codec, module = Half(tracks), ActionCodec(spaces.Discrete(6)), Holder(Linear(across))
    rng = np.random.default_rng(0)
    for t in range(2):
        half.decide(t, module, codec, rng)
        for track, (_, envs, agents, options) in zip(tracks, sizes, strict=True):
            f = track.fragment
            parts = f.layout.unflatten(torch.from_numpy(f.observation[t]))
            logits = torch.nn.functional.pad(module.policy(parts), (0, 6 - options), value=NOT_ALLOWED)
            logp, _ = codec.score(logits, torch.from_numpy(f.actions[t]))
            np.testing.assert_allclose(f.logp[t], logp.numpy(), atol=1e-5)
            assert f.actions[t].max() < options
            np.testing.assert_array_equal(track.plants.asked[t], f.actions[t, ..., 0])
            assert track.plants.asked[t].shape == (envs, agents)
            track.receive(t, 1.0)


def test_the_stage_policy_decides_in_company_as_alone():
    torch.manual_seed(0)
    sizes = [(3, 2), (6, 4), (4, 3)]
    policy = StagePolicy(shapes(6, 4))
    lots = [Stages(shapes(*size), agents=2 + k) for k, size in enumerate(sizes)]
    tracks = [Track(k, str(k), lot) for k, lot in enumerate(lots)]
    for track in tracks:
        track.begin(1, 1)
    outputs = Half(tracks)._mixed(0, Holder(policy))
    start = 0
    for track, (_, stages) in zip(tracks, sizes, strict=True):
        parts = track.plants.layout.unflatten(torch.from_numpy(track.fragment.observation[0]))
        alone = policy(parts).flatten(0, 1).detach().numpy()
        mine = outputs[start : start + track.rows]
        np.testing.assert_allclose(mine[:, :stages], alone, rtol=1e-5, atol=1e-5)
        assert (mine[:, stages:] == NOT_ALLOWED).all()
        start += track.rows


class Stages(Recorder):
    """Junctions of one size, with random features."""

    def __init__(self, layout, agents):
        super().__init__(layout, num_envs=2, agents=agents, seed=agents)

    def reset(self):
        batch = super().reset()
        rows = self.num_envs * self.agents
        parts = numbers(rows, self.layout.shapes, seed=self.agents)
        flat = self.layout.flatten({name: part.numpy() for name, part in parts.items()})
        batch.observation = flat.reshape(self.num_envs, self.agents, -1)
        return batch


def test_halves_are_about_equal():
    ours = runner(toys.plants("a", 9), toys.plants("b", 4, agents=2), toys.plants("c", 1, agents=3))
    sizes = [sum(track.rows for track in half.tracks) for half in ours._halves]
    assert sum(sizes) == 9 * 4 + 4 * 2 + 3
    assert abs(sizes[0] - sizes[1]) <= 4
    assert all(isinstance(fragment, Fragment) for fragment in ours.sample())


def test_plants_of_two_runners_never_begin_alike():
    many = toys.plants("a", 1500, seed=7, agents=1)
    firsts = []
    for index in (1, 2):
        config = configure(toys.task(many), SETTINGS, Path("unused"))
        ours = BatchedRunner(config=config, worker_index=index)
        firsts += [track.plants._seed + k for track in ours._tracks for k in range(track.plants.num_envs)]
    assert len(set(firsts)) == 3000


def test_lost_plants_are_counted_over_all_runners():
    both = MetricsLogger(root=True)
    found = []
    for index in (1, 2):
        ours = runner(index=index)
        ours._tracks[0].plants.lost = 3 * (index == 1)
        ours.sample()
        found.append(ours.get_metrics())
    both.aggregate(found)
    assert both.reduce()[LOST].peek() == 3
