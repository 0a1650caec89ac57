"""Metrics of a run in progress, as TensorBoard events and in ``metrics.csv``, under the same tags."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.machine.files import write_text
from training import pictures
from training.task import ACTION_RATE, INTERVENTION_RATE, KPI, LOST
from training.tracking.folders import tensorboard
from training.validate import Means, Verdict

NOT_LOGGED = ("total_loss", "num_trainable_parameters")
"""Metrics of RLlib's learner that carry no information about learning."""

FINAL = "eval/final_score"
"""Tag of a run's final score, by which runs are compared; it is not a point of the curve ``eval/score``."""

COLUMNS = ("iteration", "agent_steps", "elapsed_s", "tag", "value")


class Journal:
    """Writer of a run's metrics.

    Args:
        folder: folder of the run.
        system: name of the system.
        kpi: indicator by which policies are compared.
        labels: labels of the scenarios; with more than one, tags contain them.
        at: ``(iteration, agent_steps)`` after which an interrupted run continues; later entries are dropped.
    """

    def __init__(self, folder: Path, system: str, kpi: str, labels: Sequence[str], at: tuple[int, int] | None = None):
        self._path, self._labels = folder / "metrics.csv", labels
        self._system, self._kpi = system, kpi
        self._events = tensorboard(folder, purge_after=None if at is None else at[1])
        if at is not None:
            self._cut(at[0])

    def _cut(self, iteration: int) -> None:
        if self._path.is_file():
            with self._path.open() as file:
                whole = (row for row in csv.DictReader(file) if row["value"])  # the last line may be truncated
                rows = [row for row in whole if int(row["iteration"]) <= iteration and row["tag"] != FINAL]
            write_text(self._path, _table([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]))

    def tag(self, *words: str, label: str) -> str:
        """``a/b`` of one scenario's run, ``a/label/b`` where there are several."""
        *first, last = words
        return "/".join([*first, label, last] if len(self._labels) > 1 else words)

    def write(self, figures: Mapping[str, float], iteration: int, agent_steps: int, elapsed_s: float) -> None:
        """Write metrics, except for those that are not finite."""
        figures = {tag: float(figures[tag]) for tag in sorted(figures) if np.isfinite(figures[tag])}
        for tag, value in figures.items():
            self._events.add_scalar(tag, value, agent_steps)
        self._add(figures, iteration, agent_steps, elapsed_s)

    def _add(self, figures: Mapping[str, float], iteration: int, agent_steps: int, elapsed_s: float) -> None:
        rows: list[Sequence[Any]] = [] if self._path.exists() else [COLUMNS]
        rows += [(iteration, agent_steps, round(elapsed_s, 2), tag, f"{value:.6g}") for tag, value in figures.items()]
        with self._path.open("a") as file:
            file.write(_table(rows))

    def update(self, result: Mapping[str, Any]) -> dict[str, float]:
        """Metrics of one of RLlib's updates, by tag."""
        sampled, learned = result["env_runners"], result["learners"]["default_policy"]
        named = {
            "rollout/return_mean": sampled.get("episode_return_mean"),
            "rollout/action_change_rate": sampled.get(ACTION_RATE),
            "safety/shield_rate": sampled.get(INTERVENTION_RATE),
            "time/lost_plants": sampled.get(LOST),
            **{f"train/{name}": value for name, value in learned.items() if name not in NOT_LOGGED},
        }
        for label, kpis in sampled.get(KPI, {}).items():
            for name, value in kpis.items():
                named[self.tag("kpi", self._system, name, label=label)] = value
        return {tag: float(value) for tag, value in named.items() if _is_number(value)}

    def compare(self, rules: Sequence[str]) -> None:
        """Lay out TensorBoard's tab "Custom scalars": the policy's curve and the rules' lines in one chart."""
        charts = {}
        for label in self._labels:
            lines = [self.tag("eval", self._kpi, label=label)]
            lines += [self.tag("baseline", rule, self._kpi, label=label) for rule in rules]
            charts[f"{label}: {self._kpi} beside the rules"] = ["Multiline", lines]
        self._events.add_custom_scalars({self._system: charts})

    def validation(
        self, verdict: Verdict, reference: Mapping[str, Means], iteration: int, agent_steps: int, elapsed_s: float
    ) -> None:
        """A validation: its score, every indicator, the rules' lines, and a picture of a whole episode."""
        figures = {"eval/score": verdict.score}
        for label, mean in verdict.means.items():
            figures |= {self.tag("eval", name, label=label): value for name, value in mean.items()}
            for rule, means in reference.items():
                figures[self.tag("baseline", rule, self._kpi, label=label)] = means[label][self._kpi]
        self.write(figures, iteration, agent_steps, elapsed_s)
        picture = pictures.episode(verdict.episode, self._labels[0])
        if picture is not None:
            self._events.add_figure("eval/episode", picture, agent_steps)

    def final(
        self, settings: Mapping[str, Any], score: float, iteration: int, agent_steps: int, elapsed_s: float
    ) -> None:
        """Write the final score, also beside the settings in TensorBoard's tab "HParams".

        A resumed run drops this entry, because it lies one step after the last one.

        Args:
            settings: settings of the run.
            score: score of its policy, on the final seeds if there are any.
            iteration: last iteration.
            agent_steps: agents' decisions until then.
            elapsed_s: seconds until then.
        """
        self._events.add_hparams(dict(settings), {FINAL: score}, run_name=".", global_step=agent_steps + 1)
        self._add({FINAL: score} if np.isfinite(score) else {}, iteration, agent_steps, elapsed_s)

    def close(self) -> None:
        """Flush events."""
        self._events.close()


def _is_number(value: Any) -> bool:
    return value is not None and np.ndim(value) == 0 and bool(np.isfinite(float(value)))


def _table(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
