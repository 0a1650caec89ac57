"""Sensor model (noise, quantisation, lost samples), and the faults of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.core.scenario import Split
from envs.dampers.scenarios import Conditions, DampersScenario, Variety
from envs.dampers.site import DampersSite


@dataclass(frozen=True)
class EpisodeFaults:
    """Faults in the episodes of ``E`` buildings that share their stiffness and delay.

    Attributes:
        delay_ms: from reading to command, the same for all.
        factor: on the stiffness of every storey, ``(n,)``, the same for all.
        dropout: share of lost samples, ``(E,)``.
        noise: factor on the noise of sound sensors, ``(E,)``.
        alive: dampers that get voltage, bool ``(d, E)``.
    """

    delay_ms: float
    factor: np.ndarray
    dropout: np.ndarray
    noise: np.ndarray
    alive: np.ndarray


def draw_faults(
    scenario: DampersScenario, site: DampersSite, seeds: Sequence[int], given: Conditions | None = None
) -> EpisodeFaults:
    """Faults by the scenario's conditions, or, for training seeds, drawn from its variety.

    The first seed decides stiffness and delay, which are shared.

    Args:
        scenario: where.
        site: its site.
        seeds: of the episodes.
        given: conditions for all seeds, instead of the scenario's.
    """
    n, d = site.building.frame.floors, len(site.agents)
    first, *_ = drawn = [_Draw(scenario, seed, given) for seed in seeds]
    alive = np.ones((d, len(seeds)), dtype=bool)
    for column, one in zip(alive.T, drawn, strict=True):
        column[one.rng.permutation(d)[: min(one.conditions.dead, d)]] = False
    off = first.conditions.stiffness
    return EpisodeFaults(
        delay_ms=first.conditions.delay_ms,
        factor=1.0 + off * first.rng.uniform(-1.0, 1.0, n),
        dropout=np.array([one.conditions.dropout for one in drawn]),
        noise=np.array([one.conditions.noise for one in drawn]),
        alive=alive,
    )


class _Draw:
    """The conditions of one episode, and the generator that then draws the damper and the storeys."""

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


class SensorModel:
    """The sensors of ``E`` buildings.

    Args:
        site: noise and range of its sensors.
        bits: of their converters.
        seeds: of the episodes.
        faults: factor on the noise, and share of lost samples.
    """

    def __init__(self, site: DampersSite, bits: int, seeds: Sequence[int], faults: EpisodeFaults):
        self._rng = np.random.default_rng([*seeds, 17])
        self._spread = site.sample_noise[:, None] * faults.noise
        self._range = site.sample_range[:, None]
        self._step = self._range / 2 ** (bits - 1)
        self._dropout, self._lossy = faults.dropout, bool(faults.dropout.any())

    def read(self, true: np.ndarray) -> np.ndarray:
        """Samples of floor accelerations, strokes in m, forces, the ground: ``(n + 2d + 1, E)`` in all; NaN: lost."""
        noisy = true + self._spread * self._rng.standard_normal(true.shape)
        samples = np.round(noisy.clip(-self._range, self._range) / self._step) * self._step
        if self._lossy:
            samples[self._rng.random(true.shape) < self._dropout] = np.nan
        return np.asarray(samples)


Sensors = SensorModel  # its name in earlier checkpoints
