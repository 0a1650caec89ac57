"""RLlib's PPO learner for arrays: a row is an environment step with all agents, so the critic runs once per step.

It computes the same loss and advantages as RLlib's stock learner (a test compares them), without cutting fragments into
agents' episodes. Scenarios of different sizes share a minibatch: each contributes the same fraction of its rows, in its
own shape, so nothing is padded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from torch import Tensor

from envs.core.errors import CityloopError
from training.actions import ActionCodec
from training.rllib.fragment import Fragment, Refusal, advantages
from training.rllib.module import STATE, CooperativeModule
from training.settings import Settings
from training.weights import Start, adopt

SHUFFLE, CRITIC_FIRST = "shuffle", "critic_first"
FIGURES = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")
"""Metrics of an update, each the mean over its minibatches."""

BARREN = 5
"""Updates in a row, every step of which was skipped, after which training ends."""

SKIPPED_MEND = "give a lower learning_rate, or a smaller reward_scale if rewards are large"

LOGGER = logging.getLogger(__name__)


@dataclass
class Rows:
    """Environment steps of scenarios of equal shape, ``B`` rows, as input of the loss.

    Attributes:
        batch: ``Columns.OBS`` (parts ``(B, N, …)``) and `STATE` ``(B, …)``.
        actions, logp, advantage, target: ``(B, N, width)`` and ``(B, N)``.
        weight: weight of each row's agents in the loss, ``(B, 1)``; the mean over a minibatch is about one.
        share: weight of these rows in the loss.
    """

    batch: dict[str, Any]
    actions: Tensor
    logp: Tensor
    advantage: Tensor
    target: Tensor
    weight: Tensor
    share: float

    def __len__(self) -> int:
        return len(self.logp)

    def take(self, index: Tensor) -> Rows:
        """Some of the rows."""
        parts = {name: part[index] for name, part in self.batch[Columns.OBS].items()}
        batch = {Columns.OBS: parts, STATE: self.batch[STATE][index]}
        names = ("actions", "logp", "advantage", "target", "weight")
        return replace(self, batch=batch, **{name: getattr(self, name)[index] for name in names})


@dataclass
class Minibatch:
    """A fraction of the rows of every shape, in the form that RLlib's loop expects."""

    policy_batches: dict[str, list[Rows]]


