"""Model-predictive control: the network is run ahead in SWMM under many plans, and the best one's first move is made.

A model of the network runs along with the plant, driven by the measured rain and the gates' settings; it never sees the
plant itself. At every replanning it is branched from a hot start over the forecast: a population of plans,
each a few settings a gate in a row, is improved by the cross-entropy method (Rubinstein 1999), from the last plan on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.baselines.drainage_branch import Branch, Outcome, Run
from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.drainage.site import LEADS_MIN, DrainageSite

SPREAD = 0.25
"""Standard deviation of the first round's settings around the last plan."""

MOVEMENT_M3 = 5.0
"""Cost of a gate's movement from shut to open, as overflow."""

STORED_SHARE = 0.02
"""Cost of a cubic metre that is still stored at the horizon, relative to one that has overflowed."""

QUIET_MM, QUIET_SHARE = 0.2, 0.02
"""With less rain than this ahead and tanks emptier than this, the static settings are kept and nothing is computed."""


@dataclass(frozen=True)
class Search:
    """Parameters of the search for plans.

    Attributes:
        segments_min: lengths of the parts of a plan, each with settings of its own; together the horizon.
        replan_min: time between two plans; the one made last is carried out in between.
        population, elite, rounds: of the cross-entropy method.
        limit_s: planning stops after this long, with the best plan so far: a way out, as a result that depends on it
            depends on how busy the machine is.
    """

    segments_min: tuple[int, ...] = (30, 60, 90)
    replan_min: float = 15.0
    population: int = 24
    elite: int = 6
    rounds: int = 3
    limit_s: float = 60.0


class ModelPredictive(Controller):
    """See the module. Remembers the episode; without a forecast it plans for the rain of the moment to last.

    Args:
        site: with the SWMM input that it looks ahead with.
        search: how long and how hard it looks.
    """

    name = "mpc"
    timed = True
    """How far it searches depends on the machine: a replay need not come to the same."""

    def __init__(self, site: DrainageSite, search: Search = Search()):
        self._site, self._branch, self._search = site, Branch(site), search
        self._decision_min = site.timing.decision_s / 60
        self._static = np.array([gate.static for gate in site.gates])
        self._full_m = np.array([tank.full_m for tank in site.tanks])
        self._lengths = [max(1, round(minutes / self._decision_min)) for minutes in search.segments_min]
        self.reset()

    def reset(self) -> None:
        """Forget the episode; a process that has ended in it is made anew."""
        if self._branch.ended:
            self._branch.close()
            self._branch = Branch(self._site)
        self._folder = Path(self._branch.folder.name)
        self._hot: Path | None = None
        self._time = self._site.start
        self._age = 0
        self._rng = np.random.default_rng(0)
        self._plan = np.tile(self._static, (len(self._lengths), 1))
        self._started = False
        self._since_plan: float = self._search.replan_min

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Settings ``(N, 1)``: the first part of the plan."""
        if self._started:
            self._follow(readings)
        self._started = True
        if self._since_plan >= self._search.replan_min:
            self._since_plan = 0
            self._plan = self._replan(readings)
        self._since_plan += self._decision_min
        return self._plan[0][:, None].copy()

    def _follow(self, readings: Readings) -> None:
        """Bring the model to the present: one decision with the measured rain and the gates as they stood."""
        hot = self._folder / f"hot{self._age % 2}.hsf"
        rain = np.nan_to_num(readings["rain_mmh"])[None, :]
        tide = self._tide_ahead(readings)
        run = Run(self._hot, self._time, readings["setting"][None, :], rain, None if tide is None else tide[:1], hot)
        self._time, self._hot = self._branch.run([run])[0].time, hot
        self._age += 1

    def _replan(self, readings: Readings) -> np.ndarray:
        rain = self._rain_ahead(readings)
        fill = np.nan_to_num(readings["depth_m"]) / self._full_m
        if rain.sum() * self._decision_min / 60 < QUIET_MM and fill.max(initial=0.0) < QUIET_SHARE:
            return np.tile(self._static, (len(self._lengths), 1))
        now = readings["setting"]
        search = self._search
        mean, spread = self._plan.copy(), np.full_like(self._plan, SPREAD)
        kept = [mean, np.tile(self._static, (len(mean), 1)), np.tile(now, (len(mean), 1))]
        best, least, stop = mean, np.inf, time.monotonic() + search.limit_s
        for _ in range(search.rounds):
            drawn = self._rng.normal(mean, spread, (search.population - len(kept), *mean.shape))
            plans = np.clip(np.concatenate([np.array(kept), drawn]), 0.0, 1.0)
            costs = self._costs(plans, now, rain, readings)
            order = np.argsort(costs, kind="stable")
            if costs[order[0]] < least:
                best, least = plans[order[0]], costs[order[0]]
            elite = plans[order[: search.elite]]
            mean, spread, kept = elite.mean(axis=0), elite.std(axis=0) + 0.02, [best]
            if time.monotonic() > stop:
                break
        return best

    def _costs(self, plans: np.ndarray, now: np.ndarray, rain: np.ndarray, readings: Readings) -> np.ndarray:
        """Overflow that each plan leads to in m³, with what is stored at the end and the movement, ``(P,)``."""
        tide = self._tide_ahead(readings)
        runs = [Run(self._hot, self._time, np.repeat(plan, self._lengths, axis=0), rain, tide) for plan in plans]
        found: list[Outcome] = self._branch.run(runs)
        moved = np.abs(np.diff(np.concatenate([np.tile(now, (len(plans), 1, 1)), plans], axis=1), axis=1))
        volumes = np.array([one.overflow_m3 + STORED_SHARE * one.stored_m3 for one in found])
        return np.asarray(volumes + MOVEMENT_M3 * moved.sum(axis=(1, 2)))

    def _rain_ahead(self, readings: Readings) -> np.ndarray:
        """Rain of every decision of the horizon, mm/h, ``(H, gauges)``."""
        count = sum(self._lengths)
        if not self._site.gauges:
            return np.zeros((count, 0))
        forecast = readings["forecast_mm"].reshape(-1, len(LEADS_MIN))
        if np.isnan(forecast).any():
            return np.tile(np.nan_to_num(readings["rain_mmh"]), (count, 1))
        minutes = self._decision_min * np.arange(count + 1)
        fallen = [np.interp(minutes, [0, *LEADS_MIN], [0.0, *amounts]) for amounts in forecast]
        return np.maximum(np.diff(np.array(fallen), axis=1), 0.0).T * 60 / self._decision_min

    def _tide_ahead(self, readings: Readings) -> np.ndarray | None:
        """Levels of tidal waters at every decision of the horizon, taken to stay, ``(H, tides)``; None: unknown."""
        tide = readings["tide_m"]
        return None if np.isnan(tide).any() else np.tile(tide, (sum(self._lengths), 1))

    def close(self) -> None:
        """End the process that looks ahead."""
        self._branch.close()

    def __del__(self) -> None:
        if hasattr(self, "_branch"):
            self._branch.close()
