"""Contract checks for systems and scenarios, including users' own.

`check_system` runs short episodes of a scenario and checks every property that the loop, the trainer, the evaluator and
the service rely on. It needs no test framework and leaves no files or processes behind.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gymnasium import spaces

from envs.core.env import CityParallelEnv, make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.rollout import digest, digest_elsewhere, random_episode, random_requests
from envs.core.scenario import Scenario
from envs.core.testing.errors import ContractError, need
from envs.core.testing.vectors import check_vector

DECISIONS = 24
"""Length of a checked episode, in decisions."""

PLANTS = 3
"""Number of plants in checks of a system's own vectorised plants."""

OF_THE_WHOLE = "scenario"
"""The check that gets the scenario as given, and reports its hash; all others get a shortened copy."""

FIRST_EPISODE = "spaces"
"""The first check that runs an episode."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: name of the check.
        ok: whether it passed.
        detail: observation, or description of the violation.
    """

    name: str
    ok: bool
    detail: str


def check_system(scenario: str | Path | Scenario, decisions: int = DECISIONS) -> list[Check]:
    """Run all contract checks on a scenario of a system.

    Args:
        scenario: a scenario, its reference, or the path of a YAML file.
        decisions: length of the checked episode; the scenario is shortened to it.

    Returns:
        The results of all checks. If no episode can begin, those up to the first check that runs one.

    Raises:
        CityloopError: if the scenario cannot be used at all.
    """
    with closing(make_loop(scenario if isinstance(scenario, Scenario) else str(scenario))) as loop:
        whole, system = loop.scenario, loop.system
    short = whole.shortened(min(whole.duration_s, decisions * whole.decision_s), system.first_s(whole))
    found: list[Check] = []
    with _hushed():
        for name, check in CHECKS.items():
            found.append(_run(name, check, whole if name == OF_THE_WHOLE else short))
            if name == FIRST_EPISODE and not found[-1].ok and found[-1].detail.startswith(CityloopError.__name__):
                break  # no other episode would begin either, and every check would report the same error
    return found


@contextmanager
def _hushed() -> Iterator[None]:
    """Silence warnings about files: they were given for the whole scenario, and may be wrong for the shortened one."""
    logger = logging.getLogger("envs")
    usual = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(usual)


def _run(name: str, check: Callable[[ControlLoop], str], scenario: Scenario) -> Check:
    loop = make_loop(scenario)
    try:
        return Check(name, True, check(loop))
    except Exception as error:  # any exception of a foreign system is a violation of the contract
        kind = "" if isinstance(error, ContractError) else f"{type(error).__name__}: "
        return Check(name, False, f"{kind}{error}")
    finally:
        loop.close()


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


def _scenario(loop: ControlLoop) -> str:
    scenario = loop.scenario
    again = type(scenario).parse(json.loads(scenario.model_dump_json()), "its own JSON")
    need(again == scenario, "the scenario changes when written as JSON and read back")
    need(again.hash == scenario.hash, "the scenario's hash changes when it is written as JSON and read back")
    return f"hash {scenario.hash}"


def _site(loop: ControlLoop) -> str:
    site = loop.site
    again = loop.system.site_class.model_validate_json(site.model_dump_json())
    need(again == site and again.hash == site.hash, "the site changes when written as JSON and read back")
    need(site.agents and len(set(site.agents)) == len(site.agents), "agents need names, each its own")
    missing = {column.axis for column in loop.system.readings.columns} - set(site.axes)
    need(not missing, f"the readings run along axes that the site lacks: {sorted(missing)}")
    return f"agents: {len(site.agents)}, hash {site.hash}"


def _scene(loop: ControlLoop) -> str:
    scene = loop.system.make_scene(loop.site)
    for mark in scene.marks:
        if mark.id:
            axis = scene.axes.get(mark.kind, "")
            known = mark.id in loop.site.axes.get(axis, ())
            need(known, f"mark {mark.id!r} of kind {mark.kind!r} is not on axis {axis!r} of the site")
    drawn = {mark.id for mark in scene.marks}
    missing = [agent for agent in loop.site.agents if agent not in drawn]
    need(not missing, f"agents are not drawn: {missing[:3]}")
    return f"{len(scene.marks)} marks, every agent among them"


def _readings(loop: ControlLoop) -> str:
    schema = loop.system.readings
    for _ in random_episode(loop):
        loop.system.cross_check(loop.site, loop.readings)
        sent = json.loads(json.dumps(schema.to_json(loop.readings), allow_nan=False))
        need(_same(schema.validate(sent, loop.site.axes), loop.readings), "readings change on their way through JSON")
    return f"{len(schema.columns)} columns fit the schema and survive JSON"


