"""Starting a run from the weights of another: to tune a policy to a new place, or to continue with more scenarios.

The bundle of a run can replace the run itself: it holds the policy, but not the critic.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.shipped import CARD
from envs.core.errors import CityloopError
from envs.core.scenario import Scenario, read_yaml
from training.tracking.stored import stored_scenario
from training.validate import Weights, kept

LOGGER = logging.getLogger(__name__)

MODULE = Path("learner_group/learner/rl_module/default_policy/module_state.pkl")
"""Path of the weights in a checkpoint of RLlib."""


@dataclass(frozen=True)
class Start:
    """Weights that a run has learned.

    Attributes:
        run: folder of the run, or of the bundle.
        policy: weights of its best policy, or of another that it stored.
        decisions: number of decisions on which they were trained.
        command: command lines of the run.
        scenarios: system and label of every scenario that it was trained on → hash of that scenario.
        critic: weights of its critic; empty if there is none.
        returns: label of a scenario → moments of its returns (fields of `training.rllib.module.RunningMoments`).
    """

    run: Path
    policy: Weights
    decisions: int
    command: str
    scenarios: Mapping[str, str] = field(default_factory=dict)
    critic: Weights = field(default_factory=dict)
    returns: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read_start(run: Path, update: int | None = None, system: str | None = None) -> Start:
    """Read the weights of a run. Like `cityloop train --resume`, it trusts the user's own folder, which has a pickle.

    Args:
        run: folder of the run, or of a bundle.
        update: number of the update after which the policy was validated; None: the best policy. The critic is always
            the last one.
        system: system of which a bundle must be.

    Raises:
        CityloopError: if there is no such policy, or the folder is truncated or of an incompatible version.
    """
    if (run / CARD).is_file():
        return _of_bundle(run, update, system)
    policy, facts = kept(run, update)
    content = read_yaml(run / "config.yaml")
    check_whole(content, str(run), "scenarios")
    before = content.get("start", {})
    decisions = before.get("decisions", 0) + facts["agent_steps"]
    places = [_scenario(plain, run) for plain in content["scenarios"]]
    known = before.get("scenarios", {}) | hashes_of(content, [place for place in places if place is not None])
    critic, returns = _critic(run, ["" if place is None else place.label for place in places])
    return Start(run, policy, decisions, content["command"], known, critic, returns)


def _of_bundle(bundle: Path, update: int | None, system: str | None) -> Start:
    if update is not None:
        raise CityloopError(f"update is {update}, and bundle {bundle} holds one policy: leave it out")
    from training.bundles.imported import imported  # deferred: it needs the imports of a training

    card, weights = imported(bundle, system)
    return Start(bundle, weights, card.training.decisions, card.training.command, card.training.scenarios)


def trained_on(scenarios: Sequence[Scenario]) -> dict[str, str]:
    """System and label of each scenario → its hash, as on a card."""
    return {f"{scenario.system}/{scenario.label}": scenario.hash for scenario in scenarios}


def hashes_of(content: Mapping[str, Any], scenarios: Sequence[Scenario]) -> dict[str, str]:
    """`trained_on` of a run as it began, by its ``config.yaml``: files of a scenario may have changed since then.

    Args:
        content: the ``config.yaml``.
        scenarios: the run's scenarios as they are now, which stand for those of runs of earlier versions.
    """
    return content.get("hashes") or trained_on(scenarios)


def check_whole(content: Mapping[str, Any], run: str, *keys: str) -> None:
    """Check that a run's ``config.yaml`` has the given keys.

    Raises:
        CityloopError: if one is missing.
    """
    if not set(keys) <= content.keys():
        raise CityloopError(
            f"run {run} has a config.yaml that was cut off, or made by another version of the trainer: train it anew"
        )


def _critic(run: Path, labels: list[str]) -> tuple[Weights, dict[str, dict[str, float]]]:
    """Weights of the critic in the last checkpoint, and moments of returns.

    Both are empty unless the run is PPO's, or if its checkpoint cannot be read: a new critic takes its place.
    """
    pointer = run / "checkpoints" / "latest"
    file = pointer.parent / pointer.read_text().strip() / MODULE if pointer.is_file() else pointer
    if file == pointer or not file.is_file():
        return {}, {}
    try:
        state = pickle.loads(file.read_bytes())
        critic, returns = _named(state, "critic."), _named(state, "returns.")
        moments = {label: {name: float(value[k]) for name, value in returns.items()} for k, label in enumerate(labels)}
    except Exception as error:  # pickle raises different errors for truncated files
        LOGGER.warning(
            "%s cannot be read (%s): it was altered or cut off, so a new critic learns first",
            file,
            type(error).__name__,
        )
        return {}, {}
    return critic, moments


def _named(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _scenario(plain: Mapping[str, Any], run: Path) -> Scenario | None:
    """A scenario in ``config.yaml``; None if it can no longer be read, e.g. because its files are gone."""
    try:
        return stored_scenario(plain, str(run))
    except CityloopError:
        return None


def adopt(network: torch.nn.Module, weights: Weights, run: Path) -> None:
    """Copy weights by name. Inputs that were appended to a layer since then start with zero weights, and weights
    that were added (`PolicyNetwork.ADDED`) as they are.

    Raises:
        CityloopError: if the networks differ in another way.
    """
    grown = {}
    for name, tensor in network.state_dict().items():
        if name not in weights and name in getattr(network, "ADDED", ()):
            grown[name] = tensor
            continue
        old = torch.from_numpy(np.asarray(weights[name])) if name in weights else torch.empty(0)
        more = old.ndim == tensor.ndim > 1 and old.shape[:-1] == tensor.shape[:-1] and old.shape[-1] < tensor.shape[-1]
        if old.shape != tensor.shape and not more:
            raise CityloopError(
                f"{run} learned another network ({name} is {tuple(old.shape) or 'missing'}, {tuple(tensor.shape)} is "
                "needed): give a run of this system and --algo, and the same --hyper width"
            )
        grown[name] = torch.nn.functional.pad(old, (0, tensor.shape[-1] - old.shape[-1])) if more else old
    network.load_state_dict(grown)
