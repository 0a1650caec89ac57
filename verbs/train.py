"""``cityloop train``: a policy, or a sweep of trials."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agents import find_bundle, shipped_policies
from envs import CityloopError, Scenario, get_system
from training.settings import ALGORITHMS
from training.settings import Settings as Hyperparameters
from verbs import AsJson, NewFolder, Settings, command_line, variants
from verbs.tables import trials_table
from verbs.terminal import Output, parse_settings


def train(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="SYSTEM/NAME or YAML files, for one policy; not with --resume.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Minutes to train, besides what rules and the final validation take.", show_default="30; 10 for sb3"
        ),
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Stop after this many updates.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of weights, exploration and episodes.", show_default="0")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Plants of each scenario simulated in parallel.", show_default="the system's")
    ] = None,
    out: NewFolder = None,
    resume: Annotated[Path | None, typer.Option(help="Resume a run, from its folder.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="RUN|POLICY", help="Begin with the policy of a run or bundle, or one that ships."),
    ] = None,
    update: Annotated[
        int | None, typer.Option(help="With --start: the policy that was validated after this update, not the best.")
    ] = None,
    algo: Annotated[
        str | None,
        typer.Option(
            help="mappo or ippo (PPO in RLlib), backprop, evolution, or sb3; see the README.", show_default="mappo"
        ),
    ] = None,
    settings: Settings = None,
    each: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="Train on each scenario with each of these settings.")
    ] = None,
    hyper: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Change a training setting.")] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Try each value of a training setting; KEY=low:high, log:low:high: draw."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Trials of a sweep that draws values.", show_default="8")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trials of a sweep run in parallel.")] = 1,
    as_json: AsJson = None,
) -> None:
    """Train a policy; the best on validation seeds is kept. TensorBoard events lie in the run's folder."""
    output = Output(as_json)
    if (not scenarios) == (resume is None):
        raise CityloopError("give either scenarios to train on, or a run's folder with --resume")
    fixed = {"seed": seed, "workers": workers, "out": out, "algo": algo, "set": settings, "each": each, "hyper": hyper}
    _check_options(fixed, resume, start, update)
    _refuse_without_sweep({} if sweep else {"samples": samples, "parallel": None if parallel == 1 else parallel})
    places = [place for ref in scenarios or () for place in variants(ref, settings, each)]
    options: dict[str, Any] = {"minutes": minutes, "iterations": iterations, "out": out}
    options |= {key: value for key, value in {"seed": seed, "workers": workers}.items() if value is not None}
    options |= {"command": command_line(sys.argv[1:])}
    if algo == "sb3":
        if resume or start or hyper or sweep or len(places) > 1:
            raise CityloopError(
                "--resume, --start, --hyper, --sweep and several scenarios are not for sb3: it is a plain reference"
            )
        _train_reference(output, places[0], options)
        return
    options |= _hyperparameters(hyper, {"seed": seed, "workers": workers})
    options |= {} if algo is None else {"algorithm": algo}
    if start is not None:
        options |= {"start": _beginning(start, places), "start_update": update}
    if not sweep:
        with _training(output) as progress:
            from training.train import train as learn

            run = learn(places, **_going_on(options, resume), **progress)
        _show_run(output, run)
    elif resume is not None:
        raise CityloopError("--sweep starts trials of its own: it does not go with --resume")
    else:
        _sweep(output, places, sweep, options | {"samples": samples, "parallel": parallel})


def _check_options(fixed: Mapping[str, Any], resume: Path | None, start: Path | None, update: int | None) -> None:
    """Refuse options that are wrong, or go without another one.

    Args:
        fixed: options that a resumed run cannot change.
        resume: the run to resume.
        start: the policy to begin with.
        update: the number of its update.

    Raises:
        CityloopError: naming the option.
    """
    if resume is not None:
        _refuse_changes(fixed)
    if fixed["algo"] is not None and fixed["algo"] not in ALGORITHMS:
        raise CityloopError(f"--algo is {fixed['algo']!r}: choose {', '.join(ALGORITHMS)}")
    if resume is not None and not resume.is_dir():
        raise CityloopError(f"run folder {resume} does not exist: give one that `cityloop train` made")
    if update is not None and start is None:
        raise CityloopError(f"--update is {update}: it says which policy of a run to begin with, so give --start, too")


