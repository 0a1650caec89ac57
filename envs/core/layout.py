"""Shapes of arrays: observations as flat vectors, and requests in the shape of their action space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.readings import consecutive_slices
from envs.core.world import Observation

if TYPE_CHECKING:
    from gymnasium import Space


class Layout:
    """Positions of an observation's parts in the flat vector that learners read.

    Args:
        shapes: part name → shape of one agent's part, in order.

    Attributes:
        size: length of one agent's vector.
        slices: part name → its slice of the vector.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        self.size, self.slices = sum(sizes.values()), consecutive_slices(sizes)
        self._rows = next(iter(self.shapes)) if [len(shape) for shape in self.shapes.values()] == [1] else None

    def flatten(self, observation: Observation) -> np.ndarray:
        """Parts ``(N, …)`` → float32 ``(N, size)``. A single float32 part of rank 1 is returned without a copy."""
        if self._rows is not None:  # the only part is flat already
            return np.asarray(observation[self._rows], dtype=np.float32)
        rows = len(next(iter(observation.values())))
        parts = [observation[name].reshape(rows, -1) for name in self.shapes]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def unflatten(self, flat: Any) -> dict[str, Any]:
        """``(…, size)`` → parts ``(…, *shape)``; works on numpy arrays and torch tensors alike."""
        lead = tuple(flat.shape[:-1])
        return {name: flat[..., self.slices[name]].reshape(lead + shape) for name, shape in self.shapes.items()}


def in_shape(asked: Any, space: Space[Any], name: str, agents: int | None = None) -> np.ndarray:
    """Requests in the shape of their action space, one row per agent; axes of length one may be missing or extra.

    Any other shape is refused. The guard would treat it as no request, and the controller would learn from, or be
    evaluated on, decisions that it did not take.

    Args:
        asked: request of one agent, or of all.
        space: action space of one agent.
        name: name of the request in error messages.
        agents: number of agents; None: the request of a single agent, without a leading axis.

    Raises:
        CityloopError: if the request is not numeric or has another shape.
    """
    shape = (space.shape or ()) if agents is None else (agents, *(space.shape or ()))
    try:
        given = np.asarray(asked)
    except ValueError:
        given = np.array(None)  # lists of unequal length
    if given.dtype.kind not in "biuf" or (given.shape != shape and long_axes(given.shape) != long_axes(shape)):
        found = " ".join(str(asked).split())[:60]
        row = "" if agents is None else ", a row an agent"
        raise CityloopError(f"{name} is {found}: give numbers in the shape {shape} of {space}{row}")
    return given if given.shape == shape else given.reshape(shape)


def long_axes(shape: tuple[int, ...]) -> list[int]:
    """Lengths of a shape's axes, without those of length one."""
    return [size for size in shape if size != 1]
