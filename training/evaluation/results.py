"""Results of an evaluation: figures of every controller on the same seeds. `training.evaluate` computes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.scenario import Split
from envs.core.statistics import Paired, Standing, Summary, stand
from training.episodes import Episode


def short_names(controllers: Iterable[str]) -> dict[str, str]:
    """Short names of controllers for pictures and tables; a path is cut to the end that distinguishes it.

    Args:
        controllers: distinct names and paths.

    Returns:
        Controller → distinct short name.
    """
    found = list(controllers)
    parts = {name: Path(name).parts or (name,) for name in found}
    taken = dict.fromkeys(found, 1)
    while True:
        called = {name: Path(*parts[name][-taken[name] :]).as_posix() for name in found}
        alike = [name for name in found if list(called.values()).count(called[name]) > 1]
        longer = [name for name in alike if taken[name] < len(parts[name])]
        if not longer:  # ``a/b`` and ``./a/b`` are one path
            return called | {name: name for name in alike}
        for name in longer:
            taken[name] += 1


@dataclass(frozen=True)
class Result:
    """One controller's episodes.

    Attributes:
        summary: of the headline indicator. Where failed episodes mean nothing (`System.failure_voids`), a seed on
            which any controller failed is left out for all.
        failures: number of failed episodes (the system's failure indicator is 1).
        rows: one per seed: ``seed``, every indicator, ``reward`` (sum over decisions of the agents' mean) and
            ``interventions`` (requests that the guard changed).
    """

    summary: Summary
    failures: int
    rows: list[dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self.summary), "failures": self.failures, "rows": self.rows}


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes:
        scenario, label, hash: reference of the scenario, its name among others, and its content hash.
        split, seeds: split and seeds of the episodes.
        kpi: headline indicator, lower is better.
        versions: versions of the software used.
        controllers: controller → its result, in the order given.
        paired: every controller but the first → the first's difference to it.
        ratios: on every valid seed, the first's value divided by the least value of the others; empty if alone.
        void: seeds that are left out for all controllers, because an episode of one of them is void
            (`System.failure_voids`).
        policy: the meaning of ``policy`` at the site, in a sentence; None if it was not among the controllers.
        episodes: all episodes, ordered by controller, then seed.
        out: folder of the written results, if any.
    """

    scenario: str
    label: str
    hash: str
    split: Split
    seeds: list[int]
    kpi: str
    versions: dict[str, str]
    controllers: dict[str, Result]
    paired: dict[str, Paired]
    ratios: list[float]
    void: Sequence[int] = ()
    policy: str | None = None
    episodes: list[Episode] = field(repr=False, default_factory=list)
    out: Path | None = None

    @property
    def counting(self) -> int:
        """Number of valid seeds."""
        return len(self.seeds) - len(self.void)

    def values(self, controller: str) -> list[float]:
        """A controller's headline indicator on every valid seed, the basis of its summary."""
        return [row[self.kpi] for row in self.controllers[controller].rows if row["seed"] not in self.void]

    def played(self, controller: str) -> list[Episode]:
        """A controller's episodes on every valid seed."""
        return [one for one in self.episodes if one.controller == controller and one.seed not in self.void]

    def standing(self) -> Standing:
        """The first controller against the best of the others."""
        return stand(
            {name: (result.summary, result.failures) for name, result in self.controllers.items()}, self.ratios
        )

    def periods(self) -> dict[str, dict[str, dict[str, float]]]:
        """Period → controller → indicator → mean over its episodes; empty if the world has no periods."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name in self.controllers:
            mine = [episode.periods for episode in self.played(name)]
            for period in dict.fromkeys(period for one in mine for period in one):
                told = [one[period] for one in mine if period in one]  # a period may lack requests on some seeds
                found.setdefault(period, {})[name] = {
                    indicator: float(np.mean([values[indicator] for values in told if indicator in values]))
                    for indicator in dict.fromkeys(indicator for values in told for indicator in values)
                }
        return found

    def for_card(self) -> dict[str, Any]:
        """Results for the card of the first controller, a bundle, beside those of the others."""
        first = next(iter(self.controllers))
        table = {
            "this policy" if name == first else name: {
                **{key: round(value, 2) for key, value in asdict(result.summary).items()},
                "failures": result.failures,
            }
            for name, result in self.controllers.items()
        }
        system, count = self.scenario.partition("/")[0], self.counting
        title = f"{self.split}: {self.kpi} on {count} seed{'s' * (count > 1)} of {system}/{self.label}"
        return {title: table}

    def to_json(self) -> dict[str, Any]:
        """The contract of ``cityloop evaluate --json``."""
        return {
            "scenario": self.scenario,
            "label": self.label,
            "hash": self.hash,
            "split": self.split,
            "seeds": self.seeds,
            "kpi": self.kpi,
            "versions": self.versions,
            "controllers": {name: result.to_json() for name, result in self.controllers.items()},
            "paired": {name: asdict(paired) for name, paired in self.paired.items()},
            "ratios": self.ratios,
            "periods": self.periods(),
            "policy": self.policy,
            "out": None if self.out is None else str(self.out),
        }


class UnwrittenError(CityloopError):
    """An evaluation has ended, and its files cannot be written.

    Attributes:
        evaluation: its results, which may have taken hours.
    """

    def __init__(self, evaluation: Evaluation, folder: Path, why: str):
        self.evaluation = evaluation
        super().__init__(f"results cannot be written to {folder} ({why}): make room, or give another folder")
