"""``cityloop oracle``: an estimate of the best possible gate control if rain and tide were known, by a long search.

Whole events are simulated repeatedly in SWMM under plans, one setting per gate and decision. The search starts from
the settings of given controllers and, if the network has a surrogate, from the best of these improved by the
surrogate's gradient. It perturbs a plan in some period for some gates, and keeps a change that reduces overflow: an
evolution strategy that only accepts improvements (Rechenberg 1973). The result is therefore no worse than these
controllers. It is not a proven bound: a longer search may find less overflow. Stuck gates and blocked conduits are not
known to the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents import references
from agents.baselines.drainage_branch import Branch, Run
from agents.baselines.drainage_mpc import STORED_SHARE
from agents.own import make_any
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.readings import Readings
from envs.core.scenario import Scenario
from envs.core.world import Controller, Observation, Requests
from envs.drainage.world import SwmmWorld
from training.drainage.descent import descend
from training.episodes import Progress, cores
from training.tracking.folders import versions

PROPOSALS = 8
"""Changed plans per round; independent of the number of processes, so that the result is too."""

WIDTH_MIN = (10.0, 480.0)
"""Bounds of a change's duration in minutes, drawn log-uniformly."""

AMOUNT = (0.02, 0.5)
"""Bounds of a change's amplitude as a fraction of full opening, drawn log-uniformly."""


@dataclass(frozen=True)
class Plan:
    """Settings of all gates at every decision, ``(T, N)``, and their cost in m³."""

    settings: np.ndarray
    cost_m3: float


