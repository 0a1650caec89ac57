"""Recorded SWMM days for training the surrogate: inflows of the reservoirs, forecasts, and faults.

A day begins with the volumes in tanks under the static plan. Most days have no overflow under it and teach nothing; nor
do days on which everything overflows under any control. Both are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from envs.core.errors import CityloopError
from envs.drainage.actuators import DAY_S
from envs.drainage.features import DrainageFeatures
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.sensing import EpisodeFaults, Forecaster
from envs.drainage.site import DrainageSite
from envs.drainage.surrogate.model import Basin
from envs.drainage.surrogate.recording import Recorder
from envs.drainage.surrogate.reservoirs import Calibration

LEAST_M3, MOST_FILLS = 30.0, 2.0
"""Overflow under the static plan below which a day is left out, and above which, in volumes of all tanks."""

TRIES = 3
"""Largest number of days to search, as a multiple of those wanted."""

AT_ONCE = 16
"""Number of episodes recorded at a time."""


@dataclass(frozen=True)
class Days:
    """Data of ``E`` days of ``T`` decisions.

    Attributes:
        inflow_cms: to each reservoir after every decision, ``(E, T, K)``.
        weather: columns `features.WEATHER`, ``(E, T, N, 7)``.
        volume_m3: initial volumes of the reservoirs, ``(E, K)``.
        under_way: initial `Basin.under_way`, ``(E, lags, O)``.
        overflow_m3: of the reservoirs under the static plan, ``(E, K)``.
        silent: reservoirs whose sensor is silent, bool ``(E, K)``.
        stuck: reservoirs whose sensor repeats its first value, bool ``(E, K)``.
        stuck_gate: gates that do not move, bool ``(E, N)``.
    """

    inflow_cms: Tensor
    weather: Tensor
    volume_m3: Tensor
    under_way: Tensor
    overflow_m3: Tensor
    silent: Tensor
    stuck: Tensor
    stuck_gate: Tensor

    def take(self, which: Tensor) -> Self:
        """The days of these indices."""
        return type(self)(**{name: values[which] for name, values in vars(self).items()})


class Library:
    """Records episodes of training seeds until there are enough days.

    Args:
        scenario: of the episodes.
        site: its site.
        fit: of its network.
        count: approximate number of days; fewer if more than `TRIES` times as many would have to be searched.
        seed: draws the episodes' seeds.

    Attributes:
        days: the days.
        seeds: seed of each day's episode.

    Raises:
        CityloopError: if nothing overflows.
    """

    def __init__(self, scenario: DrainageScenario, site: DrainageSite, fit: Calibration, count: int, seed: int):
        self._scenario, self._site, self._fit = scenario, site, fit
        self._recorder, self._features = Recorder(scenario, site, fit.parts), DrainageFeatures(site)
        self.decisions = min(scenario.decisions, round(DAY_S / scenario.decision_s))
        train, rng = scenario.seeds.train, np.random.default_rng([seed, 23])
        found: list[Days] = []
        self.seeds: list[int] = []
        looked, most = 0, TRIES * count * self.decisions
        while len(self.seeds) < count and looked < most:
            seeds = rng.integers(train.first, train.last + 1, AT_ONCE).tolist()
            for one, days in self._record(seeds):
                found.append(days)
                self.seeds += [one] * len(days.volume_m3)
            looked += AT_ONCE * scenario.decisions
        if not self.seeds:
            raise CityloopError(
                f"scenario {scenario.ref}: nothing overflows in training's episodes: let more rain fall"
            )
        self.days = Days(*(torch.cat(parts) for parts in zip(*(vars(days).values() for days in found), strict=True)))

    def _record(self, seeds: list[int]) -> Iterator[tuple[int, Days]]:
        """Days of some episodes that are kept, with the seed of each."""
        scenario, steps = self._scenario, self.decisions
        inflow = torch.from_numpy(np.array([self._recorder.inflow_cms(one) for one in seeds], dtype=np.float32))
        weather = torch.from_numpy(np.array([self._weather(one) for one in seeds]))
        faults = [self._faults_of(one) for one in seeds]
        silent, stuck, stuck_gate = (torch.from_numpy(np.array(kind)) for kind in zip(*faults, strict=True))
        basin = Basin(self._fit, scenario.decision_s)
        basin.begin(len(seeds))
        static = torch.tensor([gate.static for gate in self._site.gates], dtype=torch.float32).repeat(len(seeds), 1)
        for k in range(0, inflow.shape[1] - steps + 1, steps):
            volume, under_way = basin.volume_m3, torch.stack(basin.under_way, dim=1)
            over = torch.stack([basin.advance(static, inflow[:, k + j]) for j in range(steps)]).sum(dim=0)
            parts = (inflow[:, k : k + steps], weather[:, k : k + steps], volume, under_way, over)
            days = Days(*parts, silent, stuck, stuck_gate)
            total, most = over.sum(dim=1), MOST_FILLS * basin.capacity_m3.sum()
            for which in torch.nonzero((total > LEAST_M3) & (total < most)):
                yield seeds[int(which)], days.take(which)

    def _faults_of(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Silent and stuck sensors of the reservoirs, and stuck gates."""
        faults, tanks = (
            EpisodeFaults(self._scenario, len(self._site.tanks), len(self._site.gates), seed),
            self._fit.parts.tanks,
        )
        return faults.silent[tanks], faults.stuck[tanks], faults.stuck_gate

    def _weather(self, seed: int) -> np.ndarray:
        """Columns `features.WEATHER` of an episode, ``(T, N, 7)``."""
        scenario, rain = self._scenario, self._recorder.weather(seed)
        forecaster = Forecaster(scenario.forecast, rain.rain_mm, scenario.decision_s, seed)
        rates = np.array([rain.rates_mmh(k - 1) for k in range(scenario.decisions)])
        return self._features.weather(rates, forecaster.forecast_mm[:-1]).astype(np.float32)
