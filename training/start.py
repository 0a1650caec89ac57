"""Starting a run from the weights of another: to tune a policy to a new place, or to continue with more scenarios.

The bundle of a run can replace the run itself: it holds the policy, but not the critic.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.shipped import CARD
from envs.core.errors import CityloopError
from envs.core.scenario import Scenario, read_yaml
from training.tracking.stored import check_whole, hashes_of, stored_scenario
from training.validate import kept
from training.weights import Start, Weights

LOGGER = logging.getLogger(__name__)

MODULE = Path("learner_group/learner/rl_module/default_policy/module_state.pkl")
"""Path of the weights in a checkpoint of RLlib."""


def read_start(run: Path, update: int | None = None, system: str | None = None) -> Start:
    """Read the weights of a run. Like `cityloop train --resume`, it trusts the user's own folder, which has a pickle.

    Args:
        run: folder of the run, or of a bundle.
        update: number of the update after which the policy was validated; None: the best policy. The critic is always
            the last one.
        system: system of which a bundle must be.

    Raises:
        CityloopError: if there is no such policy, or the folder is truncated or of an incompatible version.
    """
    if (run / CARD).is_file():
        return _of_bundle(run, update, system)
    policy, facts = kept(run, update)
    content = read_yaml(run / "config.yaml")
    check_whole(content, str(run), "scenarios")
    before = content.get("start", {})
    decisions = before.get("decisions", 0) + facts["agent_steps"]
    places = [_scenario(plain, run) for plain in content["scenarios"]]
    known = before.get("scenarios", {}) | hashes_of(content, [place for place in places if place is not None])
    critic, returns = _critic(run, ["" if place is None else place.label for place in places])
    return Start(run, policy, decisions, content["command"], known, critic, returns)


def _of_bundle(bundle: Path, update: int | None, system: str | None) -> Start:
    if update is not None:
        raise CityloopError(f"update is {update}, and bundle {bundle} holds one policy: leave it out")
    from training.bundles.imported import imported  # deferred: it needs the imports of a training

    card, weights = imported(bundle, system)
    return Start(bundle, weights, card.training.decisions, card.training.command, card.training.scenarios)


def _critic(run: Path, labels: list[str]) -> tuple[Weights, dict[str, dict[str, float]]]:
    """Weights of the critic in the last checkpoint, and moments of returns.

    Both are empty unless the run is PPO's, or if its checkpoint cannot be read: a new critic takes its place.
    """
    pointer = run / "checkpoints" / "latest"
    file = pointer.parent / pointer.read_text().strip() / MODULE if pointer.is_file() else pointer
    if file == pointer or not file.is_file():
        return {}, {}
    try:
        state = pickle.loads(file.read_bytes())
        critic, returns = _named(state, "critic."), _named(state, "returns.")
        moments = {label: {name: float(value[k]) for name, value in returns.items()} for k, label in enumerate(labels)}
    except Exception as error:  # pickle raises different errors for truncated files
        LOGGER.warning(
            "%s cannot be read (%s): it was altered or cut off, so a new critic learns first",
            file,
            type(error).__name__,
        )
        return {}, {}
    return critic, moments


def _named(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _scenario(plain: Mapping[str, Any], run: Path) -> Scenario | None:
    """A scenario in ``config.yaml``; None if it can no longer be read, e.g. because its files are gone."""
    try:
        return stored_scenario(plain, str(run))
    except CityloopError:
        return None
