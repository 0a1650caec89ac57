"""How to train: every hyperparameter and its default, and the algorithms that they make up."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal

from pydantic import Field

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen

Algorithm = Literal["mappo", "ippo", "backprop", "evolution", "sb3"]

ALGORITHMS: dict[str, str] = {
    "mappo": "PPO, shared policy, central critic (MAPPO)",
    "ippo": "PPO, shared policy, a critic that sees one agent alone (IPPO)",
    "backprop": "back-propagation through the world, shared policy",
    "evolution": "evolution strategies, shared policy",
    "sb3": "PPO, stable-baselines3",
}
"""Name → what it is. The first two share every line of code, a critic's view is the only difference; ``backprop`` is
for systems whose physics is arrays (`training.backprop`), ``evolution`` for plants that answer slowly
(`training.evolution`); the last is PPO's reference (`training.reference`)."""


PROCESSES = 256
"""Plants that get a process each, at most."""


class Settings(Frozen):
    """How to train. RLlib's own defaults do not suit rewards on a city's scale.

    Attributes:
        algorithm: a key of `ALGORITHMS`.
        seed: of weights, exploration and the first training episode.
        workers: plants of each scenario that are simulated at once: a process each, at most `PROCESSES`, unless they
            are arrays in this process.
        population: perturbed policies that ``evolution`` compares in an update, in pairs.
        noise: how far it perturbs them, in proportion to the weights at the start.
        rows: agents' decisions a step that each scenario brings at least: those with few agents get more plants.
        runners: Ray actors that sample, each with plants of its own; 0: this process samples.
        fragment: decisions of each plant between two updates; of ``backprop``, what a gradient reaches back over.
        feedback: of ``backprop``, how much of a gradient passes through what a policy sees of the plant. In a loop that
            is closed so often, all of it may grow without bound over a long window; 0: through the plant alone.
        width: of the networks' hidden layers.
        gamma: discount a decision, at the shortest decision interval of the run's scenarios. A scenario that decides
            k times as seldom is discounted by ``gamma**k``, so that a second is worth the same everywhere.
        gae_lambda: decay of generalised advantage estimation.
        learning_rate: at the start.
        learning_rate_end: at the end of the budget; linear between.
        clip: PPO's clip range.
        entropy: weight of the entropy bonus, at the start.
        entropy_end: the same at the end of the budget; linear between.
        epochs: passes over each batch, at most.
        advantage_clip: advantages are kept within so many standard deviations: a gridlock shall not drown all else.
        target_kl: no further pass once an epoch moved the policy by more than 1.5 times this (mean KL divergence).
        minibatch: agent-decisions a gradient step.
        grad_clip: largest norm of a gradient.
        value_weight: of the critic's loss.
        value_huber: where the critic's loss turns from square to linear, in standard deviations of the returns.
        normalise_values: whether the critic learns returns in standard deviations of each scenario's own (running).
        reward_scale: rewards are multiplied by it, to keep values near one.
        averaging: of the policy that is validated and kept, the running mean of the learned weights: how much of it an
            update leaves. Single updates swing; their mean does not. 0: the latest weights.
        balance: 0: every decision counts alike, so scenarios with many agents dominate; 1: every scenario counts alike.
        validate_every: updates between two validations.
        validation_seeds: episodes a validation, of each scenario.
        finalists: how many of the best policies are validated again at the end, on fresh validation seeds.
        final_seeds: episodes of that last validation, and of the rules beside it, of each scenario; 0: there is none.
        patience: stop after so many validations without a better score; 0: never.
        critic_first: updates in which the critic alone learns, where a policy begins with what was learned (`--start`)
            and its critic anew: what such a critic thinks of its actions would spoil it.
    """

    algorithm: Algorithm = "mappo"
    seed: int = Field(default=0, ge=0, lt=2**31)
    workers: int = Field(default=2, ge=1, le=8192)
    population: int = Field(default=24, ge=4, multiple_of=2)
    noise: float = Field(default=0.1, gt=0)
    rows: int = Field(default=1, ge=1, le=4096)
    runners: int = Field(default=0, ge=0, le=1024)
    fragment: int = Field(default=120, ge=8)
    feedback: float = Field(default=1.0, ge=0, le=1)
    width: int = Field(default=64, ge=8, le=8192)
    gamma: float = Field(default=0.97, gt=0, lt=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    learning_rate_end: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=0.2, gt=0)
    entropy: float = Field(default=0.02, ge=0)
    entropy_end: float = Field(default=0.002, ge=0)
    epochs: int = Field(default=4, ge=1)
    advantage_clip: float = Field(default=5.0, gt=0)
    target_kl: float = Field(default=0.03, gt=0)
    minibatch: int = Field(default=1024, ge=16)
    grad_clip: float = Field(default=0.5, gt=0)
    value_weight: float = Field(default=0.5, ge=0)
    value_huber: float = Field(default=5.0, gt=0)
    normalise_values: bool = True
    reward_scale: float = Field(default=0.1, gt=0)
    averaging: float = Field(default=0.95, ge=0, lt=1)
    balance: float = Field(default=0.5, ge=0, le=1)
    validate_every: int = Field(default=20, ge=1)
    validation_seeds: int = Field(default=4, ge=1)
    finalists: int = Field(default=3, ge=1)
    final_seeds: int = Field(default=10, ge=0)
    patience: int = Field(default=0, ge=0)
    critic_first: int = Field(default=10, ge=0)

    def plants(self, agents: int) -> int:
        """How many plants a scenario with so many agents is sampled from."""
        return max(self.workers, -(-self.rows // agents))

    def at(self, fraction: float) -> dict[str, float]:
        """The scheduled settings when a fraction of the budget is spent: ``learning_rate`` and ``entropy``."""
        pairs = {
            "learning_rate": (self.learning_rate, self.learning_rate_end),
            "entropy": (self.entropy, self.entropy_end),
        }
        return {name: start + (end - start) * fraction for name, (start, end) in pairs.items()}


def check_budget(minutes: float | None, iterations: int | None) -> dict[str, Any]:
    """Make sure that a training has an end; the same as plain numbers.

    Args:
        minutes: how long it takes; None: no bound.
        iterations: how many updates; None: no bound.

    Raises:
        CityloopError: if one of them is not a number, not finite, or not above 0.
    """
    if minutes is not None and not _number(minutes, Real):
        raise CityloopError(f"minutes is {minutes!r}: give a number")
    if minutes is not None and not 0 < minutes < math.inf:
        which = "a finite time" if minutes == math.inf else "a time above 0"
        raise CityloopError(f"minutes is {minutes:g}: give {which}")
    if iterations is not None and not _number(iterations, Integral):
        raise CityloopError(f"iterations is {iterations!r}: give a whole number")
    if iterations is not None and iterations < 1:
        raise CityloopError(f"iterations is {iterations}: give one at least")
    return {
        "minutes": None if minutes is None else float(minutes),
        "iterations": None if iterations is None else int(iterations),
    }


def _number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
