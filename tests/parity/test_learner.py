"""The learner equals RLlib's stock PPO on the same experience: value targets, advantages, loss and gradients.

The stock pipeline gets every agent's episodes as rows of their own, each with the observation and a copy of the plant's
state; ours keeps the agents of a step together. Episodes end by termination, by truncation, and by the fragment's end.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.models.torch.torch_distributions import TorchCategorical, TorchDiagGaussian

from agents.networks import FlatCritic, FlatPolicy
from envs.core.layout import Layout
from tests.training.rllib import toys
from training.rllib.algorithm import configure
from training.rllib.runner import BatchedRunner
from training.settings import Settings

GAMMA = 0.9
SETTINGS = Settings(
    seed=4, fragment=20, width=16, reward_scale=0.7, normalise_values=False, value_huber=1e9, balance=0.0, clip=0.1
)
DISTRIBUTIONS = {"discrete": TorchCategorical, "numbers": TorchDiagGaussian}


class StockModule(TorchRLModule, ValueFunctionAPI):
    """The same networks for RLlib's rows: one agent's flat observation, then the plant's flat state."""

    def setup(self):
        kind = self.model_config["kind"]
        self.layout = Layout(toys.shapes(kind))
        self.policy = FlatPolicy(self.layout.shapes, outputs=toys.outputs(kind), width=SETTINGS.width)
        self.critic = FlatCritic(self.layout.shapes, toys.STATE[1], width=SETTINGS.width)
        self.action_dist_cls = DISTRIBUTIONS[kind]

    def _forward(self, batch, **kwargs):
        return {
            Columns.ACTION_DIST_INPUTS: self.policy(self.layout.unflatten(batch[Columns.OBS][:, : self.layout.size]))
        }

    def compute_values(self, batch, embeddings=None):
        rows = batch[Columns.OBS]
        parts = self.layout.unflatten(rows[:, None, : self.layout.size])
        return self.critic(parts, rows[:, self.layout.size :].reshape(-1, *toys.STATE)).squeeze(-1)


def stock_learner(kind):
    size = Layout(toys.shapes(kind)).size + int(np.prod(toys.STATE))
    action_space = toys.SPACES["discrete"] if kind == "discrete" else spaces.Box(-np.inf, np.inf, (2,), np.float32)
    config = PPOConfig().training(
        gamma=GAMMA,
        lambda_=SETTINGS.gae_lambda,
        use_kl_loss=False,
        vf_clip_param=float("inf"),
        vf_loss_coeff=SETTINGS.value_weight,
        clip_param=SETTINGS.clip,
        entropy_coeff=SETTINGS.entropy,
    )
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=StockModule, model_config={"kind": kind}))
    return config.build_learner(spaces={DEFAULT_MODULE_ID: (spaces.Box(-np.inf, np.inf, (size,)), action_space)})


def episodes_of(fragment, kind):
    """RLlib's episodes of every agent, and where each of their steps lies in the fragment's ``(T, E, N)``."""
    steps, plants, agents = fragment.logp.shape
    order = {tuple(place): k for k, place in enumerate(np.argwhere(fragment.done).tolist())}
    found, places = [], []
    for e, i in np.ndindex(plants, agents):
        start = 0
        for t in range(steps):
            if not (fragment.done[t, e] or t == steps - 1):
                continue
            if fragment.done[t, e]:
                k = order[t, e]
                last = np.concatenate([fragment.last_observation[k, i], fragment.last_state[k].ravel()])
            else:
                last = np.concatenate([fragment.observation[t + 1, e, i], fragment.state[t + 1, e].ravel()])
            span = range(start, t + 1)
            rows = [np.concatenate([fragment.observation[s, e, i], fragment.state[s, e].ravel()]) for s in span]
            taken = [fragment.actions[s, e, i] for s in span]
            inputs = np.zeros(toys.outputs(kind), np.float32)  # of no use without the KL loss, but read
            found.append(
                SingleAgentEpisode(
                    observations=[*rows, last],
                    actions=[int(a[0]) for a in taken] if kind == "discrete" else taken,
                    rewards=[float(fragment.reward[s, e, i]) for s in span],
                    terminated=bool(fragment.terminated[t, e]),
                    truncated=bool(fragment.done[t, e] and not fragment.terminated[t, e]),
                    extra_model_outputs={
                        Columns.ACTION_DIST_INPUTS: [inputs for _ in span],
                        Columns.ACTION_LOGP: [fragment.logp[s, e, i] for s in span],
                    },
                    len_lookback_buffer=0,
                ).to_numpy()
            )
            places.append([(s, e, i) for s in span])
            start = t + 1
    return found, places


