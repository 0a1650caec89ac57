"""How a policy comes to be: RLlib trains it, validation seeds choose the best, nothing is lost to a kill.

A run folder holds ``config.yaml`` (the resolved whole), ``versions.json``, TensorBoard events, ``metrics.csv``,
``checkpoints/`` (RLlib's, for resuming on this machine), and ``best/`` (the best policy's plain weights).
"""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from agents.networks import NETWORK_OF
from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.scenario import Scenario, read_yaml
from training.algorithm import Settings, build_algorithm, ray_session, set_learning_rate
from training.learner import APPROX_KL, CLIP_FRACTION
from training.tracking import (
    RunFolder,
    read_json,
    tensorboard,
    versions,
    write_json,
    write_text,
    write_yaml,
)
from training.validate import Validator

Progress = Callable[[Mapping[str, Any]], None]
"""Called after every update with ``fraction`` done, ``iteration``, ``elapsed_s`` and the latest figures."""

REFERENCES = 4
"""Validation episodes for the baselines' reference lines."""


def train(
    scenario: Scenario,
    *,
    minutes: float | None = None,
    iterations: int | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> Path:
    """Train a policy and return the run's folder.

    Args:
        scenario: what to train on; ignored when resuming.
        minutes: stop after so much time (of all sessions together). Without a bound: 30 minutes.
        iterations: stop after so many updates.
        out: the run's folder instead of a new one under ``runs/``.
        resume: a run's folder to go on with, from its last completed update.
        on_progress: told after every update.
        settings: fields of `training.algorithm.Settings`.

    Raises:
        CityloopError: if a setting does not fit, or the folder is held by another run.
    """
    if resume is not None:
        folder = RunFolder.open(Path(resume))
        content = read_yaml(folder.path / "config.yaml")
        scenario = get_system(content["scenario"]["system"]).scenario_class.parse(content["scenario"], str(resume))
        if content["settings"].get("algorithm") != Settings().algorithm:
            raise CityloopError(f"run {resume} was not made by this trainer and cannot go on: start it anew")
        chosen = _settings(content["settings"])
        budget = content["budget"] | {
            key: value for key, value in {"minutes": minutes, "iterations": iterations}.items() if value is not None
        }
    else:
        chosen = _settings(settings)
        budget = {"minutes": minutes, "iterations": iterations}
        folder = RunFolder.create(scenario, chosen.algorithm, chosen.seed, out)
    if budget["minutes"] is None and budget["iterations"] is None:
        budget["minutes"] = 30.0
    with folder:
        content = {
            "algorithm": "PPO, shared policy, central critic (MAPPO), RLlib",
            "network": NETWORK_OF[scenario.system],
            "scenario": scenario.model_dump(mode="json"),
            "settings": chosen.model_dump(),
            "budget": budget,
        }
        write_yaml(folder.path / "config.yaml", content)
        write_json(folder.path / "versions.json", versions())
        with ray_session(cpus=chosen.workers + 1), closing(_Run(scenario, chosen, folder.path, budget)) as run:
            run.resume() if resume is not None else run.references()
            run.loop(on_progress)
    return folder.path


def _settings(values: Mapping[str, Any]) -> Settings:
    from pydantic import ValidationError

    from envs.core.site import first_problem

    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise CityloopError(f"training settings: {first_problem(error)}") from None


class _Run:
    """One training run in progress: owns RLlib's algorithm, the validation plants and the event writer."""

    def __init__(self, scenario: Scenario, settings: Settings, folder: Path, budget: Mapping[str, Any]):
        self.scenario, self.settings, self.folder, self.budget = scenario, settings, folder, budget
        self.system = get_system(scenario.system)
        self.iteration, self.elapsed_s = 0, 0.0
        self.reference: dict[str, dict[str, float]] = {}
        self.events = tensorboard(folder)
        self.algorithm = build_algorithm(scenario, settings, folder)
        self.validator = Validator(scenario, settings.validation_seeds, self.system.kpi, folder / "best")
        self.agents = len(self.validator.plants.loop.site.agents)

    def close(self) -> None:
        """Stop plants and algorithm, flush events."""
        self.validator.close()
        self.algorithm.stop()
        self.events.close()

    # -- what a run survives ------------------------------------------------------------------------------------

    def save(self) -> None:
        """Checkpoint the last completed update; the pointer moves when all is written."""
        folder = self.folder / "checkpoints"
        name = f"{self.iteration:06d}"
        self.algorithm.save_to_path(str((folder / name).resolve()))
        best = None if np.isinf(self.validator.best) else self.validator.best
        progress = {"iteration": self.iteration, "elapsed_s": self.elapsed_s, "best": best}
        write_json(folder / name / "progress.json", progress)
        write_text(folder / "latest", name)
        for old in folder.iterdir():
            if old.is_dir() and old.name != name:
                shutil.rmtree(old, ignore_errors=True)

    def resume(self) -> None:
        """Go on from the last checkpoint.

        Raises:
            CityloopError: if the run has none.
        """
        pointer = self.folder / "checkpoints" / "latest"
        if not pointer.is_file():
            raise CityloopError(f"run {self.folder} has no checkpoint yet: start it anew")
        checkpoint = pointer.parent / pointer.read_text().strip()
        self.algorithm.restore_from_path(str(checkpoint.resolve()))
        # RLlib leaves runners with their initial weights for one round after a restore.
        self.algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.algorithm.learner_group, inference_only=True
        )
        progress = read_json(checkpoint / "progress.json")
        self.iteration, self.elapsed_s = progress["iteration"], progress["elapsed_s"]
        self.validator.best = float("inf") if progress["best"] is None else progress["best"]
        references = self.folder / "references.json"
        self.reference = read_json(references) if references.is_file() else {}

    # -- the loop -----------------------------------------------------------------------------------------------

    def fraction(self) -> float:
        """Share of the budget that is spent."""
        shares = []
        if self.budget["iterations"]:
            shares.append(self.iteration / self.budget["iterations"])
        if self.budget["minutes"]:
            shares.append(self.elapsed_s / 60 / self.budget["minutes"])
        return min(1.0, max(shares))

    def loop(self, on_progress: Progress | None) -> None:
        """Update until the budget is spent; validate now and then, and at the end."""
        while self.fraction() < 1.0:
            started = time.perf_counter()
            set_learning_rate(self.algorithm, self.settings.learning_rate * (1 - 0.9 * self.fraction()))
            result = self.algorithm.train()
            self.iteration += 1
            took = time.perf_counter() - started
            self.elapsed_s += took
            figures = self._log(result, took)
            if self.iteration % self.settings.validate_every == 0 or self.fraction() >= 1.0:
                figures |= self.validate()
            self.elapsed_s += time.perf_counter() - started - took
            self.save()
            if on_progress is not None:
                on_progress({"fraction": self.fraction(), "iteration": self.iteration, **figures})

    def _log(self, result: Mapping[str, Any], took_s: float) -> dict[str, float]:
        """Write an update's figures to TensorBoard and ``metrics.csv``."""
        sampled, learned = result["env_runners"], result["learners"]["default_policy"]
        decisions = self.settings.workers * self.settings.fragment
        figures = {
            "rollout/return_mean": sampled.get("episode_return_mean"),
            "train/policy_loss": learned["policy_loss"],
            "train/value_loss": learned["vf_loss"],
            "train/entropy": learned["entropy"],
            "train/approx_kl": learned[APPROX_KL],
            "train/clip_fraction": learned[CLIP_FRACTION],
            "train/explained_variance": learned["vf_explained_var"],
            "train/learning_rate": learned.get("default_optimizer_learning_rate"),
            "time/agent_steps_per_s": decisions * self.agents / took_s,
            "time/env_steps_per_s": decisions / took_s,
            "time/sim_s_per_s": decisions * self.scenario.decision_s / took_s,
            "safety/shield_rate": sampled.get("intervention_rate"),
        }
        for name, value in sampled.get("kpi", {}).items():
            figures[f"kpi/{self.system.name}/{name}"] = value
        clean = {k: float(v) for k, v in figures.items() if v is not None and np.isfinite(float(v))}
        self._scalars(clean)
        self._append_csv(clean)
        return clean

    @property
    def _agent_steps(self) -> int:
        return self.iteration * self.settings.workers * self.settings.fragment * self.agents

    def _scalars(self, figures: Mapping[str, float]) -> None:
        for tag, value in figures.items():
            self.events.add_scalar(tag, value, self._agent_steps)

    def _append_csv(self, figures: Mapping[str, float]) -> None:
        path = self.folder / "metrics.csv"
        row = {"iteration": self.iteration, "agent_steps": self._agent_steps, "elapsed_s": round(self.elapsed_s, 2)}
        text = io.StringIO()
        if not path.exists():
            csv.writer(text).writerow(["iteration", "agent_steps", "elapsed_s", "tag", "value"])
        csv.writer(text).writerows([[*row.values(), tag, f"{value:.6g}"] for tag, value in figures.items()])
        with path.open("a") as file:
            file.write(text.getvalue())

    # -- validation ---------------------------------------------------------------------------------------------

    def references(self) -> None:
        """Run the rule-based controllers on a few validation seeds, for lines to compare with."""
        from agents import rules
        from training.evaluate import evaluate

        names = list(rules(self.system.name))
        found = evaluate(self.scenario, names, seeds=REFERENCES, split="validation", save=False).controllers
        for name in names:
            self.reference[name] = {
                kpi: float(np.mean([row[kpi] for row in found[name].rows])) for kpi in self.system.kpis
            }
        write_json(self.folder / "references.json", self.reference)
        kpi = self.system.kpi
        lines = [f"eval/{kpi}", *(f"baseline/{name}/{kpi}" for name in names)]
        # TensorBoard's tab "Custom scalars": the policy's curve and the baselines' lines in one chart.
        self.events.add_custom_scalars({self.system.name: {f"{kpi} beside the baselines": ["Multiline", lines]}})

    def validate(self) -> dict[str, float]:
        """Validate the present policy; the baselines' lines are drawn beside its own."""
        facts = {"iteration": self.iteration, "agent_steps": self._agent_steps}
        means = self.validator(self.algorithm.get_module().policy, facts)
        figures = {f"eval/{kpi}": value for kpi, value in means.items()}
        for name, kpis in self.reference.items():
            figures[f"baseline/{name}/{self.system.kpi}"] = kpis[self.system.kpi]
        self._scalars(figures)
        self._append_csv(figures)
        return {"validation": means[self.system.kpi], "best": self.validator.best}
