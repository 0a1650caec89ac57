"""The plant: buildings of one scenario that begin and end an episode together, as arrays in this process.

A world is a block of one; the trainer's plants are blocks of many. Buildings of a block share the true stiffness and
the delay (drawn by the first seed), so one matrix advances them all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.core.readings import Readings
from envs.dampers.acquisition.unit import Acquisition
from envs.dampers.kpis import Tally
from envs.dampers.mechanics.building import Building
from envs.dampers.mechanics.frame import Frame
from envs.dampers.mechanics.structure import Structure, uncontrolled_response
from envs.dampers.motions.motion import draw, facade_n_s_m
from envs.dampers.scenarios import Conditions, DampersScenario
from envs.dampers.sensing import SensorModel, draw_faults
from envs.dampers.site import DampersSite

SAMPLE_S, PER_PERIOD = 0.005, 50
"""Largest sampling interval of generated loads, and least number of samples in the building's first period; loads are
linear between samples. Records are sampled at every substep, so that nothing between two samples is lost."""

YIELDING = 1.0
"""Largest sampling interval where storeys yield, as a share of 1 / ω of the highest mode: the building without dampers
is then stepped from sample to sample, and from 2 / ω on its motion would grow without bound."""


class Block:
    """Buildings that step together.

    Args:
        scenario: where and how.
        site: its site.
        dtype: of the simulation: float32 is twice as fast, and precise enough for training.
        conditions: for all episodes, instead of the scenario's for their seeds.
        factor: on the stiffness of every storey, ``(n,)``, in addition to the episode's own deviation: a damaged
            building, of which the acquisition unit knows nothing.

    Attributes:
        readings: present readings, each column ``(E, …)``.
        acquisition: the acquisition unit.
        truth: quantities of the last decision that only a simulator knows, see `World.truth`, each ``(E, …)``.
    """

    def __init__(
        self,
        scenario: DampersScenario,
        site: DampersSite,
        dtype: Any = np.float64,
        conditions: Conditions | None = None,
        factor: Sequence[float] | np.ndarray = (1.0,),
    ):
        self.scenario, self.site, self.dtype, self._conditions = scenario, site, dtype, conditions
        self._factor = np.asarray(factor, dtype=float)
        self.building, timing = site.building, scenario.timing
        self._substeps, self._dt_s = timing.substeps, timing.decision_ms / timing.substeps / 1e3
        self._samples = samples(scenario, site.building)
        self.acquisition = Acquisition(site)
        self.readings: Readings = {}
        self.truth: dict[str, np.ndarray] = {}

    def begin(self, seeds: Sequence[int], mounted: bool = True) -> Readings:
        """Start an episode of each seed, at rest; its first readings. ``mounted=False``: dampers exert no force."""
        scenario, building, copies = self.scenario, self.building, len(seeds)
        faults = draw_faults(scenario, self.site, seeds, self._conditions)
        factor = faults.factor * self._factor
        frame = building.frame.softened(factor) if (factor != 1.0).any() else building.frame
        wind_load = wind_load_coefficients(scenario, building)
        self._ground = float(wind_load is None)  # 0: the ground is at rest in the wind
        self._plant = Structure(building, self._dt_s, frame, dtype=self.dtype, exerting=mounted, wind_load=wind_load)
        self._alive = faults.alive.astype(self.dtype) * building.device.full_v
        self._sensors = SensorModel(self.site, scenario.bits, seeds, faults)
        self._shake(seeds, frame)
        self._state, self._decision = self._plant.rest(copies), 0
        self._level = np.zeros((len(building.storeys), copies))
        self._late(faults.delay_ms / 1e3)
        self.acquisition.rest(copies)
        self._dissipated_j = np.zeros(copies)
        self.tally = Tally(self.site, self._uncontrolled, scenario.decisions)
        return self._observe()

    def _shake(self, seeds: Sequence[int], frame: Frame) -> None:
        """Draw the load at every substep, ``(T, E)``, and compute the uncontrolled response to it."""
        loads, self._uncontrolled = load_histories(self.scenario, self.building, frame, seeds, self._dt_s)
        self.loads = np.ascontiguousarray(loads.T, dtype=self.dtype)

    def _late(self, delay_s: float) -> None:
        """Delay commands by ``whole`` decisions and ``rest`` substeps of the one in which they arrive."""
        whole, self._rest = divmod(round(delay_s / self._dt_s), self._substeps)
        self._waiting = deque([np.zeros_like(self._level)] * (whole + 2), maxlen=whole + 2)

    @property
    def uncontrolled_m(self) -> np.ndarray:
        """Drifts of the building without dampers after every decision, ``(E, n, decisions)``."""
        each, last = self._samples, self.scenario.decisions
        return np.asarray(self._uncontrolled[:, : self.building.frame.floors, each : each * last + 1 : each])

    @property
    def done(self) -> bool:
        """Whether the episodes are over."""
        return self._decision >= self.scenario.decisions

    @property
    def time_s(self) -> float:
        """Seconds since the start."""
        return self._decision * self.scenario.decision_s

    def step(self, levels: np.ndarray) -> Readings:
        """Give every driver its share of full voltage ``(E, d)``, advance one decision, read the sensors."""
        self._level = np.asarray(levels, dtype=float).T
        self._waiting.append(self._level)
        before, after = (self._alive * each.astype(self.dtype) for each in (self._waiting[0], self._waiting[1]))
        plant, state, start = self._plant, self._state, self._decision * self._substeps
        peaks: Any = 0.0
        work: Any = 0.0
        for k in range(self._substeps):
            volts = before if k < self._rest else after
            stroke = state.stroke
            state, seen = plant.step(state, volts, self.loads[start + k : start + k + 1], plant.matrix)
            peaks = np.maximum(peaks, abs(seen))
            work = work + state.force * (state.stroke - stroke)
        self._state = state
        self._decision += 1
        self._dissipated_j += work.sum(axis=0)
        return self._observe(peaks)

    def _observe(self, peaks: np.ndarray | None = None) -> Readings:
        state, n = self._state, self.building.frame.floors
        load = self.loads[self._decision * self._substeps][None]
        now, ground = self._plant.now(state, load).astype(float), self._ground * load
        true = np.concatenate([now[n : 2 * n], state.stroke, state.force, ground])
        samples = self._sensors.read(true)
        self.readings = self.acquisition.take(samples, self._level)
        peaks = abs(now) if peaks is None else np.maximum(peaks, abs(now)).astype(float)
        before = self.tally.ratios.copy()
        self.tally.take(now, peaks, abs(state.force), abs(state.stroke), self._level, self._decision)
        self.truth = {
            "drift_growth": self.tally.ratios[0] - before[0],
            "accel_growth": self.tally.ratios[1] - before[1],
            "drift_share": self.tally.share(now)[0],
            "accel_share": self.tally.share(now)[1],
            "force_share": (abs(state.force).astype(float) / self.building.weight_n).T,
            "level": self._level.T,
            "drift_m": now[:n].T,
            "accel_m_s2": now[n : 2 * n].T,
            "rate_m_s": state.rate.T,
            "ground_m_s2": ground.T.astype(float),
        }
        return self.readings

    def kpis(self) -> list[dict[str, float]]:
        """Indicators of each episode so far, without ``fatigue_ratio``: counting cycles would slow training."""
        rest_m = np.abs(self._plant.now(self._state, self.loads[:1])[: self.building.frame.floors]).max(axis=0)
        return self.tally.kpis(self._dissipated_j, rest_m)

    def places(self, k: int = 0) -> dict[str, dict[str, float]]:
        """Peak drift of every storey and peak acceleration of every floor of building ``k``."""
        return self.tally.places(k)


def wind_load_coefficients(scenario: DampersScenario, building: Building) -> np.ndarray | None:
    """Forces on floors in N per m/s of gust, ``(n,)``; None where the load is the ground's acceleration."""
    if scenario.motion.kind != "wind":
        return None
    return facade_n_s_m(scenario.motion.wind, building.storey_m, building.frame.floors)


