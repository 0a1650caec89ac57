"""RLlib's PPO with the array-based runner and learner of this package, and a module with a central critic.

The algorithm, checkpoints, placement of runners, metrics and the order of a training step remain RLlib's.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from agents.networks import NETWORK_OF, NETWORKS, PolicyNetwork
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from envs.core.sockets import socket_folder
from envs.core.vector import Vector, make_vector
from training.actions import ActionCodec
from training.learner import CooperativeLearner
from training.module import CooperativeModule
from training.runner import BatchedRunner, Plants
from training.settings import PROCESSES, Settings
from training.start import Start

LOGGER = logging.getLogger(__name__)


class Learner(Protocol):
    """Interface of a learning algorithm to a run: it samples, learns, and saves and restores its full state."""

    def update(self, fraction: float) -> Mapping[str, Any]:
        """Sample and learn once.

        Args:
            fraction: fraction of the budget that is spent, for schedules.

        Returns:
            Metrics in the form that `training.journal` reads.
        """
        ...

    def begin(self, start: Start) -> None:
        """Start from what another run has learned."""
        ...

    @property
    def policy(self) -> PolicyNetwork:
        """The policy as it would be stored now."""
        ...

    def save(self, path: Path) -> None:
        """Write the full state that determines further training into a new folder."""
        ...

    def restore(self, path: Path) -> None:
        """Continue from a folder that `save` wrote."""
        ...

    def stop(self) -> None:
        """Stop the plants."""
        ...


SOCKET = "ray/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""Pattern of Ray's longest socket path, relative to the temporary folder."""


class QuietPPO(PPO):
    """RLlib's PPO that keeps its files in the run's folder instead of ``~/ray_results``."""

    def _setup_logdir(self) -> None:
        self._logdir = str(self.config["env_config"]["folder"])


@contextmanager
def ray_session(cpus: int, least: int = 0) -> Iterator[None]:
    """A private Ray on this machine, without dashboard and log output; or the Ray that already runs in this process.

    Args:
        cpus: cores of a private Ray, a count of places for processes.
        least: cores without which nothing can begin; a Ray that already runs may have fewer, and a warning says so.

    Raises:
        CityloopError: if Ray does not start, e.g. because a busy machine exceeds Ray's deadline of 30 s.
    """
    import ray
    from ray._private import ray_constants

    if ray.is_initialized():
        _warn_of_few(int(ray.cluster_resources().get("CPU", 0)), least)
        yield
        return
    # A trainer needs no access from the network, so Ray's servers listen on loopback.
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.setdefault("RAY_TMPDIR", socket_folder(SOCKET))
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    usual = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except SystemExit:  # how Ray takes SIGTERM while it starts
        with _stopped_in_order(usual):
            signal.raise_signal(signal.SIGTERM)
        raise
    except Exception as error:  # Ray raises no more specific error
        said = str(error).strip().rstrip(".") or type(error).__name__
        raise CityloopError(
            f"Ray did not start ({said.splitlines()[-1]}): see to memory, to how many processes may run, 'ulimit -u', "
            "and to what else is at work, and try again"
        ) from None
    try:
        with _stopped_in_order(usual):
            yield
    finally:
        with _undisturbed():
            ray.shutdown()


def _warn_of_few(cpus: int, least: int) -> None:
    """Say why nothing happens. It is no error, because a cluster may get more machines on demand."""
    if cpus < least:
        LOGGER.warning(
            "the Ray that runs in this process has num_cpus=%d and this needs %d, so it waits for more: "
            "end it by ray.shutdown(), or start it with num_cpus=%d",
            cpus,
            least,
            least,
        )


