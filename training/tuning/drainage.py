"""Tuning of laws on levels for one drainage network.

A random search, then closer ones about the best, on training storms, for the least overflow as the reward counts it:
relative to the size of its storm, so that no single cloudburst decides. Rain from a file is one storm, which is played
whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from agents.baselines.drainage import TUNED, Hold, LevelLaw, LevelPI
from agents.shipped import speaks_of
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.world import Controller
from envs.drainage.reward import EVENT_M3, EVENT_SHARE
from envs.drainage.scenarios import DrainageScenario
from training.tuning.kept import check_kept, keep

LOGGER = logging.getLogger(__name__)

LAWS: dict[str, type[LevelLaw] | type[LevelPI] | type[Hold]] = {"pi": LevelPI, "law": LevelLaw, "hold": Hold}
"""Name → law."""

RANGES: dict[str, tuple[float, float]] = {
    "setpoint": (0.05, 1.0),
    "proportional": (0.0, 5.0),
    "integral_per_h": (0.0, 1.0),
    "a": (-1.0, 2.0),
    "b": (0.0, 4.0),
    "c": (0.0, 6.0),
    "d": (0.2, 1.0),
    "e": (0.0, 8.0),
    "f": (0.3, 1.0),
    "begin": (0.4, 1.0),
    "full": (0.8, 1.4),
    "per_10mm": (0.0, 0.3),
    "room": (0.1, 1.0),
}
"""Parameter → bounds of its search."""

STORMS, HOURS = 24, 12
"""Number of training storms, and most hours that are simulated of each."""

WIDE, CLOSE, ROUNDS, WIDTH = 24, 8, 3, 0.12
"""Trials of the wide search and of each closer one, number of closer searches, and their range."""

Numbers = Mapping[str, float]


class Storms:
    """Training storms of a scenario, for scoring controllers.

    Args:
        scenario: the scenario.
        count: number of storms; rain from a file is the same for every seed, and counts once.
    """

    def __init__(self, scenario: DrainageScenario, count: int = STORMS):
        if scenario.rain == "file":
            count = 1
            LOGGER.warning(
                "%s: the rain is that of a file, the same for every seed, so what is found suits this one storm; "
                "set rain to varied, storms or design to tune on %d storms",
                scenario.ref,
                STORMS,
            )
        else:
            scenario = scenario.override({"duration_s": min(scenario.duration_s, HOURS * 3600.0)})
        self._loop = make_loop(scenario)
        self.site = self._loop.site
        first = scenario.seeds.train.first
        self._seeds = range(first, first + count)

    def score(self, controller: Controller) -> float:
        """Mean over storms of a controller's overflow, relative to each storm's size."""
        shares = []
        for seed in self._seeds:
            over_m3 = self._loop.episode(controller, seed).kpis["controllable_m3"]
            shares.append(over_m3 / (EVENT_M3 + EVENT_SHARE * self._loop.world.truth["event_m3"]))
        return float(np.mean(shares))

    def close(self) -> None:
        """Stop the simulator."""
        self._loop.close()


def search(storms: Storms, law: str, wide: int = WIDE, close: int = CLOSE) -> tuple[Numbers, float]:
    """A law's best parameters and their score; the law's defaults are among the trials."""
    kind, rng = LAWS[law], np.random.default_rng(0)
    trials: list[Numbers] = [kind.NUMBERS, *(_anywhere(kind.NUMBERS, rng) for _ in range(wide))]
    best, score = kind.NUMBERS, np.inf
    for _ in range(1 + ROUNDS):
        for trial in trials:
            found = storms.score(kind(storms.site, trial))  # type: ignore[arg-type]
            if found < score:
                best, score = trial, found
            if not score:  # nothing can be better
                return best, score
        trials = [_near(best, rng) for _ in range(close)]
    return best, score


def _anywhere(numbers: Numbers, rng: np.random.Generator) -> Numbers:
    return {key: round(float(rng.uniform(*RANGES[key])), 3) for key in numbers}


def _near(numbers: Numbers, rng: np.random.Generator) -> Numbers:
    steps = {key: WIDTH * (RANGES[key][1] - RANGES[key][0]) * float(rng.standard_normal()) for key in numbers}
    return {key: round(float(np.clip(value + steps[key], *RANGES[key])), 3) for key, value in numbers.items()}


def tune(
    scenario: DrainageScenario,
    laws: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Tune laws, and write what was found into ``drainage_tuned.json``; what else stands there stays.

    Args:
        scenario: the scenario.
        laws: names of `LAWS`; none: all.
        on_progress: called with the numbers of tuned laws and of all, before and after each.

    Returns:
        A row per law: ``law``, ``share`` (mean overflow relative to each storm's size), ``parameters``.

    Raises:
        CityloopError: if a law is unknown, the scenario is for tests alone, another network of the same name ships, or
            the file cannot be written.
    """
    check_kept(TUNED)
    unknown = next((law for law in laws if law not in LAWS), None)
    if unknown is not None:
        raise CityloopError(f"law {unknown!r} is unknown: choose {', '.join(LAWS)}")
    if scenario.held_out:
        raise CityloopError(f"scenario {scenario.ref} is for tests alone: tune on another")
    rows: list[dict[str, Any]] = []
    names = laws or tuple(LAWS)
    on_progress(0, len(names))
    with closing(Storms(scenario)) as storms:
        if not speaks_of(scenario.name, storms.site):
            raise CityloopError(f"another network ships as {scenario.name}: give yours a name of its own to tune it")
        for law in names:
            numbers, score = search(storms, law)
            if not score:
                LOGGER.warning("%s: under %s nothing overflows, so nothing was tuned", scenario.ref, law)
            keep(TUNED, scenario.name, law, numbers)
            rows.append({"law": law, "share": score, "parameters": dict(numbers)})
            on_progress(len(rows), len(names))
    return rows