def _consistency(loop: ControlLoop) -> str:
    site, names = loop.site, {column.name for column in loop.system.readings.columns}
    parts = loop.system.consistency(site)
    need(set(parts.plausible) == names, f"consistency lacks columns {sorted(names ^ set(parts.plausible))}")
    for axis in {column.axis for column in loop.system.readings.columns}:
        shape = (len(site.agents), len(site.axes[axis]))
        need(axis in parts.concerns, f"nobody knows which agents rely on axis {axis}")
        need(parts.concerns[axis].shape == shape, f"concerns of axis {axis} are not {shape}")
    before, time_s, exact = None, 0.0, {name for name, rule in parts.rules.items() if np.isfinite(rule.limit)}
    for step in random_episode(loop):
        if step is not None and step.done:
            break  # readings after the last decision are not used
        now = {name: values.copy() for name, values in loop.readings.items()}
        found = parts.residuals(before, now, loop.world.time_s - time_s)
        need(set(found) <= set(parts.rules), f"residuals of unknown rules {sorted(set(found) - set(parts.rules))}")
        need(_same(now, loop.readings), "residuals are not pure")
        for name, values in found.items():
            axis = parts.rules[name].axis
            count = len(site.axes[axis]) if axis else 1
            need(np.shape(values) == (count,), f"residuals of {name} have shape {np.shape(values)}, not {(count,)}")
            broken = name in exact and bool((values > parts.rules[name].limit).any())
            need(not broken, f"healthy readings break rule {name}: {parts.rules[name].doc}")
        before, time_s = now, loop.world.time_s
    return f"{len(parts.rules)} rules, {len(exact)} of them exact, hold"


def _observations(loop: ControlLoop) -> str:
    n = len(loop.site.agents)
    for _ in random_episode(loop):
        before = {name: values.copy() for name, values in loop.readings.items()}
        seen, again = loop.observation, loop.features.encode(loop.readings, loop.mask)
        need(_same(seen, again) and _same(before, loop.readings), "features are not pure: encoding twice differs")
        for name, shape in loop.layout.shapes.items():
            part = seen[name]
            need(part.shape == (n, *shape), f"part {name} has shape {part.shape}, not {(n, *shape)}")
            need(part.dtype == np.float32, f"part {name} is {part.dtype}, not float32")
            need(np.isfinite(part).all(), f"part {name} holds values that are not finite")
        parts = loop.layout.unflatten(loop.layout.flatten(seen))
        need(_same(parts, {name: seen[name] for name in parts}), "the flat observation cannot be taken apart again")
        state = loop.features.state(loop.readings)
        need(state.shape == tuple(loop.features.state_shape), f"the state has shape {state.shape}")
        need(state.dtype == np.float32 and np.isfinite(state).all(), "the state is not finite float32")
    return f"{loop.layout.size} finite float32 features an agent"


def _masks(loop: ControlLoop) -> str:
    space = loop.action_space
    if not isinstance(space, spaces.Discrete):
        return "actions are continuous: no mask"
    for _ in random_episode(loop):
        shape = (len(loop.site.agents), space.n)
        need(loop.mask.dtype == bool and loop.mask.shape == shape, f"the mask is not bool {shape}")
        need(loop.mask.any(axis=1).all(), "some agent may ask for nothing")
    return f"always an allowed action of {space.n}"


def _guard(loop: ControlLoop) -> str:
    n, changed = len(loop.site.agents), 0
    rng = np.random.default_rng(1)
    for _ in random_episode(loop):
        for requests in _wild(loop, n, rng):
            before = {name: values.copy() for name, values in loop.readings.items()}
            commands, changes = loop.guard.check(loop.readings, requests)
            again, _ = loop.guard.check(loop.readings, requests)
            need(np.array_equal(commands, again) and _same(before, loop.readings), "the guard is not pure")
            need(
                {change.reason for change in changes} <= {*loop.guard.reasons}, "the guard's reasons lack one it tells"
            )
            kept, rest = loop.guard.check(loop.readings, commands)
            need(np.array_equal(kept, commands) and not rest, "the guard changes its own commands")
            need(_allowed(loop, commands), "the guard lets something through that its mask forbids")
            changed += len(changes)
    return f"pure and idempotent; mended {changed} wild requests"