class Replay(Controller):
    """A controller that requests the settings of a plan, one decision after the other.

    Args:
        settings: ``(T, N)``.
    """

    name = "oracle"

    def __init__(self, settings: np.ndarray):
        self._settings, self._at = settings, 0

    def reset(self) -> None:
        """Restart the plan."""
        self._at = 0

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Settings ``(N, 1)``."""
        at = min(self._at, len(self._settings) - 1)
        self._at += 1
        return self._settings[at][:, None].copy()


class Search:
    """Search for the plan with the least overflow in one episode.

    Args:
        loop: a loop whose world has just run that episode, and so has its rain.
        branches: processes that simulate plans.
        rng: source of random changes.
    """

    def __init__(self, loop: ControlLoop, branches: Sequence[Branch], rng: np.random.Generator):
        assert isinstance(loop.world, SwmmWorld)
        world, decision_s = loop.world, loop.scenario.decision_s
        self._branches, self._rng, self._decision_min = branches, rng, decision_s / 60
        self._start = world.setup.start
        self._rain = world.rain_mm * 3600 / decision_s
        self._tide = world.tides_m if world.scenario.tide.amplitude_m else None
        wet = np.convolve(self._rain.sum(axis=1), np.ones(round(360 / self._decision_min)))[: len(self._rain)] > 0
        self._wet = np.flatnonzero(wet) if wet.any() else np.arange(len(self._rain))

    def costs(self, plans: Sequence[np.ndarray]) -> list[float]:
        """Controllable overflow of every plan in m³, plus `STORED_SHARE` of the volume still stored at the end."""
        shares = [list(range(k, len(plans), len(self._branches))) for k in range(len(self._branches))]
        costs = [0.0] * len(plans)

        def run(branch: Branch, share: list[int]) -> None:
            tasks = [Run(None, self._start, plans[k], self._rain, self._tide) for k in share]
            for k, outcome in zip(share, branch.run(tasks), strict=True):
                costs[k] = outcome.overflow_m3 + STORED_SHARE * outcome.stored_m3

        with ThreadPoolExecutor(len(self._branches)) as pool:
            for done in [pool.submit(run, *pair) for pair in zip(self._branches, shares, strict=True)]:
                done.result()
        return costs

    def improve(self, plan: Plan, merged: np.ndarray | None) -> tuple[Plan, np.ndarray | None]:
        """One round of the search.

        Args:
            plan: the best plan so far.
            merged: candidate of the last round; None: there is none.

        Returns:
            The best of the plan, the candidate and new changes of the plan; and a candidate for the next round that
            combines all changes that helped, if there are several.
        """
        changes = [self._change(plan.settings) for _ in range(PROPOSALS)]
        tried = [np.clip(plan.settings + change, 0.0, 1.0) for change in changes]
        tried += [] if merged is None else [merged]
        costs = self.costs(tried)
        helped = [k for k in range(PROPOSALS) if costs[k] < plan.cost_m3]
        together = None
        if len(helped) > 1:
            together = np.clip(plan.settings + np.sum([changes[k] for k in helped], axis=0), 0.0, 1.0)
        best = int(np.argmin(costs))
        if costs[best] >= plan.cost_m3:
            return plan, None
        return Plan(tried[best], costs[best]), together

    def _change(self, settings: np.ndarray) -> np.ndarray:
        """A random change: a smooth bump in time, for some gates, around a moment with water in the network."""
        rng, (length, gates) = self._rng, settings.shape
        middle = rng.choice(self._wet)
        width = np.exp(rng.uniform(*np.log(WIDTH_MIN))) / self._decision_min
        away = np.abs(np.arange(length) - middle) / max(width, 1.0)
        shape = np.where(away < 1, 0.5 * (1 + np.cos(np.pi * np.minimum(away, 1.0))), 0.0)
        amount = np.exp(rng.uniform(*np.log(AMOUNT)))
        chosen = np.array(rng.random(gates) < 0.4)
        chosen[rng.integers(gates)] = True
        return np.asarray(shape[:, None] * (amount * chosen * rng.uniform(-1.0, 1.0, gates)))


def oracle(
    scenario: str | Scenario,
    seeds: Sequence[int] = (0,),
    rounds: int = 300,
    controllers: Sequence[str] = (),
    on_progress: Progress | None = None,
    steps: int = 60,
    **settings: Any,
) -> dict[str, Any]:
    """Search for the best plan on every seed, and run it through the guard.

    Args:
        scenario: a drainage scenario, or its reference.
        seeds: seeds of the episodes.
        rounds: rounds of the search per episode.
        controllers: controllers to start from, as for `agents.own.make_any`; none: the rules that training is compared
            with.
        on_progress: called with (rounds done, rounds in all).
        steps: gradient steps on the surrogate; 0: none.
        settings: changes to the scenario.

    Returns:
        ``{"scenario", "hash", "versions", "rounds", "begun_with", "rows": [{"seed", indicator: value, …}]}``.

    Raises:
        CityloopError: if the scenario is of another system, or a controller cannot be made.
    """
    loop = make_loop(scenario, **settings)
    world = loop.world
    if not isinstance(world, SwmmWorld):
        loop.close()
        raise CityloopError(f"scenario {loop.scenario.ref} has no oracle: give one of drainage")
    names = list(controllers) or list(references("drainage"))
    made = [make_any(name, loop.site) for name in names]
    branches = [Branch(loop.site) for _ in range(cores())]
    rows = []
    try:
        for k, seed in enumerate(seeds):
            plans = [_played(loop, controller, seed) for controller in made]
            search = Search(loop, branches, np.random.default_rng([seed, 17]))
            costs = search.costs(plans)
            if steps:
                more: list[np.ndarray] = []
                with suppress(CityloopError):  # no surrogate of this network
                    more = [descend(world.scenario, world.site, seed, plans[int(np.argmin(costs))], steps)]
                if more:
                    plans, costs = plans + more, costs + search.costs(more)
            plan, merged = Plan(plans[int(np.argmin(costs))], min(costs)), None
            for done in range(rounds):
                plan, merged = search.improve(plan, merged)
                if on_progress is not None:
                    on_progress(k * rounds + done + 1, rounds * len(seeds))
            rows.append({"seed": seed, **loop.episode(Replay(plan.settings), seed).kpis})
    finally:
        for branch in branches:
            branch.close()
        loop.close()
    return {
        "scenario": loop.scenario.ref,
        "hash": loop.scenario.hash,
        "versions": versions(),
        "rounds": rounds,
        "begun_with": names,
        "rows": rows,
    }


def _played(loop: ControlLoop, controller: Controller, seed: int) -> np.ndarray:
    """Settings that a controller commands in an episode, ``(T, N)``."""
    controller.reset()
    loop.reset(seed, controller.program)
    settings, step = [], None
    while step is None or not step.done:
        step = loop.step(controller.act(loop.readings, loop.observation))
        settings.append(np.asarray(step.commands, dtype=np.float64).reshape(-1))
    return np.array(settings)