def load_histories(
    scenario: DampersScenario, building: Building, frame: Frame, seeds: Sequence[int], dt_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Load histories, and the uncontrolled response to them.

    Returns:
        The load of each seed at every substep and one more, ``(E, T + 1)``: ground acceleration in m/s² or gust speed
        in m/s; and drifts in m, absolute accelerations in m/s² and base shear in N of the building without dampers,
        ``(E, 2n + 1, samples)``.
    """
    sample_s = scenario.decision_s / samples(scenario, building)
    length_s = scenario.decisions * scenario.decision_s
    first_s = 1.0 / float(building.frame.frequencies_hz[0])
    drawn = np.array([draw(scenario.motion, length_s + 2 * sample_s, sample_s, first_s, seed) for seed in seeds])
    place = np.arange(round(length_s / dt_s) + 1) * dt_s / sample_s
    low = np.minimum(place.astype(int), drawn.shape[1] - 2)
    share = place - low
    loads = drawn[:, low] * (1 - share) + drawn[:, low + 1] * share
    return loads, uncontrolled_response(building, frame, drawn, sample_s, wind_load_coefficients(scenario, building))


def samples(scenario: DampersScenario, building: Building) -> int:
    """Samples of the load in a decision; see `SAMPLE_S`."""
    if scenario.motion.kind == "record":
        return scenario.timing.substeps
    frequencies_hz = building.frame.frequencies_hz
    step_s = min(SAMPLE_S, 1.0 / float(frequencies_hz[0]) / PER_PERIOD)
    if building.hysteresis is not None:
        step_s = min(step_s, YIELDING / (2 * math.pi * float(frequencies_hz[-1])))
    return min(math.ceil(scenario.decision_s / step_s - 1e-9), scenario.timing.substeps)
