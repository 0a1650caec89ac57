"""Weights of a policy's network from the ONNX model that it was exported to: a bundle is all that ships of a run.

torch's exporter folds many weights, under names of no meaning: matrices are transposed, vectors fall into numbers. So a
network of the same kind whose weights are known is exported as well; which tensor of that model holds which weight is
then plain, and it is the same in the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from agents.card import PolicyCard
from agents.networks import NETWORK_OF, NETWORKS, PolicyNetwork
from agents.policy import MODEL, Policy
from envs.core.errors import CityloopError
from training.actions import ActionCodec
from training.export import TOLERANCE, Shapes, largest_difference, to_onnx
from training.validate import Weights

ANY = 3
"""A size that differs from site to site, for the export alone."""


def imported(bundle: Path, system: str | None = None) -> tuple[PolicyCard, Weights]:
    """A bundle's card, and the weights of its network by name.

    Args:
        bundle: its folder.
        system: refuse one of another system.

    Raises:
        CityloopError: if it is no bundle, was altered, or holds no network as this version exports it.
    """
    policy = Policy.load(bundle, system)
    model, card = _Model((bundle / MODEL).read_bytes()), policy.card
    shapes = {name: tuple(ANY if size is None else size for size in shape) for name, shape in card.observation.items()}
    for width in model.widths:
        try:
            network = _network(card, shapes, width)
        except KeyError:  # of a version whose observation had other parts
            break
        weights = _read(network, shapes, model)
        if weights is not None:
            network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
            if largest_difference(network.eval(), policy, shapes) <= TOLERANCE:
                return card, weights
    raise CityloopError(
        f"bundle {bundle} holds no network as this version exports it: begin with the run that made it, or with nothing"
    )


class _Model:
    """An ONNX model: its tensors by name, and what it does with them."""

    def __init__(self, content: bytes):
        import onnx
        from onnx import numpy_helper

        graph = onnx.load_model_from_string(content).graph
        self.tensors = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.steps = [(node.op_type, len(node.input)) for node in graph.node]
        self.inputs = [name for node in graph.node for name in node.input]

    @property
    def widths(self) -> list[int]:
        """What the width of its network may be: lengths of its vectors, the most frequent first."""
        lengths = [len(value) for value in self.tensors.values() if value.ndim == 1 and value.dtype == np.float32]
        return sorted(set(lengths), key=lambda n: (-lengths.count(n), n))

    def at(self, place: int) -> np.ndarray | None:
        """The tensor at an input, counted over all steps; None if it is computed."""
        return self.tensors.get(self.inputs[place])


def _network(card: PolicyCard, shapes: Shapes, width: int) -> PolicyNetwork:
    bounds = card.bounds
    space: spaces.Space[Any] = spaces.Discrete(2)
    if bounds is not None:
        space = spaces.Box(np.array(bounds.low, np.float32), np.array(bounds.high, np.float32))
    network: PolicyNetwork = NETWORKS[NETWORK_OF.get(card.system, "flat")](
        shapes, outputs=ActionCodec(space).inputs, width=width
    )
    return network


def _read(network: PolicyNetwork, shapes: Shapes, model: _Model) -> Weights | None:
    """The weights that a model has where a network's own are in its export; None if it is of another kind."""
    known = {name: torch.rand(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(known)
    twin = _Model(to_onnx(network.eval(), shapes))
    if model.steps != twin.steps:
        return None
    found = {name: _found(value.numpy(), twin, model) for name, value in known.items()}
    return found if all(found[name].shape == value.shape for name, value in known.items()) else None


def _found(known: np.ndarray, twin: _Model, model: _Model) -> np.ndarray:
    """What stands in a model where known values stand in its twin; the known ones themselves where they are nowhere.

    Tensors are found by which step takes them: those that happen to be equal are one in a model.
    """
    for turned in (False, True):
        place = _place(known.T if turned else known, twin)
        if place is not None and (value := model.at(place)) is not None:
            return np.array(value.T if turned else value)
    found = known.copy()
    for at in np.ndindex(known.shape):
        place = _place(known[at], twin)
        if place is not None and (value := model.at(place)) is not None:
            found[at] = value
    return found


def _place(value: np.ndarray, model: _Model) -> int | None:
    """The input that takes a tensor of this value."""
    name = next((name for name, tensor in model.tensors.items() if np.array_equal(tensor, value)), None)
    return model.inputs.index(name) if name in model.inputs else None