class CooperativeLearner(PPOTorchLearner):
    """Updates a `CooperativeModule` from `Fragment` objects.

    ``learner_config_dict``: ``settings`` (`Settings` as a dictionary), ``discounts`` (one a scenario) and
    ``action_space`` (of one agent).
    """

    def build(self) -> None:
        """Set up RLlib's parts, then ours."""
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # threads slow small networks down, several times on busy cores
        super().build()
        options = self.config.learner_config_dict
        self.settings = Settings.model_validate(options["settings"])
        self.codec = ActionCodec(options["action_space"])
        self._rng = np.random.default_rng([self.settings.seed, 5])
        self._figures: list[Tensor] = []
        self._explained = 0.0
        self._critic_first = 0
        self._skipped, self._barren, self._warned = 0, 0, False
        self.schedule(0.0)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam in one fused kernel instead of a dozen calls a tensor; weights that do not learn are left out."""
        only = self.config.learner_config_dict["settings"]["only"]
        for name, parameter in self._module[module_id].unwrapped().policy.named_parameters():
            parameter.requires_grad_(name.startswith(only))
        parameters = [p for p in self.get_parameters(self._module[module_id]) if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=self.config.lr, eps=1e-5, fused=True)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=parameters)

    def schedule(self, fraction: float) -> None:
        """Set learning rate and entropy weight for a fraction of the budget (RLlib's schedules count steps alone)."""
        now = self.settings.at(fraction)
        self.entropy = now["entropy"]
        for _, optimizer in self.get_optimizers_for_module(DEFAULT_MODULE_ID):
            for group in optimizer.param_groups:
                group["lr"] = now["learning_rate"]

    def begin(self, start: Start, labels: Sequence[str]) -> None:
        """Start from what another run has learned.

        Args:
            start: weights and moments of the other run.
            labels: labels of this run's scenarios; those that the other run had too keep the moments of their returns.
        """
        one = self._one
        for policy in (one.policy, one.averaged.module):
            adopt(policy, start.policy, start.run)
        self._critic_first = 0 if start.critic else self.settings.critic_first
        if start.critic:
            adopt(one.critic, start.critic, start.run)
            for k, label in enumerate(labels):
                for name, value in start.returns.get(label, {}).items():
                    getattr(one.returns, name)[k] = value

    # -- fragments → rows ---------------------------------------------------------------------------------------

    @property
    def _one(self) -> CooperativeModule:
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    @property
    def averaged_policy(self) -> torch.nn.Module:
        """The running mean of the policy, see `Settings.averaging`."""
        return self._one.averaged.module

    def rows(self, fragments: Sequence[Fragment]) -> list[Rows]:
        """Rows with advantages and targets from all fragments; fragments of equal shape are joined."""
        found = {k: self._returns(fragment) for k, fragment in enumerate(fragments)}
        moments = self._moments(fragments, found)
        groups: dict[Any, list[int]] = {}
        for k, fragment in enumerate(fragments):
            shapes = (tuple(fragment.layout.shapes.items()), fragment.observation.shape[2:], fragment.state.shape[2:])
            groups.setdefault(shapes, []).append(k)
        total = sum(_weight(f, self.settings.balance) for f in fragments)
        return [
            self._join([fragments[k] for k in mine], [found[k] for k in mine], moments, total)
            for mine in groups.values()
        ]

    def _returns(self, fragment: Fragment) -> tuple[np.ndarray, np.ndarray]:
        """Advantages and value targets ``(T, E, N)`` of a fragment, in units of the scaled reward."""
        mean, deviation = self._one.returns.of(fragment.scenario) if self.settings.normalise_values else (0.0, 1.0)
        with torch.no_grad():
            values = self._values(fragment, fragment.observation, fragment.state) * deviation + mean
            last = self._values(fragment, fragment.last_observation, fragment.last_state) * deviation + mean
        gamma = self.config.learner_config_dict["discounts"][fragment.scenario]
        return advantages(fragment, values, last, gamma, self.settings.gae_lambda)

    def _values(self, fragment: Fragment, observation: np.ndarray, state: np.ndarray) -> np.ndarray:
        lead = observation.shape[:-2]
        if not lead[0]:
            return np.zeros((*lead, observation.shape[-2]), np.float32)
        flat = _tensor(observation).flatten(0, len(lead) - 1)
        rows = _tensor(state).flatten(0, len(lead) - 1)
        values = self._one.compute_values({Columns.OBS: fragment.layout.unflatten(flat), STATE: rows})
        return values.numpy().reshape(*lead, -1)

    def _moments(
        self, fragments: Sequence[Fragment], found: Mapping[int, tuple[np.ndarray, np.ndarray]]
    ) -> dict[int, tuple[float, float, float, float]]:
        """Scenario → mean and deviation of its advantages, and of its returns (the running moments, updated)."""
        moments = {}
        explained = []
        for scenario in sorted({fragment.scenario for fragment in fragments}):
            mine = [found[k] for k, fragment in enumerate(fragments) if fragment.scenario == scenario]
            advantage = np.concatenate([a.ravel() for a, _ in mine])
            target = np.concatenate([t.ravel() for _, t in mine])
            explained.append(1.0 - advantage.var() / max(float(target.var()), 1e-8))
            if self.settings.normalise_values:
                self._one.returns.update(scenario, torch.from_numpy(target))
                scale = self._one.returns.of(scenario)
            else:
                scale = (0.0, 1.0)
            moments[scenario] = (float(advantage.mean()), max(float(advantage.std()), 1e-4), *scale)
        self._explained = float(np.mean(explained))
        return moments

    def _join(
        self,
        fragments: Sequence[Fragment],
        found: Sequence[tuple[np.ndarray, np.ndarray]],
        moments: Mapping[int, tuple[float, float, float, float]],
        total: float,
    ) -> Rows:
        """Fragments of one shape as rows of environment steps."""
        columns: dict[str, list[np.ndarray]] = {}
        weights = [_weight(fragment, self.settings.balance) for fragment in fragments]
        share, most = sum(weights) / total, self.settings.advantage_clip
        count = sum(len(fragment) for fragment in fragments)
        for fragment, (advantage, target), weight in zip(fragments, found, weights, strict=True):
            a, b, mean, deviation = moments[fragment.scenario]
            steps = len(fragment)
            each = np.full((steps, 1), weight / total / share * count / steps, np.float32)
            pieces = {
                "observation": fragment.observation[:-1],
                "state": fragment.state[:-1],
                "actions": fragment.actions,
                "logp": fragment.logp,
                "advantage": np.clip((advantage - a) / b, -most, most),
                "target": (target - mean) / deviation,
                "weight": each.reshape(fragment.done.shape[0], -1, 1),
            }
            for name, piece in pieces.items():
                columns.setdefault(name, []).append(
                    piece.reshape(steps, *piece.shape[2:]).astype(np.float32, copy=False)
                )
        whole = {
            name: _tensor(pieces[0] if len(pieces) == 1 else np.concatenate(pieces)) for name, pieces in columns.items()
        }
        parts = fragments[0].layout.unflatten(whole.pop("observation"))
        return Rows({Columns.OBS: parts, STATE: whole.pop("state")}, **whole, share=share)

    # -- rows → updates -----------------------------------------------------------------------------------------

    def _create_iterator_if_necessary(
        self, *, training_data: Any, num_epochs: int = 1, **_: Any
    ) -> Iterator[Minibatch]:
        fragments = training_data.episodes
        for each in fragments:
            if isinstance(each, Refusal):
                raise RuntimeError(each.sentence) if each.defect else CityloopError(each.sentence)
        decisions = sum(fragment.decisions for fragment in fragments)
        groups = self.rows(fragments)
        parts = max(1, round(decisions / self.settings.minibatch))
        parts = min(parts, max(map(len, groups)))  # rows are not split: with many agents, one may exceed a minibatch
        self._figures, self._skipped = [], 0
        return self._minibatches(groups, num_epochs, parts)

    def _minibatches(self, groups: Sequence[Rows], epochs: int, parts: int) -> Iterator[Minibatch]:
        """Minibatches of all epochs: rows in a new random order each, with an equal fraction of each group."""
        for _ in range(epochs):
            before = len(self._figures)
            shares = [np.array_split(self._rng.permutation(len(rows)), parts) for rows in groups]
            for k in range(parts):
                taken = [rows.take(torch.from_numpy(share[k])) for rows, share in zip(groups, shares, strict=True)]
                yield Minibatch({DEFAULT_MODULE_ID: taken})
            moved = torch.stack(self._figures[before:]).mean(dim=0)[FIGURES.index("approx_kl")]
            if moved > 1.5 * self.settings.target_kl:
                return

    def _update(self, batch: dict[str, list[Rows]], **_: Any) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
        """One gradient step on a minibatch."""
        module, total, figures = self._one, torch.zeros(()), torch.zeros(len(FIGURES))
        for rows in batch[DEFAULT_MODULE_ID]:
            if len(rows):
                loss, seen = self.loss(module, rows)
                total = total + rows.share * loss
                figures[:-1] += rows.share * seen
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), self.settings.grad_clip, foreach=True)
        if torch.isfinite(norm):  # one bad minibatch must not ruin a long run
            optimizer.step()
        else:
            self._skipped += 1
        figures[-1] = norm
        self._figures.append(figures)
        return None, {DEFAULT_MODULE_ID: total.detach()}, {}

    def loss(self, module: CooperativeModule, rows: Rows) -> tuple[Tensor, Tensor]:
        """PPO's clipped loss (Schulman et al., arXiv 1707.06347), and `FIGURES` but for the norm of the gradient."""
        clip = self.settings.clip
        outputs = module.policy(rows.batch[Columns.OBS])
        logp, entropy = self.codec.score(outputs, rows.actions)
        change = logp - rows.logp
        ratio = change.exp()
        gain = torch.min(rows.advantage * ratio, rows.advantage * ratio.clamp(1 - clip, 1 + clip))
        error = torch.nn.functional.huber_loss(
            module.compute_values(rows.batch), rows.target, reduction="none", delta=self.settings.value_huber
        )
        wanted = torch.zeros_like(gain) if self._critic_first else gain + self.entropy * entropy
        each = 2 * self.settings.value_weight * error - wanted  # Huber's has a half in it
        with torch.no_grad():
            # The low-variance estimator (r - 1) - log r of Schulman's note on approximating KL divergence.
            divergence = ratio - 1 - change
            clipped = ((ratio - 1).abs() > clip).float()
            columns = (-gain, 2 * error, entropy, divergence, clipped)
            figures = torch.stack([(column * rows.weight).mean() for column in columns])
        return (each * rows.weight).mean(), figures

    def after_gradient_based_update(self, *, timesteps: Mapping[str, Any]) -> None:
        """Update the mean of the weights, and log the update's metrics once.

        Raises:
            CityloopError: if the last `BARREN` updates learned nothing, because no gradient was finite.
        """
        self._count_skipped()
        self._critic_first = max(0, self._critic_first - 1)
        self._one.averaged.update_parameters(self._one.policy)
        means = torch.stack(self._figures).mean(dim=0).tolist()
        now = {**dict(zip(FIGURES, means, strict=True)), "explained_variance": self._explained}
        now["learning_rate"] = self.get_optimizer(DEFAULT_MODULE_ID).param_groups[0]["lr"]
        now["entropy_weight"], now["steps"] = self.entropy, len(self._figures)
        now["skipped_steps"] = self._skipped
        self.metrics.log_dict(now, key=DEFAULT_MODULE_ID, window=1)

    def _count_skipped(self) -> None:
        if self._skipped and not self._warned:
            self._warned = True
            LOGGER.warning(
                "%d of %d steps of an update were skipped, as the gradient was not finite; if this goes on, %s",
                self._skipped,
                len(self._figures),
                SKIPPED_MEND,
            )
        self._barren = self._barren + 1 if 0 < self._skipped == len(self._figures) else 0
        if self._barren >= BARREN:
            raise CityloopError(
                f"no gradient of the last {BARREN} updates was finite, so nothing was learned: {SKIPPED_MEND}"
            )

    def _log_metrics(self, batch: Any) -> None:
        """Nothing a minibatch: see `after_gradient_based_update`."""

    def _log_steps_trained_metrics(self, batch: Any) -> None:
        """Nothing a minibatch."""

    def _set_slicing_by_batch_id(self, batch: Any, *, value: bool) -> Any:
        """Rows are no sequences."""
        return batch

    # -- saving -------------------------------------------------------------------------------------------------

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, the generator for shuffling, and the remaining number of updates of the critic alone."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if components is None:
            state[SHUFFLE] = self._rng.bit_generator.state
            state[CRITIC_FIRST] = self._critic_first
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of `get_state`."""
        super().set_state(state)
        if SHUFFLE in state:
            self._rng.bit_generator.state = state[SHUFFLE]
        self._critic_first = int(state.get(CRITIC_FIRST, self._critic_first))


def _tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor; a read-only array, as Ray delivers from other processes, is copied."""
    return torch.from_numpy(np.require(array, requirements="W"))


def _weight(fragment: Fragment, balance: float) -> float:
    """A fragment's weight in the loss: number of decisions (balance 0), or equal for all scenarios (balance 1)."""
    return len(fragment) * (fragment.decisions / len(fragment)) ** (1 - balance)
