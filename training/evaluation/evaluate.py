"""Evaluation of frozen controllers on the same seeds: quantiles, worst case, failures, and paired differences.

Results come from evaluations only, never from training episodes. This module is independent of any system: indicators,
failures and traces are taken by name from the system and its world.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agents import POLICY, meaning
from agents.own import make_any
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.scenario import Scenario, Split
from envs.core.statistics import compare, seed_ratios, summarise
from training.episodes import Episode, EpisodeTask, Progress, run_episodes
from training.evaluation.results import Evaluation, Result, UnwrittenError
from training.tracking.folders import RUNS, free_path, refuse_taken, stamp, versions

LOGGER = logging.getLogger(__name__)

ALIKE = 0.01
"""Spread of a controller's values over the seeds, as a share of their mean, below which seeds hardly matter."""


def evaluate(
    scenario: str | Scenario,
    controllers: Sequence[str | Path],
    seeds: int | Sequence[int] = 20,
    split: Split = "test",
    *,
    processes: int | None = None,
    out: str | Path | None = None,
    on_progress: Progress | None = None,
    save: bool = True,
    **settings: Any,
) -> Evaluation:
    """Run every controller on every seed, in parallel, and compare the first with each of the others.

    The result depends on the scenario, the controllers and the seeds, not on the number of processes.

    Args:
        scenario: a scenario or its reference.
        controllers: as for `agents.own.make_any`; differences are the first's values minus each other's.
        seeds: number of the split's first seeds to use, or the seeds themselves.
        split: ``test`` for results, ``validation`` to choose between policies.
        processes: number of parallel episodes; None: one per core.
        out: a new or empty folder; None: ``runs/<system>/<scenario>/evaluate/<stamp>/``.
        on_progress: called with (episodes done, episodes in all).
        save: whether to write ``out``.
        settings: changes to the scenario, e.g. ``regime="resco"``.

    Raises:
        CityloopError: if an argument cannot be used, before any episode starts; or if an episode fails.
        UnwrittenError: with the evaluation, if ``out`` cannot be written, e.g. because the disk is full.
    """
    with closing(make_loop(scenario, **settings)) as loop:
        place = loop.scenario
        chosen = _seeds(place, seeds, split)
        names = _names(controllers)
        if processes is not None and (not isinstance(processes, int) or processes < 1):
            raise CityloopError(f"processes is {processes!r}: give a whole number from 1 on")
        for name in names:
            make_any(name, loop.site)
        folder = Path(out) if out is not None else free_path(RUNS / place.system / place.name / "evaluate", stamp())
        if save:
            refuse_taken(folder, whole=True)
        tasks = [EpisodeTask(name, seed) for name in names for seed in chosen]
        episodes = run_episodes(place, tasks, processes, on_progress, make_any)
        evaluation = _evaluation(loop, names, split, chosen, episodes)
        if save:
            from training.evaluation.report import write

            if out is None:  # an evaluation that began in the same second may have taken the path
                folder = free_path(folder.parent, folder.name)
            try:
                write(replace(evaluation, out=folder), loop, folder)
            except (OSError, CityloopError) as error:  # CityloopError: it was taken meanwhile
                why = error.strerror if isinstance(error, OSError) else None
                raise UnwrittenError(evaluation, folder, why or str(error)) from error
            evaluation = replace(evaluation, out=folder)
        return evaluation


def _names(controllers: Sequence[str | Path]) -> list[str]:
    if isinstance(controllers, (str, Path)):
        raise CityloopError(f"controllers is {str(controllers)!r}: give a list of them")
    for each in controllers:
        if not isinstance(each, (str, Path)):
            raise CityloopError(f"a controller is {each!r}: name where its code stands, as FILE.py:NAME or MODULE:NAME")
        if str(each).startswith("__main__:"):
            raise CityloopError(
                f"a controller is {str(each)!r}, and episodes run in processes that do not know what a notebook or "
                "this script defines: put it in a file, and give FILE.py:NAME"
            )
    names = list(dict.fromkeys(str(each) for each in controllers))
    if not names:
        raise CityloopError("no controller is given: name at least one with -c, e.g. -c actuated")
    return names


