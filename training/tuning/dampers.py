"""Tuning of dampers' laws on training motions.

A random search, then closer ones about the best, for the least median of the headline indicator. All laws meet the
same motions, all trials of a law at once. Without a condition all is good; with one of `CONDITIONS` the laws are tuned
under it, and are called ``LAW@CONDITION`` then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.baselines.dampers import CONDITIONS, LAWS, TUNABLE, TUNED, tuned
from agents.baselines.dampers_shared import Law, Numbers
from agents.dampers_play import play
from agents.shipped import speaks_of
from envs.core.errors import CityloopError
from envs.core.world import Controller
from envs.dampers.assembly import is_stable, load_site
from envs.dampers.block import Block
from envs.dampers.scenarios import Conditions, DampersScenario
from training.tuning.kept import check_kept, keep

LOGGER = logging.getLogger(__name__)

MOTIONS, WIDE, CLOSE, ROUNDS = 24, 15, 8, 2
"""Training motions, trials of the wide search beside the defaults, trials of each close search, and number of close
searches. A profile has one parameter per storey, and has as many times more close searches."""

FRAMES = 4
"""Number of sets of motions with different stiffness, for conditions with wrong stiffness."""

SUBSTEP_MS = 2.0
"""Longest time step of the simulation in ms: results within 0.5 % of those with 1 ms, in half the time."""

RANGES: dict[str, tuple[float, float]] = {
    "full": (0.02, 1.0),
    "gain": (0.05, 3.0),
    "leak_s": (0.5, 5.0),
    "velocity": (0.01, 100.0),
    "accel": (0.01, 30.0),
    "effort": (1e-4, 10.0),
    "lead_ms": (1.0, 40.0),
    "level": (0.02, 1.0),
    "storey": (0.02, 1.0),
}
"""Parameter → bounds of its log-uniform search; ``storey`` stands for ``storey_1`` and so on."""


class Tuner:
    """Scoring of controllers on a scenario's training motions.

    Args:
        scenario: the scenario.
        conditions: disturbances of the plant.
        motions: number of motions.
    """

    def __init__(self, scenario: DampersScenario, conditions: Conditions, motions: int = MOTIONS):
        timing = scenario.timing
        if timing.decision_ms % SUBSTEP_MS == 0 and is_stable(scenario.mounted, SUBSTEP_MS):
            scenario = scenario.override({"timing.substep_ms": max(timing.substep_ms, SUBSTEP_MS)})
        self.site = load_site(scenario)
        first = scenario.seeds.train.first
        sets = FRAMES if conditions.stiffness else 1
        self._seeds = np.array_split(np.arange(first, first + motions), min(sets, motions))
        self._block = Block(scenario, self.site, np.float32, conditions)

    def scores(self, controllers: Sequence[Controller]) -> np.ndarray:
        """Median of the headline indicator of each controller."""
        found = [play(self._block, controllers, seeds.tolist()) for seeds in self._seeds]
        return np.array([np.median([kpis["j"] for one in found for kpis in one[k]]) for k in range(len(controllers))])


def search(
    tuner: Tuner, kind: type[Law], known: Sequence[Numbers] = (), wide: int = WIDE, close: int = CLOSE
) -> tuple[Numbers, float]:
    """Search the best parameters of a law.

    Args:
        tuner: scoring on the training motions.
        kind: the law.
        known: parameters to try in addition to the defaults.
        wide: further trials in the first round.
        close: trials in each later round.

    Returns:
        The best parameters and their score.
    """
    rng, defaults = np.random.default_rng(0), kind.defaults(tuner.site)
    trials = [defaults, *known, *(_anywhere(defaults, rng) for _ in range(wide))]
    best, numbers = np.inf, defaults
    for _ in range(1 + ROUNDS * len(defaults)):
        scores = tuner.scores([kind(tuner.site, trial) for trial in trials])
        if scores.min() < best:
            best, numbers = float(scores.min()), trials[int(scores.argmin())]
        trials = [_near(numbers, rng) for _ in range(close)]
    return {key: float(f"{value:.4g}") for key, value in numbers.items()}, best


def _anywhere(numbers: Numbers, rng: np.random.Generator) -> Numbers:
    return {key: float(np.exp(rng.uniform(*np.log(_range(key))))) for key in numbers}


def _near(numbers: Numbers, rng: np.random.Generator) -> Numbers:
    moved = {key: value * float(np.exp(0.25 * rng.standard_normal())) for key, value in numbers.items()}
    return {key: float(np.clip(value, *_range(key))) for key, value in moved.items()}


def _range(number: str) -> tuple[float, float]:
    return RANGES["storey" if number.startswith("storey_") else number]


def tune(
    scenario: DampersScenario,
    laws: Sequence[str] = (),
    conditions: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Tune laws, and write what was found into ``dampers_tuned.json``; what else stands there stays.

    Args:
        scenario: the scenario.
        laws: names of the laws; none: all.
        conditions: names of `CONDITIONS` to tune them under; none: good conditions.
        on_progress: called with the numbers of tuned laws and of all, before and after each.

    Returns:
        A row per condition and law: ``law``, ``condition``, ``j`` (median of the headline indicator), ``parameters``.

    Raises:
        CityloopError: if a law or a condition is unknown, another building of the same name ships, or the file cannot
            be written.
    """
    check_kept(TUNED)
    for given, known, what in ((laws, TUNABLE, "law"), (conditions, CONDITIONS, "condition")):
        unknown = next((name for name in given if name not in known), None)
        if unknown is not None:
            raise CityloopError(f"{what} {unknown!r} is unknown: choose {', '.join(known)}")
    kinds = [kind for kind in LAWS if not laws or kind.name in laws]
    if scenario.motion.record:
        LOGGER.warning(
            "%s: the motion is that of a record, the same for every seed, so what is found suits this one motion; "
            "choose another motion.kind to tune on %d motions",
            scenario.ref,
            MOTIONS,
        )
    rows: list[dict[str, Any]] = []
    total = len(kinds) * len(conditions or ("",))
    on_progress(0, total)
    for condition in conditions or ("",):
        tuner = Tuner(scenario, Conditions.model_validate(CONDITIONS.get(condition, {})))
        if not speaks_of(scenario.name, tuner.site):
            raise CityloopError(f"another building ships as {scenario.name}: give yours a name of its own to tune it")
        for kind in kinds:
            before = [tuned(tuner.site, kind.name, each) for each in sorted({"", condition})]
            numbers, reached = search(tuner, kind, [numbers for numbers in before if numbers])
            keep(TUNED, f"{scenario.name}@{condition}" if condition else scenario.name, kind.name, numbers)
            rows.append({"law": kind.name, "condition": condition, "j": reached, "parameters": dict(numbers)})
            on_progress(len(rows), total)
    return rows
