"""Tables for people: controllers on a scenario, a controller's standing on several, the trials of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from envs.core.registry import get_system
from envs.core.statistics import geometric_mean
from training.evaluation.results import Evaluation, short_names
from verbs.terminal import number, table

if TYPE_CHECKING:  # Ray is not needed for a table
    from training.sweep import Trial


ENDLESS = 1e6
"""Bound beyond which a ratio counts as a ratio to zero."""


def evaluation_table(evaluation: Evaluation) -> Table:
    """One row per controller: quantiles, failures, and the paired difference of the first controller to it.

    Means of the indicators in `System.beside` come before the difference.
    """
    names, count, seeds = list(evaluation.controllers), evaluation.counting, len(evaluation.seeds)
    called = short_names(names)
    shown = get_system(evaluation.scenario.partition("/")[0]).beside
    columns = ["controller", "median", "mean", "p90", "worst", "failures", "guard changes", *shown]
    rows = []
    for name, result in evaluation.controllers.items():
        summary = result.summary
        quantiles = [f"{value:.2f}" for value in (summary.median, summary.mean, summary.p90, summary.worst)]
        changes = sum(row["interventions"] for row in result.rows)
        beside = [f"{np.mean([row[kpi] for row in result.rows]):.2f}" for kpi in shown]
        rows.append([called[name], *quantiles, str(result.failures), f"{changes:g}", *beside])
    if evaluation.paired:
        columns += [f"{called[names[0]]} less this [95 %]", "÷ this"]
        for name, row in zip(names, rows, strict=True):
            p = evaluation.paired.get(name)
            row.append(f"{p.difference:+.2f} [{p.low:+.2f}, {p.high:+.2f}]" if p else "")
            row.append(_share(p.ratio) if p else "")
    of = f"{count} of {seeds}" if count < seeds else str(seeds)
    title = f"{evaluation.label}: {evaluation.kpi} on {of} {evaluation.split} seed{'s' * (seeds > 1)}"
    return table(f"{title}, lower is better", columns, rows, numbers=1)


def periods_table(evaluation: Evaluation) -> Table:
    """One row per period and controller, with means of its indicators; only for worlds with periods."""
    found, called = evaluation.periods(), short_names(evaluation.controllers)
    columns = list(dict.fromkeys(each for means in found.values() for values in means.values() for each in values))
    rows = [
        (period, called[name], *(f"{values[each]:.2f}" if each in values else "" for each in columns))
        for period, means in found.items()
        for name, values in means.items()
    ]
    return table(
        f"{evaluation.label}: by period of the service, means", ("period", "controller", *columns), rows, numbers=2
    )


def figures_table(title: str, figures: Mapping[str, Mapping[str, float]]) -> Table:
    """One row per name, with its figures in columns; all names have the same figures."""
    columns = next(iter(figures.values()))
    rows = [(name, *(number(float(value)) for value in values.values())) for name, values in figures.items()]
    return table(title, ("", *columns), rows, numbers=1)


def standings_table(evaluations: Sequence[Evaluation]) -> Table:
    """One row per scenario: the first controller relative to the best of the others; its own figures if alone.

    ``seed by seed ÷`` is the mean of the ratios to the best of the others on each seed, ``worst ÷`` the largest of
    them; in the last row, over all seeds of all scenarios.
    """
    names = list(evaluations[0].controllers)
    first, called = names[0], short_names(names)
    if len(names) == 1:
        results = [(evaluation.label, evaluation.controllers[first]) for evaluation in evaluations]
        alone = [[label, f"{r.summary.median:.2f}", f"{r.summary.mean:.2f}", str(r.failures)] for label, r in results]
        return table(f"{called[first]} everywhere", ("scenario", "median", "mean", "failures"), alone, numbers=1)
    standings = [evaluation.standing() for evaluation in evaluations]
    rows = [
        [
            evaluation.label,
            _share(standing.median_ratio),
            called[standing.rival],
            _share(standing.mean_ratio),
            called[standing.mean_rival],
            _share(standing.seed_mean),
            _share(standing.seed_worst),
            str(standing.failures),
            str(standing.rival_failures),
        ]
        for evaluation, standing in zip(evaluations, standings, strict=True)
    ]
    median = geometric_mean([standing.median_ratio for standing in standings])
    mean = geometric_mean([standing.mean_ratio for standing in standings])
    failures = [sum(s.failures for s in standings), sum(s.rival_failures for s in standings)]
    ratios = np.concatenate([evaluation.ratios for evaluation in evaluations])
    seeds = [_share(ratios.mean()), _share(ratios.max())]
    rows.append(["all (geometric mean)", _share(median), "", _share(mean), "", *seeds, *map(str, failures)])
    columns = [
        *("scenario", "median ÷", "best median", "mean ÷", "best mean"),
        *("seed by seed ÷", "worst ÷", "failures", "of the best median"),
    ]
    return table(f"{called[first]} as a share of the best of the others", columns, rows, numbers=1)


def trials_table(trials: Sequence[Trial]) -> Table:
    """One row per trial, best first."""
    keys = list(trials[0].settings)
    rows = []
    for trial in trials:
        values = [number(trial.settings[key]) for key in keys]
        rows.append(["failed" if trial.score is None else number(trial.score), *values, trial.problem])
    return table("Trials, the lowest score first", ("score", *keys, ""), rows)


def _share(ratio: float) -> str:
    """A ratio as text; a ratio to zero is infinite."""
    return "∞" if ratio > ENDLESS else f"{ratio:.3f}"
