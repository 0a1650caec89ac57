"""Weights of policies: their files, networks that take them, and what a run has learned for others to start with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from agents.networks import NETWORKS, PolicyNetwork
from envs.core.errors import CityloopError
from envs.core.machine.files import write_whole

WEIGHTS = "weights.npz"

Weights = Mapping[str, np.ndarray]
"""Name → weights of a policy."""


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


def read_weights(path: Path) -> Weights:
    """Plain weights that `write_weights` wrote.

    Raises:
        CityloopError: if the file is truncated or altered.
    """
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, BadZipFile) as error:
        raise CityloopError(
            f"file {path} holds no weights ({type(error).__name__}): it was altered or cut off; choose another policy "
            "by --update"
        ) from None


def write_weights(path: Path, policy: torch.nn.Module) -> None:
    """Write a policy's plain weights (no pickle)."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value.detach().cpu().numpy() for name, value in policy.state_dict().items()})
    write_whole(path, buffer.getvalue())


def load_network(
    network: str, width: int, weights: Weights, shapes: Mapping[str, tuple[int, ...]], outputs: int
) -> PolicyNetwork:
    """A policy network with weights; those that were added since then (`PolicyNetwork.ADDED`) are as in a new one."""
    policy: PolicyNetwork = NETWORKS[network](shapes, outputs=outputs, width=width)
    added = {name: value for name, value in policy.state_dict().items() if name in policy.ADDED}
    policy.load_state_dict(added | {key: torch.from_numpy(value) for key, value in weights.items()})
    return policy.eval()


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
