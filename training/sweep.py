"""Hyperparameter sweeps with Ray Tune: a small grid, or a random search.

Every trial is an ordinary run, in a folder of its own under the sweep's, so that one TensorBoard shows all trials.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ray import tune

from envs.core.errors import CityloopError
from envs.core.machine.files import read_json, write_json
from envs.core.scenario import Scenario
from training.session import ray_session
from training.settings import Settings, refuse_unread
from training.tracking.config import parse_settings
from training.tracking.folders import RUNS, new_folder, refuse_taken, stamp
from training.train import train

SAMPLES = 8
"""Default number of trials of a random search."""

SCORED_ON = ("validation_seeds", "final_seeds")
"""Settings that determine the seeds of a run's score; scores of trials that differ in them cannot be compared."""

Progress = Callable[[int, int, float], None]
"""Called with trials done, trials in all, and the best score so far."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        settings: the varied settings.
        score: score of its policy on the final seeds (on the validation seeds if there are none), lower is better; None
            if the trial failed.
        run: folder of the run.
        problem: reason of a failure.
    """

    settings: dict[str, Any]
    score: float | None
    run: str
    problem: str = ""


def read_space(items: Sequence[str]) -> tuple[dict[str, Any], int | None]:
    """The search space for Ray Tune, and the number of trials of a grid, None for a random search.

    Args:
        items: ``KEY=a,b,c`` (each value), ``KEY=low:high`` (uniform) or ``KEY=log:low:high`` (log-uniform).

    Raises:
        CityloopError: for the first item that cannot be used.
    """
    space: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not text:
            raise CityloopError(f"--sweep {item!r} has no values: write KEY=a,b or KEY=low:high or KEY=log:low:high")
        if key in space:
            raise CityloopError(f"--sweep names {key} twice: give all its values at once")
        if key in SCORED_ON:
            raise CityloopError(
                f"--sweep {key}: trials are compared on the same seeds: give one value, by --hyper {key}"
            )
        space[key] = _range(key, text) if ":" in text else [_value(key, word) for word in text.split(",")]
    if all(isinstance(values, list) for values in space.values()):
        grid = {key: tune.grid_search(values) for key, values in space.items()}
        return grid, math.prod(len(values) for values in space.values())
    return {key: tune.choice(values) if isinstance(values, list) else values for key, values in space.items()}, None


def _value(key: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise CityloopError(f"--sweep {key} is {text!r}: write KEY=a,b or KEY=low:high or KEY=log:low:high") from None
    return getattr(parse_settings({key: value}), key)


def _range(key: str, text: str) -> Any:
    *scale, first, last = text.split(":")
    low, high = _value(key, first), _value(key, last)
    if scale not in ([], ["log"]) or isinstance(low, str | bool) or low >= high:
        raise CityloopError(f"--sweep {key}={text} is no range: write {key}=low:high or {key}=log:low:high, low < high")
    if scale and low <= 0:
        raise CityloopError(f"--sweep {key}={text}: a logarithmic range begins above 0")
    if isinstance(low, int) and (step := _step(key)) > 1:
        return (tune.qlograndint if scale else tune.qrandint)(low, high, step)
    if isinstance(low, int):
        return (tune.lograndint if scale else tune.randint)(low, high + 1)
    return (tune.loguniform if scale else tune.uniform)(low, high)


def _step(key: str) -> int:
    """Step of which values of a setting are multiples."""
    steps = (getattr(limit, "multiple_of", None) for limit in Settings.model_fields[key].metadata)
    return next((step for step in steps if step is not None), 1)


def sweep(
    scenarios: Sequence[Scenario],
    items: Sequence[str],
    *,
    samples: int | None = None,
    parallel: int = 1,
    out: Path | None = None,
    on_progress: Progress | None = None,
    **common: Any,
) -> tuple[Path, list[Trial]]:
    """Train once for every combination of settings, or for random ones.

    Args:
        scenarios: training scenarios.
        items: settings to vary, see `read_space`.
        samples: trials of a random search, default `SAMPLES`; a grid is tried once.
        parallel: number of parallel trials.
        out: folder of the sweep; default: a new one under ``runs/``.
        on_progress: called whenever a trial has ended.
        common: arguments of `training.train.train` for all trials.

    Returns:
        Folder of the sweep, with all trials that have ended in ``sweep.json``, and the trials, best first.

    Raises:
        CityloopError: if a setting cannot be varied, or every trial failed.
    """
    space, grid = read_space(items)
    if samples is not None and grid is not None:
        raise CityloopError("--samples is for a sweep that draws: give a range like learning_rate=log:1e-4:1e-3")
    fixed = {key: value for key, value in common.items() if key in Settings.model_fields}
    chosen = parse_settings(fixed)
    if "algorithm" not in space:
        refuse_unread(space, chosen.algorithm)
    both = next((key for key in space if key in fixed), None)
    if both is not None:
        raise CityloopError(f"{both} is {fixed[both]!r}, and --sweep {both} gives it other values: give one of them")
    if out is None:
        folder = new_folder(RUNS / scenarios[0].system / "sweep", stamp())
    else:
        folder = Path(out)
        refuse_taken(folder)
        folder.mkdir(exist_ok=True)
    run = partial(_trial, scenarios=list(scenarios), folder=folder.resolve(), common=common)
    watch = _Watch(folder.resolve(), on_progress, grid or samples or SAMPLES)
    runners = int(fixed.get("runners", 0))
    cpus = 1 + _most(space.get("runners", runners))
    with _resume_hints(folder, watch), ray_session(parallel * cpus, least=cpus), _quiet():
        tuner = tune.Tuner(
            tune.with_resources(run, partial(_room, runners=runners)),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="min",
                num_samples=1 if grid else samples or SAMPLES,
                max_concurrent_trials=parallel,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(folder.resolve()), verbose=0, callbacks=[watch], log_to_file=False
            ),
        )
        results = tuner.fit()
    trials = _write([_outcome(result.config, result.metrics, result.error, folder) for result in results], folder)
    if trials[0].score is None:
        raise CityloopError(f"every trial of {folder} failed, the first because: {trials[0].problem}")
    return folder, trials


