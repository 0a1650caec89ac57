"""Training runs: RLlib trains a policy, validation selects the best, and a killed run can be resumed without loss.

A run folder holds ``config.yaml`` (the resolved whole), ``versions.json``, TensorBoard events, ``metrics.csv``,
``checkpoints/`` (RLlib's, for resuming on this machine), ``candidates/`` and ``best/`` (plain weights).
"""

from __future__ import annotations

import errno
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import find_bundle
from envs.core.errors import CityloopError
from envs.core.registry import get_system, load_scenario
from envs.core.scenario import Scenario, read_yaml
from training.run import OTHERS, Progress, Run, critic_alone
from training.session import ray_session
from training.settings import Settings, check_budget, refuse_unread
from training.start import read_start
from training.task import check_together
from training.tracking.config import parse_settings, read_config
from training.tracking.folders import RunFolder, write_yaml
from training.tracking.stored import check_whole, hashes_of, trained_on
from training.validate import OnEpisodes
from training.weights import Start

LOGGER = logging.getLogger(__name__)

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
        closing(Run(plan.scenarios, chosen, folder.path, plan.budget, on_episodes)) as run,
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
    refuse_unread((name for name in settings if name != "only"), chosen.algorithm)  # an empty one says: all weights
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
    alone = 0 if learned is None else critic_alone(learned, settings)
    if alone and iterations is not None and iterations <= alone:
        raise CityloopError(
            f"iterations is {iterations}, and of a start without a critic that learns alone for "
            f"{settings.critic_first} updates: give more, or a smaller critic_first"
        )


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
