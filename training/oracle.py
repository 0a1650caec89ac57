"""``cityloop oracle``: how far gates could go if rain and tide were known: the best that a long search finds.

The same search as the model-predictive controller's, with what will come instead of a forecast, six hours ahead
instead of three, and an effort that no service could afford. No proof: a longer search may find less overflow still.
Stuck gates and blocked conduits are not known to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.baselines.drainage_mpc import ModelPredictive, Search
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.readings import Readings
from envs.core.scenario import Scenario
from envs.drainage.world import SwmmWorld
from training.episodes import Progress
from training.tracking import versions

LONG = Search(segments_min=(30, 30, 60, 120, 120), replan_min=30.0, population=48, elite=8, rounds=6, limit_s=1e9)


class Oracle(ModelPredictive):
    """Knows the rain to come.

    Args:
        loop: of a drainage scenario; its world tells the rain of the episode that has just begun.
    """

    name = "oracle"

    def __init__(self, loop: ControlLoop):
        assert isinstance(loop.world, SwmmWorld)
        self._world = loop.world
        super().__init__(loop.site, LONG)  # type: ignore[arg-type]

    def _rain_ahead(self, readings: Readings) -> np.ndarray:
        count = sum(self._lengths)
        now = round(self._world.time_s / self._world.scenario.decision_s)
        rates = self._world.rain_mm[now : now + count] * 60 / self._decision_min
        return np.concatenate([rates, np.zeros((count - len(rates), rates.shape[1]))])

    def _tide_ahead(self, readings: Readings) -> np.ndarray | None:
        return self._world.tide_ahead_m(sum(self._lengths)) if self._world.scenario.tide.amplitude_m else None


def oracle(
    scenario: str | Scenario, seeds: Sequence[int] = (0,), on_progress: Progress | None = None, **settings: Any
) -> dict[str, Any]:
    """What the search reaches on every seed.

    Args:
        scenario: of drainage, or its reference.
        seeds: which episodes.
        on_progress: called with (episodes done, episodes in all).
        settings: changes to the scenario.

    Returns:
        ``{"scenario", "hash", "versions", "rows": [{"seed", indicator: value, …}]}``.

    Raises:
        CityloopError: if it is another system's.
    """
    loop = make_loop(scenario, **settings)
    if not isinstance(loop.world, SwmmWorld):
        raise CityloopError(f"scenario {loop.scenario.ref} has no oracle: give one of drainage")
    knowing = Oracle(loop)
    try:
        rows = []
        for seed in seeds:
            rows.append({"seed": seed, **loop.episode(knowing, seed).kpis})
            if on_progress is not None:
                on_progress(len(rows), len(seeds))
    finally:
        knowing.close()
        loop.close()
    return {"scenario": loop.scenario.ref, "hash": loop.scenario.hash, "versions": versions(), "rows": rows}
