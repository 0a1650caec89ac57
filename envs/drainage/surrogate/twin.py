"""A network's surrogate under control, for back-propagation: days of many events as one differentiable computation.

Rain, forecasts, faults and the guard are the functions that the world and the loop run; the columns of
`drainage.features` that depend on levels and gates are written again, on tensors (`features.py`). A gradient passes a
guard that limits a request or holds it back as if it had not, and stops where the guard overrides it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.core.differentiable import Levels, Window
from envs.drainage.actuators import DAY_S, LEAST_MOVE
from envs.drainage.features import DrainageFeatures
from envs.drainage.guard import DEADBAND, RANGE, RATE, DrainageGuard
from envs.drainage.network import load_site
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.surrogate.calibration import calibrate
from envs.drainage.surrogate.features import TensorFeatures
from envs.drainage.surrogate.library import Days, Library
from envs.drainage.surrogate.model import Basin

LIBRARY = 2
"""Number of recorded days for each plant."""

DAY_M3 = 1000.0
"""Added to a day's overflow under the static plan, so that small events do not count too much."""


@dataclass(frozen=True)
class PlayedDays:
    """Result of a policy so far.

    Attributes:
        overflow_m3: of each reservoir, ``(E, K)``.
        movement: mean over gates of how far they moved, ``(E,)``.
    """

    overflow_m3: Tensor
    movement: Tensor


class Twin:
    """``num_envs`` days of a scenario's episodes for back-propagation, other days in each window.

    The cost of a day is its overflow, weighted as by the scenario, relative to that under the static plan plus
    `DAY_M3`, and the movement of its gates.

    Args:
        scenario: episodes are of its training seeds.
        num_envs: number of days.
        seed: of all random numbers.

    Raises:
        CityloopError: if there is no surrogate of the network.
    """

    def __init__(self, scenario: DrainageScenario, num_envs: int, seed: int):
        self.scenario, self.num_envs = scenario, num_envs
        site = load_site(scenario)
        self.agents = len(site.gates)
        self._guard = DrainageGuard(site)
        fit = calibrate(scenario, site)
        self._basin, self._features = Basin(fit, scenario.decision_s), TensorFeatures(DrainageFeatures(site), fit.parts)
        self.library = Library(scenario, site, fit, LIBRARY * num_envs, seed)
        self._rng = np.random.default_rng([seed, 19])
        self._first_m = torch.tensor(fit.parts.initial_m, dtype=torch.float32)
        self._static = torch.tensor([gate.static for gate in site.gates])
        weights, parts = scenario.weights, fit.parts
        counts = parts.controllable + weights.sensitive / max(weights.overflow, 1e-9) * parts.sensitive
        self._counts = torch.tensor(counts, dtype=torch.float32)
        self._movement = weights.movement / max(weights.overflow, 1e-9)

    def window(self, policy: Levels, decisions: int) -> Window:
        """Take decisions from the beginning of some days, drawn anew; see `Differentiable.window`."""
        which = torch.from_numpy(self._rng.integers(len(self.library.seeds), size=self.num_envs))
        days, decisions = self.library.days.take(which), min(decisions, self.library.decisions)
        played = self.play(policy, days, decisions)
        cost = played.overflow_m3 @ self._counts / (days.overflow_m3 @ self._counts + DAY_M3)
        cost = (cost + self._movement * played.movement).mean()
        return Window(cost, float(cost.detach()), decisions * self.num_envs * self.agents)

    def play(self, policy: Levels, days: Days, decisions: int) -> PlayedDays:
        """Result of a policy over the first decisions of some days; gates begin at their static settings."""
        basin, count = self._basin, len(days.volume_m3)
        basin.volume_m3, basin.under_way = days.volume_m3, list(days.under_way.unbind(dim=1))
        settings = self._static.repeat(count, 1)
        still_s = np.full((count, self.agents), DAY_S)
        moves = np.zeros((decisions, count, self.agents))
        over, movement = torch.zeros_like(days.volume_m3), torch.zeros(count)
        for k in range(decisions):
            depth = basin.depth_m()
            heard = self._noisy(torch.where(days.stuck, self._first_m, depth), least=0.0)
            flow = self._noisy(basin.flow_cms(depth, settings)[:, : self.agents])
            columns = self._features.columns(heard, ~days.silent, settings, still_s, flow, days.weather[:, k])
            readings = {
                "depth_m": self._features.readings(np.where(days.silent, np.nan, heard.detach())),
                "setting": settings.detach().numpy().astype(np.float64),
                "still_s": still_s,
                "moves": moves[:k].sum(axis=0),
            }
            wanted = self._guarded(policy({"gate": columns}), readings)
            before, settings = settings, torch.where(days.stuck_gate, settings, wanted)
            way = (settings - before).abs()
            moves[k] = way.detach().numpy() >= LEAST_MOVE
            still_s = np.where(moves[k] > 0, 0.0, still_s) + self.scenario.decision_s
            over = over + basin.advance(settings, days.inflow_cms[:, k])
            movement = movement + way.mean(dim=1)
        return PlayedDays(over, movement)

    def _guarded(self, asked: Tensor, readings: dict[str, np.ndarray]) -> Tensor:
        """Requests after the guard."""
        limited, why = self._guard.limit(readings, asked.detach().numpy().astype(np.float64))
        passes = torch.from_numpy((why == 0) | (why == RANGE) | (why == RATE) | (why == DEADBAND))
        command = torch.from_numpy(limited).to(asked.dtype)
        return torch.where(passes, asked + (command - asked).detach(), command)

    def _noisy(self, values: Tensor, least: float = -math.inf) -> Tensor:
        """Values with the sensors' noise."""
        spread = self.scenario.sensors.noise
        if not spread:
            return values
        factor = np.maximum(self._rng.normal(1.0, spread, values.shape), least)
        return values * torch.from_numpy(factor).to(values.dtype)

    def get_state(self) -> Any:
        """State of the generator that draws the days."""
        return self._rng.bit_generator.state

    def set_state(self, state: Any) -> None:
        """Continue from a state."""
        self._rng.bit_generator.state = state
