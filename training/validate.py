"""Validation: greedy episodes of the policy on validation seeds, beside the rules; the best policies are stored.

Policies are selected by their score: the geometric mean over scenarios of the mean headline indicator, divided by the
best rule's mean on the same seeds. If an episode of one of them is void (`System.failure_voids`), its seed is left out
for all. Means are used rather than medians, because one gridlock in a hundred episodes must count.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import make_controller, references
from agents.networks import PolicyNetwork
from envs.core.errors import CityloopError
from envs.core.machine import files
from envs.core.machine.files import read_json, write_json
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.scenario import Scenario
from envs.core.world import Controller, Coordination, Observation, Requests
from training.actions import ActionCodec
from training.episodes import Episode, EpisodePool, EpisodeTask, cores
from training.settings import Settings
from training.weights import WEIGHTS, Weights, load_network, read_weights, write_weights

LOGGER = logging.getLogger(__name__)

SMOOTHING = 0.05
"""Fraction of the rules' mean that is added to numerator and denominator, for indicators that can be zero."""


Means = dict[str, dict[str, float]]
"""Scenario's label → indicator → mean over episodes."""

Played = Sequence[Sequence[Mapping[str, float]]]
"""Indicators of every episode, by scenario."""

OnEpisodes = Callable[[str, int, int], None]
"""Called after every episode outside training with (purpose, episodes done, episodes in all)."""


@dataclass(frozen=True)
class Verdict:
    """Result of a validation.

    Attributes:
        means: mean of every indicator.
        score: see the module.
        episode: one whole episode of the first scenario, for a picture.
    """

    means: Means
    score: float
    episode: Episode


