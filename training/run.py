"""A training run in progress: updates, validation, checkpoints, until its budget is spent."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError
from envs.core.machine import files
from envs.core.machine.files import read_json, write_json, write_text
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from training.backprop import Backprop
from training.evolution import Evolution
from training.rllib.algorithm import Ppo
from training.settings import Settings
from training.task import Learner, Task, task_of
from training.tracking.config import describe
from training.tracking.folders import SPEED
from training.tracking.journal import Journal
from training.validate import OnEpisodes, Validator
from training.weights import Start

LOGGER = logging.getLogger(__name__)

Progress = Callable[[Mapping[str, Any]], None]
"""Called after every update with ``fraction`` done, ``iteration``, ``elapsed_s`` and the latest figures."""

SAVE_EVERY_S = 15.0
"""Least seconds between two checkpoints, because saving takes time; the last update is always saved."""

OTHERS: dict[str, Any] = {"backprop": Backprop, "evolution": Evolution}
"""Algorithm → its learner, for algorithms other than RLlib's PPO."""


def decisions_of_update(task: Task, scenarios: Sequence[Scenario], settings: Settings) -> list[int]:
    """Number of decisions in each scenario's plants per update."""
    if settings.algorithm == "evolution":
        return [settings.population * settings.workers * scenario.decisions for scenario in scenarios]
    if settings.algorithm == "backprop":  # its plants form one lot, in this process
        return [settings.workers * settings.fragment for _ in scenarios]
    return [plants.num_envs * settings.fragment * max(1, settings.runners) for plants in task.plants]


def critic_alone(learned: Start, settings: Settings) -> int:
    """Number of updates in which only the new critic learns, because the policy starts from learned weights."""
    return 0 if learned.critic or settings.algorithm in OTHERS else settings.critic_first