def _seeds(scenario: Scenario, seeds: int | Sequence[int], split: Split) -> list[int]:
    if split not in ("train", "validation", "test"):
        raise CityloopError(f"split {split!r} is unknown: choose test, validation or train")
    allowed = getattr(scenario.seeds, split)
    if _whole(seeds):
        return allowed.take(int(seeds))  # type: ignore[arg-type]
    given = list(seeds) if isinstance(seeds, Iterable) else [seeds]
    if isinstance(seeds, str) or not all(_whole(seed) for seed in given):
        raise CityloopError(f"seeds is {seeds!r}: give how many, or a list of whole numbers")
    for seed in given:
        if seed not in allowed:
            raise CityloopError(
                f"seed {seed} is not of the {split} split: give seeds from {allowed.first} to {allowed.last}"
            )
    if not given or len(set(given)) != len(given):
        raise CityloopError(f"seeds are {given}: give at least one, and each only once")
    return [int(seed) for seed in given]


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _evaluation(
    loop: ControlLoop, names: list[str], split: Split, seeds: list[int], episodes: list[Episode]
) -> Evaluation:
    """Summaries and comparisons of episodes; a controller of which every episode is void is left out with a warning.

    Raises:
        CityloopError: if no seed is left, or the controller that is compared is left out.
    """
    system = loop.system
    rows = {name: [_row(episode) for episode in episodes if episode.controller == name] for name in names}
    names, kept = _valid(loop, rows, len(seeds))
    kpi = system.headline(loop.scenario)
    values = {name: [rows[name][k][kpi] for k in kept] for name in names}
    if len(kept) > 1 and all(np.ptp(mine) < ALIKE * abs(np.mean(mine)) for mine in values.values()):
        LOGGER.warning(
            "%s: %s is about the same on all %d seeds, under every controller, as where one recorded event is played: "
            "the intervals tell nothing of other events",
            loop.scenario.ref,
            kpi,
            len(kept),
        )
    first, *others = names
    negligible = system.negligible if kpi == system.kpi else 0.0
    return Evaluation(
        scenario=loop.scenario.ref,
        label=loop.scenario.label,
        hash=loop.scenario.hash,
        split=split,
        seeds=seeds,
        kpi=kpi,
        versions=versions(),
        controllers={
            name: Result(summarise(values[name]), sum(map(system.failed, rows[name])), rows[name]) for name in names
        },
        paired={name: compare(values[first], values[name], negligible) for name in others},
        ratios=seed_ratios(values[first], [values[name] for name in others], negligible) if others else [],
        void=[seed for k, seed in enumerate(seeds) if k not in kept],
        policy=meaning(loop.site).why if POLICY in names else None,
        episodes=[episode for episode in episodes if episode.controller in names],
    )


def _valid(loop: ControlLoop, rows: dict[str, list[dict[str, float]]], seeds: int) -> tuple[list[str], list[int]]:
    """Controllers that are compared, and indices of the seeds on which no episode of theirs is void.

    Args:
        loop: loop of the site.
        rows: controller → its rows, one per seed.
        seeds: number of seeds.

    Raises:
        CityloopError: as `_evaluation`.
    """
    system, names = loop.system, list(rows)
    void = {
        name: {k for k, row in enumerate(mine) if system.failure_voids and system.failed(row)}
        for name, mine in rows.items()
    }
    why = f"{system.failure}: {system.kpis[system.failure]}"
    useless = [name for name in names if len(void[name]) == seeds]
    if useless and useless != names and names[0] not in useless:
        told = ", ".join(useless)
        LOGGER.warning(
            "%s: left out of the comparison: %s, as every episode is void (%s)", loop.scenario.ref, told, why
        )
        names = [name for name in names if name not in useless]
    kept = [k for k in range(seeds) if not any(k in void[name] for name in names)]
    if not kept:
        told = ", ".join(f"{name} on {len(void[name])} of {seeds}" for name in names if void[name])
        raise CityloopError(
            f"{loop.scenario.ref}: every seed failed, so nothing can be compared ({why}): {told}; leave one out, or "
            "give other seeds"
        )
    return names, kept


def _row(episode: Episode) -> dict[str, float]:
    return {
        "seed": episode.seed,
        **episode.kpis,
        "reward": episode.reward,
        "interventions": episode.interventions,
    }