@contextmanager
def _stopped_in_order(usual: Any) -> Iterator[None]:
    """Let SIGTERM interrupt. Ray's own handler prints a stack trace and leaves plants running.

    Args:
        usual: handler from before Ray's, which is used if it is a function; otherwise, the signal is like Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return
    signal.signal(signal.SIGTERM, usual if callable(usual) else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if usual is None else usual)  # None: not set from Python


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM. A second one would interrupt Ray's shutdown, and leave processes of Ray running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@dataclass(frozen=True)
class Task:
    """A learning task: all facts about the plants that an algorithm needs.

    Attributes:
        plants: one entry per scenario.
        shapes: part of the observation → shape of one agent's part, the largest of all scenarios.
        state_columns: number of columns of the plants' state.
        action_space: action space of one agent, the largest of all scenarios.
        network: a key of `agents.networks.NETWORKS`.
        agents: number of agents in each scenario.
        discounts: discount factor per decision in each scenario.
    """

    plants: Sequence[Plants]
    shapes: Mapping[str, tuple[int, ...]]
    state_columns: int
    action_space: spaces.Space
    network: str
    agents: Sequence[int]
    discounts: Sequence[float]


class _Maker:
    """Makes the plants of a scenario, here or in another process."""

    def __init__(self, scenario: Scenario):
        self.scenario = scenario

    def __call__(self, num_envs: int, seed: int) -> Vector:
        try:
            first = self.scenario.seeds.train.wrapped(seed, num_envs)
        except CityloopError as error:
            raise CityloopError(f"{self.scenario.ref}: training {error}: set fewer workers, or give it more") from None
        return make_vector(self.scenario, num_envs, first)


def task_of(scenarios: Sequence[Scenario], settings: Settings) -> Task:
    """The task of training on scenarios of one system.

    Raises:
        CityloopError: if they cannot share a policy, one is reserved for tests, too many processes would be needed, or
            no weight of the policy would learn.
    """
    check_together(scenarios)
    with ExitStack() as stack:
        task = _task(scenarios, [stack.enter_context(closing(make_loop(each))) for each in scenarios], settings)
    if settings.only:
        _check_only(task, settings)
    return task


def check_together(scenarios: Sequence[Scenario]) -> None:
    """Refuse scenarios that cannot be trained on, or not together.

    Raises:
        CityloopError: naming the one that cannot.
    """
    if len({scenario.system for scenario in scenarios}) != 1:
        raise CityloopError("scenarios of several systems cannot share a policy: give scenarios of one system")
    held_out = next((scenario for scenario in scenarios if scenario.held_out), None)
    if held_out is not None:
        raise CityloopError(f"scenario {held_out.ref} is for tests alone: train on another")
    headlines = {get_system(scenario.system).headline(scenario) for scenario in scenarios}
    if len(headlines) > 1:
        raise CityloopError(
            f"scenarios that are judged by {' and by '.join(sorted(headlines))} cannot share a score: train on either"
        )
    labels = [scenario.label for scenario in scenarios]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise CityloopError(f"scenario {twice} is given twice: give each once, or rename one")


def _task(scenarios: Sequence[Scenario], loops: Sequence[ControlLoop], settings: Settings) -> Task:
    network = NETWORK_OF.get(scenarios[0].system, "flat")
    shortest = min(scenario.decision_s for scenario in scenarios)
    return Task(
        plants=[_plants(loop, settings) for loop in loops],
        shapes=_shapes([loop.layout.shapes for loop in loops], network),
        state_columns=loops[0].features.state_shape[1],
        action_space=max((loop.action_space for loop in loops), key=lambda space: ActionCodec(space).inputs),
        network=network,
        agents=[len(loop.site.agents) for loop in loops],
        discounts=[settings.gamma ** (scenario.decision_s / shortest) for scenario in scenarios],
    )


def _check_only(task: Task, settings: Settings) -> None:
    """Refuse a prefix with which no weight of the policy begins."""
    outputs = ActionCodec(task.action_space).inputs
    network: PolicyNetwork = NETWORKS[task.network](dict(task.shapes), outputs=outputs, width=settings.width)
    names = [name for name, _ in network.named_parameters()]
    if not any(name.startswith(settings.only) for name in names):
        layers = ", ".join(sorted({name.partition(".")[0] for name in names}))
        raise CityloopError(
            f"only is {settings.only!r}, and no weight of the policy begins with it: give one of {layers}"
        )


def _plants(loop: ControlLoop, settings: Settings) -> Plants:
    """The plants of a scenario; plants in processes of their own are split into two lots that take turns."""
    scenario, processes = loop.scenario, loop.system.make_vector is None
    if processes and settings.workers > PROCESSES:
        where = f"plants of {scenario.system} are processes, {PROCESSES} at most"
        raise CityloopError(f"workers is {settings.workers}: {where}")
    count = settings.plants(len(loop.site.agents))
    first = scenario.seeds.train.first + settings.seed * count
    return Plants(scenario.label, _Maker(scenario), count, first, 2 if processes else 1)


def _shapes(each: Sequence[Mapping[str, tuple[int, ...]]], network: str) -> dict[str, tuple[int, ...]]:
    """Part of the observation → the largest shape that it has anywhere."""
    largest = {name: tuple(np.max([shapes[name] for shapes in each], axis=0).tolist()) for name in each[0]}
    if network == "flat" and any(shapes != largest for shapes in each):
        raise CityloopError(
            "these scenarios' observations differ in size, and the flat network fits one size only: train on one"
        )
    return largest


class Ppo:
    """RLlib's PPO as a `Learner`.

    Args:
        task: the learning task.
        scenarios: not used: the task has their plants.
        settings: hyperparameters.
        folder: folder for RLlib's files.
    """

    def __init__(self, task: Task, scenarios: Sequence[Scenario], settings: Settings, folder: Path):
        self._algorithm = build_algorithm(task, settings, folder)
        self._labels = [plants.label for plants in task.plants]

    def begin(self, start: Start) -> None:
        """See `Learner.begin`; the critic goes on as well, if there was one."""
        self._algorithm.learner_group.foreach_learner(lambda learner: learner.begin(start, self._labels))
        share_weights(self._algorithm)

    def update(self, fraction: float) -> Mapping[str, Any]:
        """See `Learner.update`."""
        set_schedule(self._algorithm, fraction)
        result: Mapping[str, Any] = self._algorithm.train()
        return result

    @property
    def policy(self) -> PolicyNetwork:
        """See `Learner.policy`."""
        return learned_policy(self._algorithm)

    def save(self, path: Path) -> None:
        """See `Learner.save`."""
        self._algorithm.save_to_path(str(path))

    def restore(self, path: Path) -> None:
        """See `Learner.restore`."""
        restore(self._algorithm, path)

    def stop(self) -> None:
        """See `Learner.stop`."""
        self._algorithm.stop()


def build_algorithm(task: Task, settings: Settings, folder: Path) -> PPO:
    """RLlib's algorithm for a task; see `configure`."""
    return configure(task, settings, folder).build_algo()


