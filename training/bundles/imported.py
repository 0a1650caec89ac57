"""Recovery of a policy network's weights from its ONNX export, because runs ship as bundles only.

torch's exporter transforms many weights and gives them meaningless names: matrices are transposed, vectors are split
into numbers. Therefore a network of the same architecture with known weights is exported as well. Its model shows which
tensor holds which weight, and the mapping is the same in the given model.
"""

from __future__ import annotations

from itertools import product
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
from training.bundles.export import TOLERANCE, Shapes, largest_difference, to_onnx
from training.weights import Weights

ANY = 3
"""Value for sizes that differ from site to site, used only in the export."""


def imported(bundle: Path, system: str | None = None) -> tuple[PolicyCard, Weights]:
    """A bundle's card, and the weights of its network by name.

    Args:
        bundle: folder of the bundle.
        system: system of which the bundle must be.

    Raises:
        CityloopError: if the folder is not a bundle, was altered, is of another system, or holds a network that this
            version does not export in the same way.
    """
    policy = Policy.load(bundle, system)
    model, card = _Model((bundle / MODEL).read_bytes()), policy.card
    shapes = {name: tuple(ANY if size is None else size for size in shape) for name, shape in card.observation.items()}
    for width, older in product(model.widths, (False, True)):
        try:
            network = _network(card, shapes, width)
        except KeyError:  # of a version with other parts of the observation
            break
        if older and not network.ADDED:
            continue
        weights = _read(network.older() if older else network, shapes, model)
        if weights is not None:
            network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
            if largest_difference(network.eval(), policy, shapes) <= TOLERANCE:
                return card, weights
    raise CityloopError(
        f"bundle {bundle} holds no network as this version exports it: begin with the run that made it, or with nothing"
    )


class _Model:
    """An ONNX model: its tensors by name, and its nodes."""

    def __init__(self, content: bytes):
        import onnx
        from onnx import numpy_helper

        graph = onnx.load_model_from_string(content).graph
        self.tensors = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.steps = [(node.op_type, len(node.input)) for node in graph.node]
        self.inputs = [name for node in graph.node for name in node.input]

    @property
    def widths(self) -> list[int]:
        """Possible widths of the network: lengths of its vectors, the most frequent first."""
        lengths = [len(value) for value in self.tensors.values() if value.ndim == 1 and value.dtype == np.float32]
        return sorted(set(lengths), key=lambda n: (-lengths.count(n), n))

    def at(self, place: int) -> np.ndarray | None:
        """The tensor at an input, numbered over all nodes; None if it is computed."""
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
    """Weights of a model, located by the export of a network with known weights; None if the architectures differ."""
    known = {name: torch.rand(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(known)
    twin = _Model(to_onnx(network.eval(), shapes))
    if model.steps != twin.steps:
        return None
    found = {name: _found(value.numpy(), twin, model) for name, value in known.items()}
    return found if all(found[name].shape == value.shape for name, value in known.items()) else None


def _found(known: np.ndarray, twin: _Model, model: _Model) -> np.ndarray:
    """Values in a model at the positions of known values in its twin; the known values where they do not occur.

    Tensors are identified by the node that uses them, because a model stores equal tensors once.
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
