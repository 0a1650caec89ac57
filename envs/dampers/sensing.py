"""Sensor model (noise, quantisation, lost samples), and the faults of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.dampers.scenarios import Conditions, DampersScenario, Variety
from envs.dampers.site import DampersSite


@dataclass(frozen=True)
class DrawnFaults:
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
) -> DrawnFaults:
    """Faults by the scenario's conditions, or, for training seeds, drawn from its variety.

    The first seed decides stiffness and delay, which are shared.

    Args:
        scenario: where.
        site: its site.
        seeds: of the episodes.
        given: conditions for all seeds, instead of the scenario's.
    """
    n, d = site.building.frame.floors, len(site.agents)
    drawn, generators = zip(*(_conditions_of(scenario, seed, given) for seed in seeds), strict=True)
    alive = np.ones((d, len(seeds)), dtype=bool)
    for column, one, rng in zip(alive.T, drawn, generators, strict=True):
        column[rng.permutation(d)[: min(one.dead, d)]] = False
    return DrawnFaults(
        delay_ms=drawn[0].delay_ms,
        factor=1.0 + drawn[0].stiffness * generators[0].uniform(-1.0, 1.0, n),
        dropout=np.array([one.dropout for one in drawn]),
        noise=np.array([one.noise for one in drawn]),
        alive=alive,
    )


def _conditions_of(
    scenario: DampersScenario, seed: int, given: Conditions | None
) -> tuple[Conditions, np.random.Generator]:
    """The conditions of one episode, and the generator that then draws the damper and the storeys."""
    rng = np.random.default_rng([seed, 13])
    own = _varied(scenario.variety, rng) if scenario.seeds.split(seed) == "train" else scenario.conditions
    return own if given is None else given, rng


def _varied(variety: Variety, rng: np.random.Generator) -> Conditions:
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

    def __init__(self, site: DampersSite, bits: int, seeds: Sequence[int], faults: DrawnFaults):
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