class Run:
    """A training run in progress, which owns the learner, the validator and the journal."""

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        settings: Settings,
        folder: Path,
        budget: Mapping[str, Any],
        on_episodes: OnEpisodes | None,
    ):
        self.scenarios, self.settings, self.folder, self.budget = scenarios, settings, folder, budget
        self.system = get_system(scenarios[0].system)
        self.iteration, self.elapsed_s, self._saved_s = 0, 0.0, 0.0
        self._alone = 0  # the policy does not learn yet in these updates, so they do not count against its patience
        self.task = task_of(scenarios, settings)
        self.validator = Validator(scenarios, settings, self.task.network, folder, on_episodes)
        kind = OTHERS.get(settings.algorithm, Ppo)
        self.learner: Learner = kind(self.task, scenarios, settings, folder)
        self.journal: Journal | None = None
        each = decisions_of_update(self.task, scenarios, settings)
        self._steps = sum(each)
        self._decisions = sum(n * agents for n, agents in zip(each, self.task.agents, strict=True))
        self._sim_s = sum(n * scenario.decision_s for n, scenario in zip(each, scenarios, strict=True))

    def start(self, command: str, learned: Start | None = None) -> None:
        """Start from the weights of another run if given, write the configuration, and run the rules for comparison."""
        if learned is not None:
            self.learner.begin(learned)
            self._alone = critic_alone(learned, self.settings)
        describe(self.folder, self.task.network, self.scenarios, self.settings, self.budget, command, learned)
        self._journal(None)

    def _journal(self, at: tuple[int, int] | None) -> None:
        labels = [scenario.label for scenario in self.scenarios]
        self.validator.refer()
        self.journal = Journal(self.folder, self.system.name, self.validator.kpi, labels, at)
        self.journal.compare(list(self.validator.reference))

    def close(self) -> None:
        """Stop plants and algorithm, flush events."""
        with ExitStack() as stack:  # whichever of them fails, the others are closed
            if self.journal is not None:
                stack.callback(self.journal.close)
            stack.callback(self.learner.stop)
            stack.callback(self.validator.close)

    # -- what a run survives ------------------------------------------------------------------------------------

    def save(self) -> None:
        """Checkpoint the last completed update; the pointer moves after everything is written."""
        folder = self.folder / "checkpoints"
        name = f"{self.iteration:06d}"
        self.learner.save((folder / name).resolve())
        files.sync_tree(folder / name)  # after a power cut, the pointer must not refer to a missing checkpoint
        progress: dict[str, Any] = {"iteration": self.iteration, "elapsed_s": self.elapsed_s, "alone": self._alone}
        progress |= {"validator": self.validator.state()}
        write_json(folder / name / "progress.json", progress)
        write_text(folder / "latest", name)
        for old in folder.iterdir():
            if old.is_dir() and old.name != name:
                shutil.rmtree(old, ignore_errors=True)
            elif old.name.endswith(files.DRAFT):  # of a process that was killed
                old.unlink(missing_ok=True)
        self._saved_s = self.elapsed_s

    def resume(self) -> None:
        """Resume from the last checkpoint.

        Raises:
            CityloopError: if there is none, or it cannot be read.
        """
        pointer = self.folder / "checkpoints" / "latest"
        if not pointer.is_file():
            raise CityloopError(f"run {self.folder} has no checkpoint yet: start it anew")
        checkpoint = pointer.parent / pointer.read_text().strip()
        try:
            self.learner.restore(checkpoint.resolve())
        except CityloopError:
            raise
        except Exception as error:  # torch, pickle and RLlib raise different errors for truncated files
            raise CityloopError(
                f"checkpoint {checkpoint} cannot be read ({type(error).__name__}): it is of another version, or was "
                "altered or cut off; begin a new run with what was learned by --start"
            ) from error
        progress = read_json(checkpoint / "progress.json")
        self.iteration, self.elapsed_s = progress["iteration"], progress["elapsed_s"]
        self._saved_s, self._alone = self.elapsed_s, progress.get("alone", 0)  # older runs lack it
        self.validator.restore(progress["validator"])
        self._journal((self.iteration, self._agent_steps))

    # -- the loop -----------------------------------------------------------------------------------------------

    @property
    def _agent_steps(self) -> int:
        return self.iteration * self._decisions

    def fraction(self) -> float:
        """Fraction of the budget that is spent."""
        shares = [0.0]
        if self.budget["iterations"]:
            shares.append(self.iteration / self.budget["iterations"])
        if self.budget["minutes"]:
            shares.append(self.elapsed_s / 60 / self.budget["minutes"])
        return 1.0 if self._tired else min(1.0, max(shares))

    @property
    def _tired(self) -> bool:
        """Whether the last `Settings.patience` validations did not improve on the best score."""
        patience = self.settings.patience
        return bool(patience and self.validator.stale >= patience and self.iteration > self._alone)

    def loop(self, on_progress: Progress | None) -> None:
        """Update until the budget is spent, validate at intervals, and choose the policy at the end."""
        if self.fraction() >= 1.0:
            spent = f"{self.iteration} updates in {self.elapsed_s / 60:.3g} min"
            if self._tired:
                stale = self.validator.stale
                LOGGER.warning(
                    "%s has ended (%s): patience, as %d validations were no better", self.folder, spent, stale
                )
            else:
                more = "only the choice among its finalists is left; give more --minutes or --iterations to go on"
                LOGGER.warning("%s has had its time (%s): %s", self.folder, spent, more)
        while self.fraction() < 1.0:
            started = time.perf_counter()
            figures = self.update()
            done = self.elapsed_s + time.perf_counter() - started
            if self.iteration % self.settings.validate_every == 0 or self._spent(done):
                figures |= self.validate()
            self.elapsed_s += time.perf_counter() - started
            if self.fraction() >= 1.0 or self.elapsed_s - self._saved_s >= SAVE_EVERY_S:
                self.save()
            if on_progress is not None:
                on_progress({"fraction": self.fraction(), "iteration": self.iteration, **figures})
        assert self.journal is not None
        scores = self.validator.choose_finalist()
        if scores:
            settings, score = self.settings.model_dump(), min(scores.values())
            self.journal.final(settings, score, self.iteration, self._agent_steps, self.elapsed_s)

    def _spent(self, elapsed_s: float) -> bool:
        """Whether the budget is spent after this update."""
        iterations, minutes = self.budget["iterations"], self.budget["minutes"]
        return bool((iterations and self.iteration >= iterations) or (minutes and elapsed_s / 60 >= minutes))

    def update(self) -> dict[str, float]:
        """Sample and learn once; writes the metrics and returns them."""
        assert self.journal is not None
        started = time.perf_counter()
        result = self.learner.update(self.fraction())
        took_s = time.perf_counter() - started
        self.iteration += 1
        figures = self.journal.update(result) | {
            SPEED: self._decisions / took_s,
            "time/env_steps_per_s": self._steps / took_s,
            "time/sim_s_per_s": self._sim_s / took_s,
        }
        self.journal.write(figures, self.iteration, self._agent_steps, self.elapsed_s + took_s)
        return figures

    def validate(self) -> dict[str, float]:
        """Validate the current policy, and log its indicators beside those of the rules."""
        assert self.journal is not None
        facts = {"iteration": self.iteration, "agent_steps": self._agent_steps}
        verdict = self.validator(self.learner.policy, facts)
        self.journal.validation(verdict, self.validator.reference, self.iteration, self._agent_steps, self.elapsed_s)
        return {"validation": verdict.score, "best": self.validator.best}
