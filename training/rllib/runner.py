"""RLlib's environment runner for arrays: many plants of several scenarios, one forward pass, whole fragments.

It replaces RLlib's stock multi-agent runner, which spends about 150 µs of bookkeeping per agent and step. Plants are
`envs.core.vector.Vector` objects: simulators in processes of their own, or arrays in this one. They form two halves, so
that the simulators of one half step while the policy decides for the other.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    EPISODE_RETURN_MEAN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

from agents.networks import NOT_ALLOWED
from envs.core.errors import CityloopError
from envs.core.vector import Batch, Vector
from training.actions import ActionCodec
from training.rllib.fragment import Fragment, Refusal
from training.task import ACTION_RATE, INTERVENTION_RATE, KPI, LOST

OWNER, GENERATOR, PLANTS = "runner", "generator", "plants"
WINDOW = 20
"""Episodes over which training KPIs are averaged."""


class Track:
    """Plants of one scenario that step together, and the fragment that they fill."""

    def __init__(self, scenario: int, label: str, plants: Vector):
        self.scenario, self.label, self.plants = scenario, label, plants
        self.rows = plants.num_envs * plants.agents
        self.batch: Batch | None = None
        self.returns = np.zeros(plants.num_envs)
        self.interventions = 0
        self.decisions = 0

    def begin(self, length: int, width: int) -> None:
        """Start a new fragment at the current batch."""
        plants, steps = self.plants, (length, self.plants.num_envs)
        if self.batch is None:
            self.batch = plants.reset()
        each = (*steps, plants.agents)
        longer = (length + 1, plants.num_envs)
        self.fragment = Fragment(
            scenario=self.scenario,
            layout=plants.layout,
            observation=np.empty((*longer, plants.agents, plants.layout.size), np.float32),
            state=np.empty((*longer, *plants.state_shape), np.float32),
            actions=np.empty((*each, width), np.float32),
            logp=np.empty(each, np.float32),
            reward=np.empty(each, np.float32),
            done=np.zeros(steps, bool),
            terminated=np.zeros(steps, bool),
            locked=np.zeros(steps, bool),
            last_observation=np.empty((0, plants.agents, plants.layout.size), np.float32),
            last_state=np.empty((0, *plants.state_shape), np.float32),
        )
        self.interventions = 0
        self._last: list[tuple[np.ndarray, np.ndarray]] = []
        self._see(0)

    def _see(self, t: int) -> None:
        assert self.batch is not None
        self.fragment.observation[t], self.fragment.state[t] = self.batch.observation, self.batch.state
        self._check("observation", self.batch.observation)
        self._check("state", self.batch.state)

    def _check(self, what: str, values: np.ndarray, among: Any = True) -> None:
        """Refuse numbers ``(E, …)`` of some plants that are not finite: no gradient could be learned from them."""
        good = np.isfinite(values)
        if good.all():
            return
        bad = np.argwhere(~good & np.reshape(among, (-1, *[1] * (values.ndim - 1))))
        if not len(bad):
            return
        plant, *place = bad[0].tolist()
        if what == "observation":
            slices = self.plants.layout.slices
            part = next(name for name, span in slices.items() if span.start <= place[1] < span.stop)
            what = f"observation part {part!r}"
        whose = f"plant {plant}" if what == "state" else f"agent {place[0]} in plant {plant}"
        raise CityloopError(
            f"{self.label}: the {what} of {whose} is {values[tuple(bad[0])]} after {self.decisions} decisions: "
            "mend the world, the features or the reward of this system"
        )

    def receive(self, t: int, reward_scale: float) -> list[tuple[float, dict[str, float]]]:
        """Record the results of step ``t``, and return the returns and indicators of the episodes that ended.

        Raises:
            CityloopError: if a reward, an observation or a state is not finite.
        """
        batch = self.batch = self.plants.receive()
        self.decisions += 1
        self.fragment.reward[t] = batch.reward * reward_scale
        self._check("reward", self.fragment.reward[t])
        self.returns += batch.reward.mean(axis=1)
        self.interventions += int(batch.interventions.sum())
        self._see(t + 1)
        ended = []
        if batch.done.any():
            self.fragment.done[t] = batch.done
            if batch.terminated is not None:
                self.fragment.terminated[t] = batch.terminated & batch.done
            if batch.locked is not None:
                self.fragment.locked[t] = batch.locked & batch.done
            self._last.append((batch.last_observation[batch.done], batch.last_state[batch.done]))
            self._check("observation", batch.last_observation, batch.done)
            self._check("state", batch.last_state, batch.done)
            for k in np.flatnonzero(batch.done):
                ended.append((float(self.returns[k]), batch.kpis[k]))
                self.returns[k] = 0.0
        return ended

    def finish(self) -> Fragment:
        """The completed fragment."""
        if self._last:
            observations, states = zip(*self._last, strict=True)
            self.fragment.last_observation = np.concatenate(observations)
            self.fragment.last_state = np.concatenate(states)
        return self.fragment


class Half:
    """Tracks that share forward passes; their observations are padded with zeros to a common size.

    The padding is written once: every forward pass reads the same tensors, into which each track copies its rows.
    """

    def __init__(self, tracks: Sequence[Track]):
        self.tracks = tracks
        names = list(tracks[0].plants.layout.shapes)
        rows = sum(track.rows for track in tracks)
        self._arrays, self._places = {}, []
        for name in names:
            shapes = [track.plants.layout.shapes[name] for track in tracks]
            size = tuple(np.max(shapes, axis=0).tolist())
            self._arrays[name] = np.zeros((rows, *size), np.float32)
        self.parts = {name: torch.from_numpy(array) for name, array in self._arrays.items()}
        start = 0
        for track in tracks:
            span = slice(start, start + track.rows)
            self._places.append(span)
            start += track.rows

    def decide(self, t: int, module: Any, codec: ActionCodec, rng: np.random.Generator) -> None:
        """Draw the actions of all agents for step ``t``, and send them to the plants."""
        outputs = self._together(t, module) if module.policy.ACROSS else self._mixed(t, module)
        actions, logp = codec.sample(outputs, rng)
        requests = codec.requests(actions)
        for track, span in zip(self.tracks, self._places, strict=True):
            fragment = track.fragment
            fragment.actions[t] = actions[span].reshape(fragment.actions.shape[1:])
            fragment.logp[t] = logp[span].reshape(fragment.logp.shape[1:])
            track.plants.send(requests[span].reshape(*fragment.logp.shape[1:], *requests.shape[1:]))

    def _mixed(self, t: int, module: Any) -> np.ndarray:
        """Outputs ``(rows, inputs)`` of one forward pass over the rows of all tracks."""
        for track, span in zip(self.tracks, self._places, strict=True):
            flat = track.fragment.observation[t].reshape(track.rows, -1)
            for name, part in track.plants.layout.unflatten(flat).items():
                self._arrays[name][(span, *map(slice, part.shape[1:]))] = part
        with torch.no_grad():
            return module.policy(self.parts).numpy()

    def _together(self, t: int, module: Any) -> np.ndarray:
        """Outputs from one forward pass per track, with agents kept together; missing actions are padded as masked."""
        found = []
        for track in self.tracks:
            with torch.no_grad():
                parts = track.plants.layout.unflatten(torch.from_numpy(track.fragment.observation[t]))
                found.append(module.policy(parts).flatten(0, 1).numpy())
        width = max(outputs.shape[1] for outputs in found)
        padding = [((0, 0), (0, width - outputs.shape[1])) for outputs in found]
        return np.concatenate(
            [np.pad(outputs, pad, constant_values=NOT_ALLOWED) for outputs, pad in zip(found, padding, strict=True)]
        )


class BatchedRunner(EnvRunner, Checkpointable):
    """Samples fragments of fixed length.

    ``env_config``: ``plants`` (a list of `training.task.Plants`, one a scenario) and ``reward_scale``.
    """

    def __init__(self, *, config: Any, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        self._weights_seq_no = 0
        self._done = 0
        self._rng = np.random.default_rng([self._seed or 0, self.worker_index or 0])
        self._tracks: list[Track] = []
        self._halves: list[Half] = []
        self.module: Any = None
        self._codec = ActionCodec(config.action_space)
        if not self.worker_index and config.num_env_runners:
            self.make_module()  # other runners sample: this one only holds the weights
            return
        self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Start the plants."""
        self.stop()
        for k, plants in enumerate(self.config.env_config["plants"]):
            first = plants.seed + self._apart(k)
            for lot in np.array_split(np.arange(plants.num_envs), min(plants.lots, plants.num_envs)):
                self._tracks.append(Track(k, plants.label, plants.make(len(lot), first + int(lot[0]))))
        self._halves = [Half(tracks) for tracks in _balanced(self._tracks) if tracks]

    def _apart(self, scenario: int) -> int:
        """Offset of the plants' first seeds: runners that begin with equal seeds would play equal episodes for ever."""
        worker = self.worker_index or 0
        if worker <= 1 and not self._done:
            return 0
        return int(np.random.default_rng([self._seed or 0, worker, self._done, scenario]).integers(2**31))

    def go_on(self, done: int) -> None:
        """Begin other episodes than this runner's first ones, with other random draws for exploration.

        Checkpoints do not contain the state of a remote runner, nor does a runner that replaces another one know it.

        Args:
            done: number of iterations trained before.
        """
        if done:
            self._done = done
            self._rng = np.random.default_rng([self._seed or 0, self.worker_index or 0, done])
            self.make_env()

    def make_module(self) -> None:
        """Build the policy, without the critic."""
        spec = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()

    def get_spaces(self) -> dict[str, Any]:
        """Spaces of one agent, under the keys that RLlib expects."""
        spaces = (self.config.observation_space, self.config.action_space)
        return {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces, DEFAULT_MODULE_ID: spaces}

    def assert_healthy(self) -> None:
        """Raise an error unless plants and policy exist."""
        assert self._tracks
        assert self.module is not None

    def sample(self, **_: Any) -> list[Fragment] | list[Refusal]:
        """One fragment of every track. A remote runner that cannot go on sends the reason instead.

        RLlib would restart a remote runner that raises an error again and again, and keep the reason to itself.

        Raises:
            CityloopError: if the plants of this process cannot be used.
            Exception: any other that they raise in this process.
        """
        try:
            return self._sample()
        except Exception as error:
            if not self.worker_index:
                raise
            whole = self.config.total_train_batch_size  # RLlib would ask again until it has as many steps
            self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, whole, reduce="sum")
            self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, whole, reduce="lifetime_sum")
            usual = isinstance(error, CityloopError)
            return [Refusal(str(error)) if usual else Refusal(traceback.format_exc(), defect=True)]

    def _sample(self) -> list[Fragment]:
        length, scale = int(self.config.rollout_fragment_length), self.config.env_config["reward_scale"]
        for track in self._tracks:
            track.begin(length, self._codec.width)
        for half in self._halves:
            half.decide(0, self.module, self._codec, self._rng)
        for t in range(length):
            for half in self._halves:
                for track in half.tracks:
                    for value, kpis in track.receive(t, scale):
                        self._log_episode(track.label, value, kpis)
                if t + 1 < length:
                    half.decide(t + 1, self.module, self._codec, self._rng)
        fragments = [track.finish() for track in self._tracks]
        self._log(fragments)
        return fragments

    def _log_episode(self, label: str, value: float, kpis: Mapping[str, float]) -> None:
        self.metrics.log_value(EPISODE_RETURN_MEAN, value, window=WINDOW)
        for name, number in kpis.items():
            self.metrics.log_value((KPI, label, name), number, window=WINDOW)

    def _log(self, fragments: Sequence[Fragment]) -> None:
        steps, decisions = sum(map(len, fragments)), sum(fragment.decisions for fragment in fragments)
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum")
        self.num_env_steps_sampled_lifetime += steps
        changed = sum(track.interventions for track in self._tracks)
        self.metrics.log_value(INTERVENTION_RATE, changed / decisions, window=1)
        moved = [self._codec.changes(f.actions[:-1], f.actions[1:])[~f.done[:-1]] for f in fragments]  # within episodes
        if any(map(np.size, moved)):
            self.metrics.log_value(ACTION_RATE, float(np.concatenate(moved, axis=None).mean()), window=1)
        lost = sum(getattr(track.plants, "lost", 0) for track in self._tracks)
        self.metrics.log_value(LOST, lost, reduce="sum")  # over runners

    def get_metrics(self) -> Any:
        """Metrics logged since the last call."""
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Weights and counters; also the generator and the plants, unless only some components are requested."""
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if components is None:
            state[OWNER] = self.worker_index or 0
            state[GENERATOR] = self._rng.bit_generator.state
            state[PLANTS] = [
                None if track.batch is None else (track.plants.get_state(), track.returns.copy())
                for track in self._tracks
            ]
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore weights (unless they are older than the current ones), counters, the generator and the plants.

        Generator and plants are restored only from a state of the same runner. RLlib sends the state of the runner in
        the main process to every runner that replaces a lost one, and all of these would explore in the same way.
        """
        if COMPONENT_RL_MODULE in state:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            if number == 0 or number > self._weights_seq_no:
                weights = state[COMPONENT_RL_MODULE]
                weights = ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
                self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
            self._weights_seq_no = max(self._weights_seq_no, number)
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        if state.get(OWNER) != (self.worker_index or 0):
            return
        self._rng.bit_generator.state = state[GENERATOR]
        for track, saved in zip(self._tracks, state[PLANTS], strict=True):
            if saved is not None:
                track.batch = track.plants.set_state(saved[0])
                track.returns = saved[1].copy()

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """Arguments with which RLlib rebuilds this runner from a checkpoint."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """Components with a state of their own."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def stop(self) -> None:
        """Stop the plants."""
        for track in getattr(self, "_tracks", []):
            track.plants.close()
        self._tracks, self._halves = [], []


def _balanced(tracks: Sequence[Track]) -> tuple[list[Track], list[Track]]:
    """Two halves of about equally many rows."""
    halves: tuple[list[Track], list[Track]] = ([], [])
    sizes = [0, 0]
    for track in sorted(tracks, key=lambda track: -track.rows):
        lighter = int(sizes[1] < sizes[0])
        halves[lighter].append(track)
        sizes[lighter] += track.rows
    return halves
