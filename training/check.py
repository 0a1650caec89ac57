"""The checks of `cityloop check`: contract checks of a scenario, a whole system, or a policy's bundle."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from gymnasium.spaces import Box

from agents import load_policy
from agents.policy import Policy
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.registry import SYSTEMS, get_system, load_scenario
from envs.core.testing.systems import DECISIONS, Check, check_system


def check(target: str) -> list[Check]:
    """Run the checks for a target.

    Args:
        target: a system's name, a scenario's reference or YAML file, or a bundle's folder.

    Raises:
        CityloopError: if the target does not exist.
    """
    if target in SYSTEMS:
        return _check_whole_system(target)
    path = Path(target)
    if path.is_dir():
        return _check_bundle(path)
    if path.suffix not in (".yaml", ".yml") and target.partition("/")[0] not in SYSTEMS:
        raise CityloopError(f"{target!r} is no scenario, YAML file, bundle's folder or system: see `cityloop list`")
    return check_system(target)


def _check_whole_system(name: str) -> list[Check]:
    """Check that every shipped scenario opens, and that the smallest of them passes all contract checks."""
    sizes: dict[str, int] = {}
    checks = []
    for scenario in get_system(name).scenario_names:
        ref = f"{name}/{scenario}"
        try:
            with closing(make_loop(ref)) as loop:
                agents, decisions = len(loop.site.agents), loop.scenario.decisions
        except CityloopError as error:
            checks.append(Check(ref, False, str(error)))
            continue
        sizes[ref] = agents * decisions
        checks.append(Check(ref, True, f"opens; agents: {agents}, decisions: {decisions}"))
    least = min(sizes, key=lambda ref: sizes[ref], default=None)
    return checks + (check_system(least) if least else [])


def _check_bundle(path: Path) -> list[Check]:
    """Check that a bundle opens, and on its training scenarios decides deterministically and only what is allowed."""
    try:
        policy = load_policy(path)
    except CityloopError as error:
        return [Check("bundle", False, str(error))]
    assert isinstance(policy, Policy)
    checks = [Check("bundle", True, f"{policy.card.name} for {policy.card.system}, checksum and schema fit")]
    return checks + [_decides(policy, ref) for ref in policy.card.training.scenarios]


def _decides(policy: Policy, ref: str) -> Check:
    system = get_system(policy.card.system)
    if ref.partition("/")[2] not in (*system.scenario_names, *system.variant_names):  # a user's own
        return Check(ref, True, "not tried, as it does not ship")
    try:
        loop = make_loop(load_scenario(ref))
    except CityloopError as error:
        return Check(ref, True, f"not tried: {error}")
    try:
        return _drive(policy.at(loop.site), loop, ref)
    except CityloopError as error:
        return Check(ref, False, str(error))
    finally:
        loop.close()


def _drive(policy: Policy, loop: ControlLoop, ref: str) -> Check:
    """Check the guard's changes: none to choices, which are masked; to numbers only limits of their rate of change."""
    policy.reset()
    loop.reset(loop.scenario.seeds.validation.first)
    choices = not isinstance(loop.action_space, Box)
    count, changed = min(DECISIONS, loop.scenario.decisions), 0
    for _ in range(count):
        requests = policy.act(loop.readings, loop.observation)
        again = policy.act(loop.readings, loop.observation)
        if not np.array_equal(requests, again):
            return Check(ref, False, "the same observation gave two decisions")
        if not choices and not all(loop.action_space.contains(row) for row in np.asarray(requests, np.float64)):
            return Check(ref, False, "a request is beyond what may be asked for, or no number")
        changed += len(loop.step(requests).interventions)
    ok = changed == 0 or not choices
    return Check(ref, ok, f"{count} decisions, {changed} of their requests changed by the guard")
