"""Hyperparameters of training with their defaults, and the algorithms as sets of settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Literal

from pydantic import Field, model_validator

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
"""Name → description. The first two share all code and differ only in the critic's inputs. ``backprop`` is for
differentiable plants (`training.backprop`), ``evolution`` for plants with slow responses (`training.evolution`), and
the last is the reference of PPO (`training.reference`)."""

PPO = ("mappo", "ippo")
"""The algorithms that are RLlib's PPO."""

TRAINING = {"algorithm", "seed", "workers", "width", "learning_rate", "learning_rate_end", "averaging"}
VALIDATION = {"validate_every", "validation_seeds", "finalists", "final_seeds", "patience"}
EVERYWHERE = TRAINING | VALIDATION
"""Settings that every algorithm reads."""

READ: dict[str, set[str]] = {
    "backprop": EVERYWHERE | {"fragment", "feedback", "grad_clip"},
    "evolution": EVERYWHERE | {"population", "noise"},
}
"""Algorithm → the settings that it reads, for algorithms other than PPO."""

NOT_OF_PPO = READ["evolution"] - EVERYWHERE | {"feedback"}
"""Settings that PPO does not read."""

PROCESSES = 256
"""Largest number of plants with processes of their own."""


class Settings(Frozen):
    """Hyperparameters. RLlib's own defaults do not suit rewards on a city's scale.

    Attributes:
        algorithm: a key of `ALGORITHMS`.
        seed: seed of weights, exploration and the first training episode.
        workers: number of plants of each scenario: in processes of their own, at most `PROCESSES`, unless they are
            arrays in this process.
        population: perturbed policies that ``evolution`` compares in an update, in pairs.
        noise: how far it perturbs them, in proportion to the weights at the start.
        rows: least number of agents' decisions per step of each scenario; scenarios with few agents get more plants.
        runners: number of Ray actors that sample, each with plants of its own; 0: this process samples.
        fragment: decisions of each plant between two updates; for ``backprop``, the window of a gradient.
        feedback: for ``backprop``, the fraction of a gradient that passes through the policy's observations. The whole
            gradient of such a closed loop may grow without bound over a long window; 0: through the plant alone.
        width: width of the networks' hidden layers.
        gamma: discount factor per decision, at the shortest decision interval of the run's scenarios. A scenario whose
            interval is k times as long is discounted by ``gamma**k``, so that a second is worth the same everywhere.
        gae_lambda: decay of generalised advantage estimation.
        learning_rate: learning rate at the start.
        learning_rate_end: learning rate at the end of the budget; linear in between.
        clip: PPO's clip range.
        entropy: weight of the entropy bonus at the start.
        entropy_end: weight of the entropy bonus at the end of the budget; linear in between.
        epochs: most passes over each batch.
        advantage_clip: bound of advantages in standard deviations, so that a gridlock does not dominate an update.
        target_kl: no further pass after an epoch that moved the policy by over 1.5 times this (mean KL divergence).
        minibatch: agents' decisions per gradient step.
        grad_clip: largest norm of a gradient.
        value_weight: weight of the critic's loss.
        value_huber: point at which the critic's loss turns from square to linear, in standard deviations of returns.
        normalise_values: whether the critic learns returns in running standard deviations of each scenario.
        reward_scale: factor of rewards, to keep values near one.
        averaging: decay per update of the running mean of weights, which is the policy that is validated and stored.
            The mean fluctuates less than single updates. 0: the latest weights.
        balance: 0: decisions have equal weight, so scenarios with many agents dominate; 1: scenarios have equal weight.
        validate_every: updates between two validations.
        validation_seeds: episodes per validation and scenario.
        finalists: number of the best policies that are validated again at the end, on fresh validation seeds.
        final_seeds: episodes per scenario of that last validation, and of the rules beside it; 0: there is none.
        patience: stop after this number of validations without a better score; 0: never.
        only: for PPO, the prefix of the names of the policy's weights that learn, e.g. a layer; all others stay as they
            are to the last bit. Empty: all learn.
        critic_first: updates in which only the critic learns, if a policy starts from learned weights (`--start`) with
            a new critic, whose first estimates would spoil the policy.
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
    only: str = ""
    critic_first: int = Field(default=10, ge=0)

    @model_validator(mode="after")
    def _only_of_ppo(self) -> Settings:
        if self.only and self.algorithm not in PPO:
            raise ValueError(f"only is {self.only!r}, and {self.algorithm} trains all weights: use mappo or ippo")
        return self

    def plants(self, agents: int) -> int:
        """Number of plants of a scenario with the given number of agents."""
        return max(self.workers, -(-self.rows // agents))

    def at(self, fraction: float) -> dict[str, float]:
        """The scheduled settings when a fraction of the budget is spent: ``learning_rate`` and ``entropy``."""
        pairs = {
            "learning_rate": (self.learning_rate, self.learning_rate_end),
            "entropy": (self.entropy, self.entropy_end),
        }
        return {name: start + (end - start) * fraction for name, (start, end) in pairs.items()}


def refuse_unread(names: Iterable[str], algorithm: str) -> None:
    """Refuse settings that an algorithm does not read: a sweep of one would rank trials that are all the same.

    Args:
        names: the settings that were given; those of a stored run are never refused, because they list all.
        algorithm: a key of `ALGORITHMS`.

    Raises:
        CityloopError: naming the first of them.
    """
    for name in names:
        if name in Settings.model_fields and not _reads(algorithm, name):
            readers = ", ".join(other for other in ALGORITHMS if other != "sb3" and _reads(other, name))
            raise CityloopError(f"{name} has no effect on {algorithm}: leave it out, or choose {readers}")


def _reads(algorithm: str, name: str) -> bool:
    return name in READ[algorithm] if algorithm in READ else name not in NOT_OF_PPO


def check_budget(minutes: float | None, iterations: int | None) -> dict[str, Any]:
    """Check the limits of a training, and return them as plain numbers.

    Args:
        minutes: time limit; None: no limit.
        iterations: limit of updates; None: no limit.

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