def _train_reference(output: Output, place: Scenario, options: Mapping[str, Any]) -> None:
    """Train a reference with stable-baselines3."""
    with _training(output) as progress:
        from training.reference import train_reference

        run = train_reference(place, **options, **progress)
    _show_run(output, run)


def _beginning(start: Path, places: Sequence[Scenario]) -> Path:
    """Folder of the run or bundle to start from, which may be given by the name of a shipped policy.

    Raises:
        CityloopError: if it does not exist.
    """
    found = find_bundle(str(start), get_system(places[0].system).load_site(places[0])) if places else start
    if found is None or not found.is_dir():
        known = ", ".join(sorted(shipped_policies(places[0].system))) if places else "none here"
        raise CityloopError(f"--start is {start}: give the folder of a run or of a bundle, or one that ships ({known})")
    return found.resolve()


def _refuse_changes(given: Mapping[str, Any]) -> None:
    """Refuse options that a resumed run would ignore, but which its card would show in the command."""
    for name, value in given.items():
        if value is not None and value != []:
            raise CityloopError(f"--{name} does not go with --resume: a run goes on as it began, or start a new one")


def _refuse_without_sweep(given: Mapping[str, Any]) -> None:
    """Refuse options of a sweep without one, because they would have no effect."""
    for name, value in given.items():
        if value is not None:
            raise CityloopError(f"--{name} is {value}: it says how a sweep is tried, so give --sweep, too")


def _going_on(options: Mapping[str, Any], resume: Path | None) -> dict[str, Any]:
    """Options of a run; for a resumed run, only those that may change."""
    later = ("minutes", "iterations", "start", "command")
    kept = options if resume is None else {key: options[key] for key in later if key in options}
    return {**kept, "resume": resume}


def _hyperparameters(pairs: Sequence[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings from ``KEY=VALUE``, in addition to those with an option of their own.

    Raises:
        CityloopError: if a key is unknown, or a setting is given twice.
    """
    chosen = parse_settings(pairs, like="--hyper width=32")
    if "algorithm" in chosen:
        raise CityloopError(f"--hyper algorithm is {chosen['algorithm']!r}: choose it with --algo")
    for key in chosen:
        if key not in Hyperparameters.model_fields:
            names = ", ".join(name for name in Hyperparameters.model_fields if name != "algorithm")
            raise CityloopError(f"--hyper {key} is unknown: choose {names}")
        if given.get(key) is not None:
            raise CityloopError(f"--{key} is {given[key]} and --hyper {key} is {chosen[key]!r}: give one of them")
    return chosen


@contextmanager
def _training(output: Output) -> Iterator[dict[str, Any]]:
    """Progress display of a run, as the progress arguments of a trainer."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the learner's threads must not spin while plants compute
    with output.quiet(), output.training() as progress:
        yield progress


def _show_run(output: Output, run: Path) -> None:
    """Print the run's folder and the next commands."""
    output.say(f"run: {run}\n{_next(run, run)}")
    output.emit({"run": str(run)})


def _next(run: Path | str, curves: Path) -> str:
    """The next commands for a run, for pasting into a shell."""
    commands = (["cityloop", "export", str(run)], ["tensorboard", "--logdir", str(curves)])
    return "next: " + "    ".join(map(shlex.join, commands))


def _sweep(output: Output, places: Sequence[Scenario], items: Sequence[str], options: dict[str, Any]) -> None:
    def on_progress(done: int, total: int, best: float) -> None:
        show(done / total, f"{done} of {total} trials, best score {best:.4g}")

    with output.quiet(), output.bar("sweeping") as show:
        from training.sweep import sweep

        folder, trials = sweep(places, items, on_progress=on_progress, **options)
    output.show(trials_table(trials))
    output.say(f"best: {trials[0].run}\n{_next(trials[0].run, folder)}")
    output.emit({"sweep": str(folder), "trials": [vars(trial) for trial in trials], "best": vars(trials[0])})