def _most(values: Any) -> int:
    """The largest whole number that Ray Tune may choose."""
    if isinstance(values, int):
        return values
    if isinstance(values, dict):
        return int(max(values["grid_search"]))
    return int(max(values.categories)) if hasattr(values, "categories") else int(values.upper) - 1


def _room(config: Mapping[str, Any], runners: int) -> tune.PlacementGroupFactory:
    """Resources of a trial: one core, and one for each of its runners, in the order of RLlib's requests."""
    return tune.PlacementGroupFactory([{"CPU": 1.0}] * (1 + int(config.get("runners", runners))))


def _name(settings: Mapping[str, Any]) -> str:
    return ",".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items()
    )


def _trial(config: dict[str, Any], scenarios: list[Scenario], folder: Path, common: dict[str, Any]) -> None:
    """Run one trial, in a process of Ray."""
    run = new_folder(folder, _name(config))  # another trial may draw the same settings at the same time

    def on_progress(news: Mapping[str, Any]) -> None:
        if "validation" in news:
            tune.report({"score": float(news["validation"]), "run": str(run)})

    settings = {**common, **config}
    settings["command"] = f"{common.get('command', '')}  # {run.name}".strip()
    try:
        train(scenarios, out=run, on_progress=on_progress, **settings)
    except CityloopError as error:
        with suppress(OSError):
            run.rmdir()  # if it is empty, as the trial was refused before it began
        tune.report({"score": math.inf, "run": str(run), "problem": str(error)})
        return
    best = read_json(run / "best" / "best.json")
    tune.report({"score": float(best.get("final_score", best["score"])), "run": str(run)})


def _outcome(config: Mapping[str, Any] | None, last: Mapping[str, Any] | None, error: Any, folder: Path) -> Trial:
    """A trial that has ended, from its settings, its last report and the error of its process, if there was one."""
    settings, metrics = dict(config or {}), last or {}
    run = str(metrics.get("run", folder / _name(settings)))
    problem = str(metrics.get("problem", "")) or (str(error).strip().splitlines()[-1] if error else "")
    return Trial(settings, None if problem else float(metrics["score"]), run, problem)


def _write(trials: Sequence[Trial], folder: Path) -> list[Trial]:
    """Write ``sweep.json``, and return the trials, best first."""
    ranked = sorted(trials, key=lambda trial: math.inf if trial.score is None else trial.score)
    write_json(folder / "sweep.json", {"trials": [asdict(trial) for trial in ranked]})
    return ranked


class _Watch(tune.Callback):
    """Keeps and reports what ended, whenever a trial does, so that an interruption loses no result.

    Args:
        folder: folder of the sweep.
        on_progress: see `sweep`.
        total: number of all trials.
    """

    def __init__(self, folder: Path, on_progress: Progress | None, total: int):
        self._folder, self._on_progress, self._total = folder, on_progress, total
        self.ended: list[Trial] = []
        """Trials that have ended."""

    def __getstate__(self) -> dict[str, Any]:
        """State without the progress callback: Ray Tune pickles it, and a terminal cannot be pickled."""
        return {**self.__dict__, "_on_progress": None}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep a finished trial."""
        self._keep(_outcome(trial.config, trial.last_result, None, self._folder))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep a failed trial."""
        self._keep(_outcome(trial.config, trial.last_result, trial.get_error() or "its process ended", self._folder))

    def _keep(self, trial: Trial) -> None:
        self.ended.append(trial)
        with suppress(OSError):  # what a full disk refuses is written once more at the end
            _write(self.ended, self._folder)
        if self._on_progress is not None:
            scores = [trial.score for trial in self.ended if trial.score is not None]
            self._on_progress(len(self.ended), self._total, min(scores, default=math.inf))


@contextmanager
def _resume_hints(folder: Path, watch: _Watch) -> Iterator[None]:
    """Add to an interruption where results are, and the commands that resume the trials in progress.

    A trial is a run, the sweep is not. Where nothing began, no folder remains.
    """
    try:
        yield
    except CityloopError:
        with suppress(OSError):
            folder.rmdir()  # if it is empty
        raise
    except KeyboardInterrupt as stop:
        if watch.ended:
            stop.add_note(f"trials that had ended, {len(watch.ended)}: {folder / 'sweep.json'}")
        ended = [Path(trial.run).name for trial in watch.ended]
        for latest in sorted(folder.glob("*/checkpoints/latest")):
            run = latest.parents[1]
            if run.name not in ended:
                stop.add_note(f"go on: {shlex.join(['cityloop', 'train', '--resume', str(run)])}")
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable Ray Tune's reports and loggers, because trials write their own, and its handler of Ctrl-C."""
    settings = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    settings["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