class Both:
    """Our learner and the stock one, with the same weights, on the same fragments."""

    def __init__(self, kind):
        scenarios = [
            toys.plants("a", 4, seed=1, kind=kind, terminates=0.5),
            toys.plants("b", 2, seed=7, kind=kind, agents=3, terminates=0.5),
        ]
        config = configure(toys.task(*scenarios, gamma=GAMMA), SETTINGS, Path("unused"))
        runner = BatchedRunner(config=config, worker_index=0)
        self.fragments = [fragment for _ in range(2) for fragment in runner.sample()]
        self.ours = config.build_learner(spaces=runner.get_spaces())
        self.stock = stock_learner(kind)
        self.stock_module = self.stock.module[DEFAULT_MODULE_ID]
        # Weights far from those that sampled: ratios within and beyond the clip, values that are not near zero.
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.ours._one.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        shared = {k: v for k, v in self.ours._one.state_dict().items() if not k.startswith(("returns", "averaged"))}
        self.stock_module.load_state_dict(shared)
        pairs = [episodes_of(fragment, kind) for fragment in self.fragments]
        episodes = [episode for found, _ in pairs for episode in found]
        self.places = [(k, *place) for k, (_, each) in enumerate(pairs) for places in each for place in places]
        self.batch = self.stock._learner_connector(
            rl_module=self.stock.module, batch={}, episodes=episodes, shared_data={}
        )[DEFAULT_MODULE_ID]
        self.real = self.batch[Columns.LOSS_MASK]
        assert int(self.real.sum()) == len(self.places)

    def gather(self, arrays):
        """Our arrays ``(T, E, N)``, one a fragment, in the order of the stock rows."""
        return np.array([arrays[k][t, e, i] for k, t, e, i in self.places])

    def losses(self):
        """Our loss, its figures and the stock loss, on the same standardised advantages."""
        groups = self.ours.rows(self.fragments)
        terms = [(group.share, *self.ours.loss(self.ours._one, group)) for group in groups]
        total = sum(share * loss for share, loss, _ in terms)
        figures = sum(share * seen for share, _, seen in terms)
        moments = {}
        found = [self.ours._returns(fragment) for fragment in self.fragments]
        for scenario in (0, 1):
            mine = [a for (a, _), f in zip(found, self.fragments, strict=True) if f.scenario == scenario]
            joined = np.concatenate([a.ravel() for a in mine])
            moments[scenario] = joined.mean(), joined.std()
        standard = [
            (a - moments[f.scenario][0]) / moments[f.scenario][1]
            for (a, _), f in zip(found, self.fragments, strict=True)
        ]
        advantage = torch.zeros_like(self.batch[Postprocessing.ADVANTAGES])
        advantage[self.real] = torch.from_numpy(self.gather(standard))
        batch = dict(self.batch) | {Postprocessing.ADVANTAGES: advantage}
        stock = self.stock.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID,
            config=self.stock.config,
            batch=batch,
            fwd_out=self.stock_module.forward_train(batch),
        )
        return total, figures, stock


@pytest.fixture(scope="module", params=["discrete", "numbers"])
def both(request):
    return Both(request.param)


def test_the_experience_has_every_kind_of_end(both):
    done = np.concatenate([f.done.ravel() for f in both.fragments])
    terminated = np.concatenate([f.terminated.ravel() for f in both.fragments])
    assert terminated.sum() > 5
    assert (done & ~terminated).sum() > 5
    assert any(not f.done[-1].all() for f in both.fragments)


def test_value_targets(both):
    ours = both.gather([both.ours._returns(fragment)[1] for fragment in both.fragments])
    stock = both.batch[Postprocessing.VALUE_TARGETS][both.real].numpy()
    np.testing.assert_allclose(ours, stock, rtol=1e-5, atol=1e-5)
    assert ours.std() > 0.1


def test_targets_are_the_rows_targets_where_values_are_not_normalised(both):
    targets = [both.ours._returns(fragment)[1] for fragment in both.fragments]
    rows = both.ours.rows(both.fragments)
    # Tracks of four agents come first, then those of three; each group's rows keep the order of its fragments.
    for group, agents in zip(rows, (4, 3), strict=True):
        expected = [t.reshape(-1, agents) for t in targets if t.shape[2] == agents]
        np.testing.assert_array_equal(group.target.numpy(), np.concatenate(expected))


def test_advantages(both):
    """RLlib standardises over its phantom rows too, which changes mean and scale alone."""
    ours = both.gather([both.ours._returns(fragment)[0] for fragment in both.fragments])
    with torch.no_grad():
        values = both.stock_module.compute_values(both.batch)
    stock = (both.batch[Postprocessing.VALUE_TARGETS] - values)[both.real].numpy()
    np.testing.assert_allclose(ours, stock, rtol=1e-4, atol=1e-5)
    standardised = both.batch[Postprocessing.ADVANTAGES][both.real].numpy()
    np.testing.assert_allclose(
        (ours - ours.mean()) / ours.std(), (standardised - standardised.mean()) / standardised.std(), atol=1e-4
    )


def test_losses(both):
    total, figures, stock = both.losses()
    assert total.item() == pytest.approx(stock.item(), rel=1e-5)
    logged = both.stock.metrics.peek(DEFAULT_MODULE_ID)
    named = dict(zip(("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"), figures, strict=True))
    assert float(named["policy_loss"]) == pytest.approx(float(logged["policy_loss"]), rel=1e-4, abs=1e-6)
    assert float(named["value_loss"]) == pytest.approx(float(logged["vf_loss"]), rel=1e-5)
    assert float(named["entropy"]) == pytest.approx(float(logged["entropy"]), rel=1e-5)
    assert 0.05 < float(named["clip_fraction"]) < 0.95


def test_gradients(both):
    total, _, stock = both.losses()
    module = both.ours._one
    learned = {name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}
    names = list(learned)
    assert names == [name for name, _ in both.stock_module.named_parameters()]
    ours = torch.autograd.grad(total, list(learned.values()))
    theirs = torch.autograd.grad(stock, list(both.stock_module.parameters()))
    for name, a, b in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