def _wild(loop: ControlLoop, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Invalid requests: non-finite, out of range, and of wrong shape or type."""
    shape = random_requests(loop, rng).shape
    for value in (np.nan, np.inf, -np.inf, -1, 1e300, 0.5):
        yield np.full(shape, value)
    yield rng.normal(0, 100, shape)
    yield rng.integers(-3, 30, shape)
    yield np.zeros(0)
    yield np.zeros((n, 7, 2))
    yield np.array(["green"] * n)
    yield np.array([None] * n)


def _allowed(loop: ControlLoop, commands: np.ndarray) -> bool:
    space = loop.action_space
    if isinstance(space, spaces.Discrete):
        whole = np.issubdtype(commands.dtype, np.integer)
        return bool(whole and loop.guard.mask(loop.readings)[np.arange(len(commands)), commands].all())
    return all(command in space for command in commands.astype(space.dtype))


def _rewards(loop: ControlLoop) -> str:
    names: tuple[str, ...] = ()
    for step in random_episode(loop):
        if step is None:
            continue
        names = tuple(step.terms)
        for name, values in step.terms.items():
            need(values.shape == (len(loop.site.agents),), f"term {name} has shape {values.shape}")
            need(np.isfinite(values).all(), f"term {name} is not finite")
    return f"the sum of {', '.join(names)}"


def _indicators(loop: ControlLoop) -> str:
    *_, last = random_episode(loop)
    system, kpis = loop.system, last.kpis if last else {}
    need(set(kpis) == set(system.kpis), f"the indicators are {sorted(kpis)}, documented are {sorted(system.kpis)}")
    need(system.kpi in kpis, f"the headline indicator {system.kpi} is missing")
    need(kpis.get(system.failure) in (0, 1), f"{system.failure} is {kpis.get(system.failure)}, not 0 or 1")
    need(np.isfinite(list(kpis.values())).all(), "an indicator is not finite")
    if kpis[system.failure] and system.failure_voids:
        return f"this episode is void: {system.failure} is 1 ({system.kpis[system.failure]})"
    return f"{system.kpi} = {kpis[system.kpi]:.4g}"


def _spaces(loop: ControlLoop) -> str:
    env = CityParallelEnv(loop.scenario, seed=0)
    try:
        observations, _ = env.reset(seed=0)
        while env.agents:
            for agent, seen in observations.items():
                need(env.observation_space(agent).contains(seen), f"{agent}'s observation is not in its space")
            need(env.state_space.contains(env.state()), "the state is not in its space")
            requests = random_requests(env.loop, np.random.default_rng(0))
            observations, *_ = env.step(dict(zip(env.agents, requests, strict=True)))
    finally:
        env.close()
    return f"observations and states of {len(env.possible_agents)} agents are in their spaces"


def _repeatable(loop: ControlLoop) -> str:
    first, second = digest(loop), digest(loop)
    need(first == second, "two episodes of one seed differ within a process")
    need(digest(loop, 8) != first, "two seeds give the same episode")
    for hash_seed in ("1", "2"):
        need(digest_elsewhere(loop.scenario, hash_seed) == first, "an episode differs from process to process")
    return "the same in two episodes and in two processes with other hash seeds"


def _arrays(loop: ControlLoop) -> str:
    make, decisions = loop.system.make_vector, loop.scenario.decisions
    if make is None:
        return "plants are simulated one by one"
    plants = make(loop.scenario, PLANTS, 0)
    mine = (loop.layout.shapes, loop.features.state_shape, loop.action_space, len(loop.site.agents))
    theirs = (plants.layout.shapes, plants.state_shape, plants.action_space, plants.agents)
    plants.close()
    need(mine == theirs, f"plants as arrays have other shapes or spaces than one by itself: {theirs}, not {mine}")
    ended = check_vector(lambda seed: make(loop.scenario, PLANTS, seed), 2 * decisions)
    return f"{PLANTS} plants as arrays repeat themselves, and go on from a state; {ended} episodes"


def _closing(loop: ControlLoop) -> str:
    before = _children()
    with _own_temporary_folder() as folder:
        moments = random_episode(loop)
        next(moments), next(moments)
        loop.close()
        loop.close()
        left = sorted(path.name for path in folder.iterdir())
    need(not left, f"close() leaves {', '.join(left)} in the folder for temporary files")
    new = _children() - before
    need(not new, f"close() leaves processes {sorted(new)}")
    return "leaves no process and no file"


@contextmanager
def _own_temporary_folder() -> Iterator[Path]:
    """Redirect temporary files of this process to a folder of its own, apart from those of other processes."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = usual


def _children() -> set[int]:
    """Process ids of this process's children."""
    found = {child.pid or 0 for child in multiprocessing.active_children()}
    with suppress(FileNotFoundError):  # not Linux
        for task in Path("/proc/self/task").iterdir():
            with suppress(FileNotFoundError):  # the thread has just ended, or the kernel lacks this file
                found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


CHECKS: dict[str, Callable[[ControlLoop], str]] = {
    "scenario": _scenario,
    "site": _site,
    "scene": _scene,
    "spaces": _spaces,
    "readings": _readings,
    "consistency": _consistency,
    "observations": _observations,
    "masks": _masks,
    "guard": _guard,
    "rewards": _rewards,
    "indicators": _indicators,
    "determinism": _repeatable,
    "arrays": _arrays,
    "closing": _closing,
}
"""Name → check, in the order in which they run."""