class NetworkController(Controller):
    """A policy network in torch as a controller that takes the most probable actions.

    Args:
        policy: observation parts → outputs.
        codec: meaning of the outputs.
        name: name of the controller.
        coordination: coordination of the agents at the site.
    """

    def __init__(
        self, policy: torch.nn.Module, codec: ActionCodec, name: str, coordination: Coordination | None = None
    ):
        self.name, self._policy, self._codec, self._coordination = name, policy, codec, coordination

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Requests for all agents."""
        with torch.no_grad():
            parts = {name: torch.from_numpy(np.asarray(part, np.float32)) for name, part in observation.items()}
            outputs = self._policy(parts).numpy()
        if self._coordination is not None:
            return self._coordination.settle(outputs, readings)
        return self._codec.requests(self._codec.best(outputs))


def kept(run: Path, update: int | None = None) -> tuple[Weights, dict[str, Any]]:
    """Weights of a run's best policy, or of another that it stored, and facts about it (``iteration``, …).

    Weights and facts belong to the same policy, even if the run is in progress and finds a better one meanwhile.

    Args:
        run: folder of the run.
        update: number of the update after which the policy was validated; None: the best.

    Raises:
        CityloopError: if the run has no such policy, or its files were altered.
    """
    if not run.is_dir():
        raise CityloopError(f"run {run} does not exist: give a folder that `cityloop train` made")
    if update is not None and not isinstance(update, int):
        raise CityloopError(f"update is {update!r}: give a whole number")
    source = run / ("best" if update is None else f"candidates/{update:06d}")
    if not (source / WEIGHTS).is_file():
        others = sorted(int(path.parent.name) for path in (run / "candidates").glob(f"*/{WEIGHTS}"))
        if update is None or not others:
            raise CityloopError(f"run {run} has no validated policy (no best/{WEIGHTS}): train it longer")
        raise CityloopError(f"run {run} kept no policy of update {update}: choose {', '.join(map(str, others))}")
    file = source / ("best.json" if update is None else "facts.json")
    while True:
        present = source.stat().st_ino
        facts = _read_facts(file)
        weights = read_weights(source / WEIGHTS)
        if source.stat().st_ino == present:
            return weights, facts


def _read_facts(file: Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_json(file)
    for key in ("iteration", "agent_steps", "validation"):
        if key not in facts:
            raise CityloopError(f"file {file} lacks {key!r}: it was altered; choose another policy by --update")
    return facts


def network_controller(
    network: str,
    width: int,
    path: Path,
    site: Any,
    name: str,
    change: Callable[[PolicyNetwork], None] = lambda policy: None,
) -> NetworkController:
    """The controller of a site with a network on one thread.

    Args:
        network: a key of `agents.networks.NETWORKS`.
        width: of its layers.
        path: file of its weights.
        site: the site.
        name: of the controller.
        change: called with the network before it decides.
    """
    torch.set_num_threads(1)
    system = get_system(site.system)
    codec = ActionCodec(system.action_space(site))
    policy = load_network(network, width, read_weights(path), system.make_features(site).shapes, codec.inputs)
    change(policy)
    return NetworkController(policy, codec, name, system.make_coordination(site))


def _controller(network: str, width: int, name: str, site: Any) -> Controller:
    """A rule by its name, or a network by the path of its weights."""
    if not name.endswith(WEIGHTS):
        return make_controller(name, site)
    return network_controller(network, width, Path(name), site, name)


class Validator:
    """Owner of the processes for validation, and of the best policies so far.

    Args:
        scenarios: training scenarios; the first seeds of their ``validation`` splits are used.
        settings: hyperparameters, for the numbers of seeds and of finalists.
        network: a key of `agents.networks.NETWORKS`.
        folder: folder of the run, for ``references.json``, episodes of rules, ``candidates/`` and ``best/``.
        on_episodes: called after every episode.

    Attributes:
        best: lowest score so far.
        stale: number of validations since then.
        reference: rule → means.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        settings: Settings,
        network: str,
        folder: Path,
        on_episodes: OnEpisodes | None = None,
    ):
        self.scenarios, self.settings, self.folder = scenarios, settings, folder
        self._on_episodes = on_episodes
        self.system = get_system(scenarios[0].system)
        self.kpi = self.system.headline(scenarios[0])
        self.best, self.stale = float("inf"), 0
        self.candidates: dict[str, float] = {}
        self.reference: dict[str, Means] = {}
        self._rules: dict[str, Played] = {}
        for scenario in scenarios:
            _check_seeds(scenario, settings)
        self._make = partial(_controller, network, settings.width)
        self._open: EpisodePool | None = None

    @property
    def _pool(self) -> EpisodePool:
        if self._open is None:
            self._open = EpisodePool(self.scenarios, cores(), self._make)
        return self._open

    def refer(self) -> None:
        """Run the rules on the validation seeds, or read their earlier results."""
        path, each = self.folder / "references.json", self.folder / "reference_episodes.json"
        if path.is_file():
            self.reference = read_json(path)
            self._rules = read_json(each) if each.is_file() else {}  # earlier versions wrote none
            return
        self._rules = self._played_by_rules(0, self.settings.validation_seeds)
        void = self._void(self._rules.values())
        self.reference = {name: self._means(played, void) for name, played in self._rules.items()}
        write_json(each, self._rules)
        write_json(path, self.reference)

    def _played_by_rules(self, skip: int, seeds: int) -> dict[str, Played]:
        names = list(references(self.system.name))
        found = self._episodes("rules to compare with", names, skip, seeds)
        return {name: _kpis(found[name]) for name in names}

    def _final_rules(self) -> dict[str, Played]:
        """Results of the rules on the final seeds; a resumed run reads them instead of running the rules again."""
        path = self.folder / "final_reference_episodes.json"
        if not path.is_file():
            write_json(path, self._played_by_rules(self.settings.validation_seeds, self.settings.final_seeds))
        rules: dict[str, Played] = read_json(path)
        return rules

    def __call__(self, policy: torch.nn.Module, facts: Mapping[str, float]) -> Verdict:
        """Validate a policy, and store it if it is among the best so far.

        Args:
            policy: the network.
            facts: facts stored beside the weights; ``iteration`` is part of their name.

        Raises:
            CityloopError: if its weights are not finite.
        """
        name = f"{int(facts['iteration']):06d}"
        if not all(bool(weight.isfinite().all()) for weight in policy.parameters()):
            raise CityloopError(
                f"the policy's weights are not finite after update {int(name)}: give a lower learning_rate"
            )
        place = self.folder / "candidates" / name
        write_weights(place / WEIGHTS, policy)
        path = str(place / WEIGHTS)
        episodes = self._episodes("validation", [path], 0, self.settings.validation_seeds)[path]
        played = _kpis(episodes)
        void = self._void([played, *self._rules.values()])
        means = self._means(played, void)
        score = self.score(means, {name: self._means(rule, void) for name, rule in self._rules.items()})
        write_json(place / "facts.json", {**facts, "score": score, "validation": means})
        self.candidates[name] = score
        for worse in sorted(self.candidates, key=self.candidates.__getitem__)[self.settings.finalists :]:
            del self.candidates[worse]
            shutil.rmtree(self.folder / "candidates" / worse, ignore_errors=True)
        self.stale = 0 if score < self.best else self.stale + 1
        if score < self.best:
            self.best = score
            self._promote(name)
        return Verdict(means, score, episodes[0][0])

    def choose_finalist(self) -> dict[str, float]:
        """Validate the finalists on fresh validation seeds, make the best the run's policy, and return their scores.

        A single finalist is validated too, because scores are compared between runs.
        """
        seeds = self.settings.final_seeds
        if not seeds or not self.candidates:
            return dict(self.candidates)
        rules = self._final_rules()
        paths = {name: str(self.folder / "candidates" / name / WEIGHTS) for name in self.candidates}
        found = self._episodes("finalists", list(paths.values()), self.settings.validation_seeds, seeds)
        finals = {name: _kpis(found[path]) for name, path in paths.items()}
        void = self._void([*finals.values(), *rules.values()])
        means = {name: self._means(played, void) for name, played in finals.items()}
        rivals = {name: self._means(played, void) for name, played in rules.items()}
        scores = {name: self.score(mean, rivals) for name, mean in means.items()}
        for name, score in scores.items():
            facts = read_json(self.folder / "candidates" / name / "facts.json")
            facts |= {"final_score": score, "final_validation": means[name]}
            write_json(self.folder / "candidates" / name / "facts.json", facts)
        self._promote(min(scores, key=scores.__getitem__))
        return scores

    def _promote(self, name: str) -> None:
        """Make a candidate the best policy, replacing weights and facts at once, so that exports are consistent."""
        source, draft = self.folder / "candidates" / name, self.folder / f".best{files.DRAFT}"
        shutil.rmtree(draft, ignore_errors=True)  # it may remain from a killed process
        try:
            draft.mkdir()
            shutil.copyfile(source / WEIGHTS, draft / WEIGHTS)
            shutil.copyfile(source / "facts.json", draft / "best.json")
            files.replace_folder(self.folder / "best", draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def score(self, means: Means, rules: Mapping[str, Means] | None = None) -> float:
        """Geometric mean over scenarios of the ratio to the best rule; lower is better, below 1 beats the rules.

        Args:
            means: means of the policy.
            rules: means of the rules on the same seeds; default: `reference`.
        """
        logs = []
        for label, mean in means.items():
            rivals = [reference[label][self.kpi] for reference in (rules or self.reference).values()]
            spare = max(SMOOTHING * float(np.mean(rivals)), 1e-9)
            logs.append(np.log((mean[self.kpi] + spare) / (min(rivals) + spare)))
        return float(np.exp(np.mean(logs)))

    def _episodes(self, what: str, names: Sequence[str], skip: int, seeds: int) -> dict[str, list[list[Episode]]]:
        """Controller → scenario → episodes; ``what`` is passed to the progress display."""
        chosen = [scenario.seeds.validation.after(skip, seeds) for scenario in self.scenarios]
        tasks = [EpisodeTask(name, seed, place) for name in names for place, mine in enumerate(chosen) for seed in mine]
        told = None if self._on_episodes is None else partial(self._on_episodes, what)
        episodes = iter(self._pool.run(tasks, told))
        return {name: [[next(episodes) for _ in range(seeds)] for _ in self.scenarios] for name in names}

    def _void(self, played: Iterable[Played]) -> list[set[int]]:
        """For every scenario, the indices of seeds on which an episode of any controller is void."""
        void: list[set[int]] = [set() for _ in self.scenarios]
        for one in played if self.system.failure_voids else ():
            for places, mine in zip(void, one, strict=True):
                places.update(k for k, kpis in enumerate(mine) if self.system.failed(kpis))
        return void

    def _means(self, played: Played, void: Sequence[Collection[int]]) -> Means:
        means = {}
        for scenario, mine, places in zip(self.scenarios, played, void, strict=True):
            # If all are void, void episodes are averaged, because a doubtful point of a curve must not end a run.
            valid = [kpis for k, kpis in enumerate(mine) if k not in places] or mine
            means[scenario.label] = {kpi: float(np.mean([kpis[kpi] for kpis in valid])) for kpi in mine[0]}
        return means

    def state(self) -> dict[str, Any]:
        """State for resuming a run, as plain data."""
        return {"best": self.best if np.isfinite(self.best) else None, "stale": self.stale, "kept": self.candidates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of `state`."""
        self.best = float("inf") if state["best"] is None else state["best"]
        self.stale = state["stale"]
        # A candidate removed after the checkpoint is gone; the one that replaced it may be found again, or not.
        self.candidates = {name: score for name, score in state["kept"].items() if self._is_kept(name)}

    def _is_kept(self, name: str) -> bool:
        """Whether a candidate is there and can be read: if not, its finals would fail after all of the training."""
        if not (self.folder / "candidates" / name / WEIGHTS).is_file():
            return False
        try:
            kept(self.folder, int(name))
        except CityloopError as error:
            LOGGER.warning("candidate %s is left out: %s", name, error)
            return False
        return True

    def close(self) -> None:
        """Stop the processes."""
        if self._open is not None:
            self._open.close()
            self._open = None


def _kpis(episodes: Sequence[Sequence[Episode]]) -> Played:
    return [[episode.kpis for episode in mine] for mine in episodes]


def _check_seeds(scenario: Scenario, settings: Settings) -> None:
    """Refuse, before training begins, to validate on more seeds than the split has."""
    try:
        scenario.seeds.validation.after(settings.validation_seeds, settings.final_seeds)
    except CityloopError as error:
        what = f"validation_seeds is {settings.validation_seeds}, final_seeds {settings.final_seeds}"
        raise CityloopError(f"{what}: {scenario.ref}'s validation {error}") from None
