"""What sensors make of the truth: noise, quantisation, lost samples; and what else is wrong in an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.core.scenario import Split
from envs.dampers.scenarios import Conditions, DampersScenario, Variety
from envs.dampers.site import DampersSite


@dataclass(frozen=True)
class Circumstances:
    """What is wrong in the episodes of some buildings that share their stiffness and delay.

    Attributes:
        delay_ms: between reading and command, the same for all.
        factor: on every storey's stiffness, ``(n,)``, the same for all.
        dropout: share of samples lost, ``(E,)``.
        noise: multiple of the sensors' own, ``(E,)``.
        alive: which dampers get voltage, bool ``(d, E)``.
    """

    delay_ms: float
    factor: np.ndarray
    dropout: np.ndarray
    noise: np.ndarray
    alive: np.ndarray


def circumstances(
    scenario: DampersScenario, site: DampersSite, seeds: Sequence[int], given: Conditions | None = None
) -> Circumstances:
    """What the scenario says, or, for training seeds, what is drawn of its variety; the first draws what is shared.

    Args:
        scenario: where.
        site: its site.
        seeds: of the episodes.
        given: conditions for all of them instead, whatever seeds they have.
    """
    n, d = site.building.frame.floors, len(site.agents)
    first, *_ = drawn = [_Draw(scenario, seed, given) for seed in seeds]
    alive = np.ones((d, len(seeds)), dtype=bool)
    for column, one in zip(alive.T, drawn, strict=True):
        column[one.rng.permutation(d)[: min(one.conditions.dead, d)]] = False
    off = first.conditions.stiffness
    return Circumstances(
        delay_ms=first.conditions.delay_ms,
        factor=1.0 + off * first.rng.uniform(-1.0, 1.0, n),
        dropout=np.array([one.conditions.dropout for one in drawn]),
        noise=np.array([one.conditions.noise for one in drawn]),
        alive=alive,
    )


class _Draw:
    """The conditions of one episode, and the generator that goes on to say which damper and which storey."""

    def __init__(self, scenario: DampersScenario, seed: int, given: Conditions | None):
        self.rng = np.random.default_rng([seed, 13])
        split: Split | None = scenario.seeds.split(seed)
        says = scenario.conditions if split != "train" else self._varied(scenario.variety)
        self.conditions = says if given is None else given

    def _varied(self, variety: Variety) -> Conditions:
        rng = self.rng
        if rng.random() < variety.good:
            return Conditions()
        return Conditions(
            delay_ms=float(rng.uniform(0, variety.delay_ms)),
            dropout=float(rng.uniform(0, variety.dropout)),
            noise=float(rng.uniform(1, variety.noise)),
            dead=int(rng.random() < variety.dead),
            stiffness=variety.stiffness,
        )


class Sensors:
    """The sensors of ``E`` buildings.

    Args:
        site: what they are, and what they can show.
        bits: of their converters.
        seeds: of the episodes.
        wrong: how noisy they are, and how often a sample is lost.
    """

    def __init__(self, site: DampersSite, bits: int, seeds: Sequence[int], wrong: Circumstances):
        self._rng = np.random.default_rng([*seeds, 17])
        self._spread = site.sample_noise[:, None] * wrong.noise
        self._range = site.sample_range[:, None]
        self._step = self._range / 2 ** (bits - 1)
        self._dropout, self._lossy = wrong.dropout, bool(wrong.dropout.any())

    def read(self, true: np.ndarray) -> np.ndarray:
        """Samples of floor accelerations, strokes in m, forces, the ground: ``(n + 2d + 1, E)`` in all; NaN: lost."""
        noisy = true + self._spread * self._rng.standard_normal(true.shape)
        samples = np.round(noisy.clip(-self._range, self._range) / self._step) * self._step
        if self._lossy:
            samples[self._rng.random(true.shape) < self._dropout] = np.nan
        return np.asarray(samples)