def configure(task: Task, settings: Settings, folder: Path) -> PPOConfig:
    """RLlib's configuration for a task.

    Args:
        task: the learning task.
        settings: hyperparameters.
        folder: folder for RLlib's files.
    """
    model = {
        "shapes": dict(task.shapes),
        "outputs": ActionCodec(task.action_space).inputs,
        "columns": task.state_columns,
        "network": task.network,
        "width": settings.width,
        "central": settings.algorithm == "mappo",
        "scenarios": len(task.plants),
        "averaging": settings.averaging,
    }
    steps = settings.fragment * sum(plants.num_envs for plants in task.plants) * max(1, settings.runners)
    return (
        PPOConfig(algo_class=QuietPPO)
        .environment(
            env="cityloop",
            observation_space=spaces.Box(-np.inf, np.inf, (1,), np.float32),  # never used: observations are parts
            action_space=task.action_space,
            env_config={
                "plants": list(task.plants),
                "reward_scale": settings.reward_scale,
                "folder": str(folder.resolve()),
            },
            disable_env_checking=True,
        )
        .env_runners(
            env_runner_cls=BatchedRunner,
            num_env_runners=settings.runners,
            rollout_fragment_length=settings.fragment,
            create_local_env_runner=True,
            sample_timeout_s=3600.0,  # RLlib drops what takes longer than a minute; deaths are noticed at once
        )
        .callbacks(on_env_runners_recreated=_recreated)
        .fault_tolerance(restart_failed_env_runners=True, ignore_env_runner_failures=False)
        .learners(
            num_learners=0,
            learner_class=CooperativeLearner,
            add_default_connectors_to_learner_pipeline=False,
            learner_config_dict={
                "settings": settings.model_dump(),
                "discounts": list(task.discounts),
                "action_space": task.action_space,
            },
        )
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CooperativeModule, model_config=model))
        .training(
            train_batch_size=steps,
            minibatch_size=steps,  # our learner cuts its own, see `Settings.minibatch`
            num_epochs=settings.epochs,
            lr=settings.learning_rate,
            gamma=settings.gamma,
            lambda_=settings.gae_lambda,
            use_kl_loss=False,
        )
        .debugging(seed=settings.seed, log_level="ERROR")
    )


def set_schedule(algorithm: PPO, fraction: float) -> None:
    """Set the scheduled settings for a fraction of the budget that is spent."""
    algorithm.learner_group.foreach_learner(lambda learner: learner.schedule(fraction))


def learned_policy(algorithm: PPO) -> PolicyNetwork:
    """The policy as it would be stored now: the running mean of the weights."""
    found = algorithm.learner_group.foreach_learner(lambda learner: learner.averaged_policy)
    policy: PolicyNetwork = next(iter(found)).get()
    return policy


def restore(algorithm: PPO, checkpoint: Path) -> None:
    """Restore a checkpoint of RLlib, and give its weights to every runner."""
    algorithm.restore_from_path(str(checkpoint))
    share_weights(algorithm)
    go_on(algorithm)


def go_on(algorithm: PPO, runners: Sequence[int] | None = None) -> None:
    """Let remote runners continue with other episodes than their first; see `BatchedRunner.go_on`.

    Args:
        algorithm: the algorithm.
        runners: indices of the runners; None: all.
    """
    algorithm.env_runner_group.foreach_env_runner(
        "go_on", kwargs={"done": algorithm.iteration}, remote_worker_ids=runners, local_env_runner=False
    )


def _recreated(*, algorithm: PPO, env_runner_indices: Sequence[int], **_: Any) -> None:
    go_on(algorithm, list(env_runner_indices))


def share_weights(algorithm: PPO) -> None:
    """Give every runner the learner's weights, and wait for it.

    RLlib 2.60 lets remote runners sample with their initial weights after a restore: it drops the message that brings
    them the saved ones while an earlier one is on its way.
    """
    path = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    weights = algorithm.learner_group.get_state(components=path, inference_only=True)[COMPONENT_LEARNER]
    state = {COMPONENT_RL_MODULE: weights[COMPONENT_RL_MODULE]}  # no sequence number: always accepted
    algorithm.env_runner.set_state(state)
    algorithm.env_runner_group.foreach_env_runner("set_state", kwargs={"state": state}, local_env_runner=False)
