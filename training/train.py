"""Training runs: RLlib trains a policy, validation selects the best, and a killed run can be resumed without loss.

A run folder holds ``config.yaml`` (the resolved whole), ``versions.json``, TensorBoard events, ``metrics.csv``,
``checkpoints/`` (RLlib's, for resuming on this machine), ``candidates/`` and ``best/`` (plain weights).
"""

from __future__ import annotations

import errno
import logging
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import find_bundle
from envs.core.errors import CityloopError
from envs.core.machine import files
from envs.core.machine.files import read_json, write_json, write_text
from envs.core.registry import get_system, load_scenario
from envs.core.scenario import Scenario, read_yaml
from training.backprop import Backprop
from training.evolution import Evolution
from training.rllib.algorithm import Ppo
from training.session import ray_session
from training.settings import Settings, check_budget
from training.start import read_start
from training.task import Learner, Task, check_together, task_of
from training.tracking.config import describe, parse_settings, read_config
from training.tracking.folders import SPEED, RunFolder, write_yaml
from training.tracking.journal import Journal
from training.tracking.stored import check_whole, hashes_of, trained_on
from training.validate import OnEpisodes, Validator
from training.weights import Start

LOGGER = logging.getLogger(__name__)

Progress = Callable[[Mapping[str, Any]], None]
"""Called after every update with ``fraction`` done, ``iteration``, ``elapsed_s`` and the latest figures."""

SAVE_EVERY_S = 15.0
"""Least seconds between two checkpoints, because saving takes time; the last update is always saved."""

NO_BOUND = {"minutes": None, "iterations": None}
"""A budget without limits."""


def train(
    scenarios: str | Scenario | Sequence[str | Scenario] = (),
    *,
    minutes: float | None = None,
    iterations: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    start: str | Path | None = None,
    start_update: int | None = None,
    on_progress: Progress | None = None,
    on_episodes: OnEpisodes | None = None,
    command: str = "",
    **settings: Any,
) -> Path:
    """Train a policy and return the run's folder.

    Args:
        scenarios: one or several training scenarios of one system, or their references; ignored when resuming.
        minutes: time limit over all sessions of the run. Default if there is no limit: 30 minutes, or the limits with
            which a resumed run began.
        iterations: limit of updates.
        out: folder of the run; default: a new one under ``runs/``.
        resume: folder of a run to resume from its last checkpoint.
        start: folder of a run from whose best policy, and critic if it has one, a new run starts; or a bundle, or the
            name of a shipped policy, with which a new critic is trained and at first learns alone.
        start_update: start from the policy that was validated after this update; None: from the best.
        on_progress: called after every update.
        on_episodes: called after every validation episode of a rule or a policy.
        command: command line of the run, for the policy's card.
        settings: fields of `training.settings.Settings`; defaults are those for the system (`System.training`).

    Raises:
        CityloopError: if a setting or a limit does not fit, or the folder is locked by another run.
    """
    given = check_budget(minutes, iterations)
    if resume is not None and start is not None:
        raise CityloopError("a run that goes on has begun: give either a run to resume or one to start from")
    if resume is not None and (settings or out is not None):
        name = next(iter(settings), "out")
        raise CityloopError(f"{name} does not go with a run to resume, which goes on as it began: start a new one")
    if start is None and start_update is not None:
        raise CityloopError(
            f"start_update is {start_update}: it says which policy of a run to begin with, so give start"
        )
    if resume is not None:
        plan = _resumed(Path(resume), given, command)
    else:
        listed = [scenarios] if isinstance(scenarios, (str, Scenario)) else list(scenarios)
        places = [load_scenario(place) for place in listed]
        plan = _new(places, settings, given, start, start_update, None if out is None else Path(out))
    chosen, folder = plan.settings, plan.folder
    ray = nullcontext() if chosen.algorithm in OTHERS else ray_session(chosen.runners + 1, least=chosen.runners)
    with (
        _resume_hint(folder.path),
        folder,
        ray,
        closing(_Run(plan.scenarios, chosen, folder.path, plan.budget, on_episodes)) as run,
    ):
        if resume is None:
            run.start(command, plan.learned)
        else:
            run.resume()
            if plan.config is not None:
                write_yaml(folder.path / "config.yaml", plan.config)
        run.loop(on_progress)
    return folder.path


@dataclass(frozen=True)
class _Plan:
    """A run that is about to start or resume.

    Attributes:
        folder: folder of the run, locked by this process.
        scenarios: training scenarios.
        settings: hyperparameters.
        budget: ``minutes`` and ``iterations``, each a limit or None.
        learned: weights from which a new run starts.
        config: ``config.yaml`` of a resumed run whose budget changes.
    """

    folder: RunFolder
    scenarios: list[Scenario]
    settings: Settings
    budget: Mapping[str, Any]
    learned: Start | None = None
    config: Mapping[str, Any] | None = None


