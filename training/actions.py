"""Action distributions from network outputs: discrete, continuous and mixed; sampled in numpy, scored in torch.

An action is a row of float32 numbers, in the order of the space's parts. A discrete part gives the index of a choice.
A bounded number is scaled to its range: -1 at the low end, 1 at the high end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

LOG_STD_RANGE = (-5.0, 1.0)
"""Bounds of the logarithm of a continuous action's standard deviation."""


@dataclass(frozen=True)
class _Choice:
    """One of ``inputs`` options, from as many logits."""

    inputs: int
    width: int = 1

    def sample(self, inputs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shifted = inputs - inputs.max(axis=-1, keepdims=True)
        logp = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        picked = (logp + rng.gumbel(size=inputs.shape)).argmax(axis=-1)[..., None]  # the Gumbel-max trick
        return picked.astype(np.float32), np.take_along_axis(logp, picked, axis=-1)[..., 0]

    def score(self, inputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        logp = torch.log_softmax(inputs, dim=-1)
        entropy = -(logp.exp() * logp).sum(dim=-1)
        return logp.gather(-1, actions.long()).squeeze(-1), entropy

    def best(self, inputs: np.ndarray) -> np.ndarray:
        return inputs.argmax(axis=-1)[..., None].astype(np.float32)


@dataclass(frozen=True)
class _Numbers:
    """``width`` independent normal variables, from their means and the logarithms of their standard deviations."""

    width: int

    @property
    def inputs(self) -> int:
        return 2 * self.width

    def sample(self, inputs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        mean, log_std = inputs[..., : self.width], np.clip(inputs[..., self.width :], *LOG_STD_RANGE)
        noise = rng.standard_normal(mean.shape)
        logp = -(0.5 * noise**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(axis=-1)
        return (mean + np.exp(log_std) * noise).astype(np.float32), logp

    def score(self, inputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = inputs[..., : self.width], inputs[..., self.width :].clamp(*LOG_STD_RANGE)
        away = (actions - mean) * torch.exp(-log_std)
        constant = 0.5 * math.log(2 * math.pi)
        logp = -(0.5 * away**2 + log_std + constant).sum(dim=-1)
        return logp, (log_std + constant + 0.5).sum(dim=-1)

    def best(self, inputs: np.ndarray) -> np.ndarray:
        return inputs[..., : self.width]


class ActionCodec:
    """Translation between an action space, a network's outputs, and requests to plants.

    Args:
        space: action space of one agent: Discrete, MultiDiscrete, a bounded Box of rank 1, or a Tuple or Dict of these.

    Attributes:
        inputs: number of network outputs that the distribution needs.
        width: length of an action's row.

    Raises:
        ValueError: if the space is of another kind.
    """

    def __init__(self, space: spaces.Space):
        self._parts: list[_Choice | _Numbers] = []
        self._lows: list[np.ndarray] = []
        self._halves: list[np.ndarray] = []
        self._scaled: list[np.ndarray] = []
        self._discrete = isinstance(space, spaces.Discrete)
        self._add(space)
        self.inputs = sum(part.inputs for part in self._parts)
        self.width = sum(part.width for part in self._parts)
        self._low, self._half = np.concatenate(self._lows), np.concatenate(self._halves)
        self._numbers = np.concatenate(self._scaled)

    def _add(self, space: spaces.Space) -> None:
        if isinstance(space, spaces.Discrete):
            self._part(_Choice(int(space.n)), np.array([space.start]), np.zeros(1))
        elif isinstance(space, spaces.MultiDiscrete):
            for n, start in zip(space.nvec.ravel(), space.start.ravel(), strict=True):
                self._part(_Choice(int(n)), np.array([start]), np.zeros(1))
        elif isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
            self._part(_Numbers(space.shape[0]), space.low, (space.high - space.low) / 2)
        elif isinstance(space, spaces.Tuple | spaces.Dict):
            for part in space.values() if isinstance(space, spaces.Dict) else space:
                self._add(part)
        else:
            raise ValueError(f"actions of {space} cannot be learned: give Discrete, bounded Box, or a mixture of them")

    def _part(self, part: _Choice | _Numbers, low: np.ndarray, half: np.ndarray) -> None:
        self._parts.append(part)
        self._lows.append(low)
        self._halves.append(half)
        self._scaled.append(np.full(part.width, isinstance(part, _Numbers)))

    def sample(self, inputs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw actions float32 ``(…, width)`` and their log-probabilities ``(…,)`` from outputs ``(…, inputs)``."""
        if len(self._parts) == 1:
            return self._parts[0].sample(inputs, rng)
        drawn = [part.sample(piece, rng) for part, piece in self._split(inputs, "inputs")]
        return np.concatenate([a for a, _ in drawn], axis=-1), np.sum([logp for _, logp in drawn], axis=0)

    def best(self, inputs: np.ndarray) -> np.ndarray:
        """The most probable actions ``(…, width)``."""
        return np.concatenate([part.best(piece) for part, piece in self._split(inputs, "inputs")], axis=-1)

    def score(self, inputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of actions ``(…, width)`` and entropies, both ``(…,)``."""
        if len(self._parts) == 1:
            return self._parts[0].score(inputs, actions)
        pieces = zip(self._split(inputs, "inputs"), self._split(actions, "width"), strict=True)
        scores = [part.score(outputs, rows) for (part, outputs), (_, rows) in pieces]
        logps, entropies = zip(*scores, strict=True)
        return torch.stack(logps).sum(dim=0), torch.stack(entropies).sum(dim=0)

    def requests(self, actions: np.ndarray) -> np.ndarray:
        """Requests to plants from actions: int64 ``(…,)`` if the space is Discrete, else float64 ``(…, width)``."""
        if self._discrete:
            return actions[..., 0].astype(np.int64) + self._low.astype(np.int64)
        scaled = self._low + (np.clip(actions, -1.0, 1.0) + 1.0) * self._half
        return np.where(self._numbers, scaled, self._low + actions).astype(np.float64)

    def changes(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Difference of actions ``(…, width)`` as a mean over parts, ``(…)`` from 0 to 1.

        A choice contributes 1 if it differs, a number the fraction of its range by which it moves.
        """
        moved = np.abs(np.clip(after, -1.0, 1.0) - np.clip(before, -1.0, 1.0)) / 2
        return np.where(self._numbers, moved, after != before).mean(axis=-1)

    def _split(self, rows, size: str) -> list:  # type: ignore[no-untyped-def]
        pieces, start = [], 0
        for part in self._parts:
            stop = start + getattr(part, size)
            pieces.append((part, rows[..., start:stop]))
            start = stop
        return pieces