def _new(
    scenarios: list[Scenario],
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    start: str | Path | None,
    start_update: int | None,
    out: Path | None,
) -> _Plan:
    """A new run: settings on top of those for the system, and a new folder."""
    if not scenarios:
        raise CityloopError("there is nothing to train on: give at least one scenario")
    check_together(scenarios)
    learned = None if start is None else _learned(str(start), start_update, scenarios[0])
    suited = get_system(scenarios[0].system).training.get(str(settings.get("algorithm", "mappo")), {})
    chosen = parse_settings({**suited, **settings})
    if chosen.algorithm == "sb3":
        raise CityloopError("algorithm is 'sb3': train it by `--algo sb3`, or training.reference.train_reference")
    _check_reach(learned, chosen, given["iterations"])
    folder = RunFolder.create(scenarios, chosen.algorithm, chosen.seed, out)
    return _Plan(folder, scenarios, chosen, _bounded(given), learned)


def _resumed(path: Path, given: Mapping[str, Any], command: str) -> _Plan:
    """A run that resumes from its last checkpoint, with its original budget unless another is given."""
    folder = RunFolder.open(path)
    try:
        content, chosen, scenarios = _begun(path)
    except BaseException:
        folder.close()
        raise
    before = content["budget"]
    budget = _bounded(before if given == NO_BOUND else given)
    longer = {"budget": budget, "command": f"{content['command']}\n{command}".strip()}
    return _Plan(folder, scenarios, chosen, budget, config=content | longer if budget != before else None)


def _begun(run: Path) -> tuple[dict[str, Any], Settings, list[Scenario]]:
    """``config.yaml`` of a run to resume, with its settings and scenarios."""
    content = read_yaml(run / "config.yaml")
    chosen, scenarios = read_config(content, str(run))
    check_whole(content, str(run), "budget", "command")
    check_whole(content["budget"] or {}, str(run), *NO_BOUND)
    if chosen.algorithm == "sb3":
        raise CityloopError(f"run {run} is a stable-baselines3 reference and cannot go on: start it anew")
    now = trained_on(scenarios)
    for ref, digest in hashes_of(content, scenarios).items():
        if now.get(ref) != digest:  # not refused: generated towns are written anew on another machine
            LOGGER.warning(
                "%s has other settings or files than when %s began, whose rules and best policy were measured on those:"
                " put them back, or begin a new run with what was learned by --start",
                ref,
                run,
            )
    return content, chosen, scenarios


def _bounded(budget: Mapping[str, Any]) -> dict[str, Any]:
    """The budget; half an hour if it has no limit."""
    return {**budget, "minutes": 30.0} if budget == NO_BOUND else dict(budget)


def _learned(start: str, update: int | None, place: Scenario) -> Start:
    """Weights of a run, a bundle, or the shipped policy of this name."""
    site = get_system(place.system).load_site(place)
    return read_start(find_bundle(start, site) or Path(start), update, place.system)


def _check_reach(learned: Start | None, settings: Settings, iterations: int | None) -> None:
    """Refuse a run that would end before its policy learns, because a new critic learns alone at first."""
    alone = 0 if learned is None else _critic_alone(learned, settings)
    if alone and iterations is not None and iterations <= alone:
        raise CityloopError(
            f"iterations is {iterations}, and of a start without a critic that learns alone for "
            f"{settings.critic_first} updates: give more, or a smaller critic_first"
        )


def _critic_alone(learned: Start, settings: Settings) -> int:
    """Number of updates in which only the new critic learns, because the policy starts from learned weights."""
    return 0 if learned.critic or settings.algorithm in OTHERS else settings.critic_first


@contextmanager
def _resume_hint(run: Path) -> Iterator[None]:
    """Add to an interruption, or to an error of a full disk, the resuming command and, if it has none, a file name."""
    try:
        yield
    except (OSError, KeyboardInterrupt) as error:
        if isinstance(error, OSError):
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            error.filename = error.filename or str(run)
        if (run / "checkpoints" / "latest").is_file():
            error.add_note(f"go on: {shlex.join(['cityloop', 'train', '--resume', str(run)])}")
        raise


OTHERS: dict[str, Any] = {"backprop": Backprop, "evolution": Evolution}
"""Algorithm → its learner, for algorithms other than RLlib's PPO."""


def decisions_of_update(task: Task, scenarios: Sequence[Scenario], settings: Settings) -> list[int]:
    """Number of decisions in each scenario's plants per update."""
    if settings.algorithm == "evolution":
        return [settings.population * settings.workers * scenario.decisions for scenario in scenarios]
    if settings.algorithm == "backprop":  # its plants form one lot, in this process
        return [settings.workers * settings.fragment for _ in scenarios]
    return [plants.num_envs * settings.fragment * max(1, settings.runners) for plants in task.plants]


class _Run:
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
            self._alone = _critic_alone(learned, self.settings)
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
                more = "give more --minutes or --iterations to go on"
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
