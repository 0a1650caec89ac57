"""Episodes of random requests, for checks and benchmarks, and a digest of everything that one shows."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from gymnasium import spaces

from envs.core.env import make_loop
from envs.core.loop import ControlLoop, Step
from envs.core.registry import get_system
from envs.core.scenario import Scenario

LIMIT_S = 300.0
"""An episode in another process that takes longer is given up."""


def random_requests(loop: ControlLoop, rng: np.random.Generator) -> np.ndarray:
    """Requests drawn uniformly from what is allowed now, one an agent."""
    space = loop.action_space
    if isinstance(space, spaces.Discrete):
        scores = np.where(loop.mask, rng.random(loop.mask.shape), -1.0)
        return np.asarray(scores.argmax(axis=1))
    assert isinstance(space, spaces.Box)
    return rng.uniform(space.low, space.high, (len(loop.site.agents), *space.shape))


def random_episode(loop: ControlLoop, seed: int = 0) -> Iterator[Step | None]:
    """Play an episode of random allowed requests; yield None before the first decision, then every `Step`."""
    rng = np.random.default_rng(seed)
    loop.reset(seed)
    yield None
    done = False
    while not done:
        step = loop.step(random_requests(loop, rng))
        done = step.done
        yield step


def timed_episode(loop: ControlLoop, seed: int) -> tuple[float, list[np.ndarray]]:
    """Seconds that an episode of random requests takes as arrays, and the commands that were carried out.

    Drawing requests is no part of it where they do not depend on what is allowed.
    """
    rng = np.random.default_rng(seed)
    commands: list[np.ndarray] = []
    loop.reset(seed)
    masked = isinstance(loop.action_space, spaces.Discrete)
    drawn = [] if masked else [random_requests(loop, rng) for _ in range(loop.scenario.decisions)]
    start = time.perf_counter()
    done = False
    while not done:
        step = loop.step(random_requests(loop, rng) if masked else drawn[len(commands)])
        loop.layout.flatten(loop.observation)
        assert step.commands is not None
        commands.append(step.commands)
        done = step.done
    return time.perf_counter() - start, commands


def digest(loop: ControlLoop, seed: int = 7) -> str:
    """A hash of everything that an episode of random requests shows: observations, states, rewards, indicators."""
    seen = hashlib.sha256()
    for step in random_episode(loop, seed):
        seen.update(loop.layout.flatten(loop.observation).tobytes())
        seen.update(loop.features.state(loop.readings).tobytes())
        if step is not None:
            seen.update(step.reward.astype(np.float64).tobytes())
            seen.update(json.dumps(step.kpis, sort_keys=True).encode())
    return seen.hexdigest()


def digest_elsewhere(scenario: Scenario, hash_seed: str) -> str:
    """The `digest` of a scenario in another process, with another ``PYTHONHASHSEED``.

    Raises:
        RuntimeError: if that process fails or takes more than `LIMIT_S`.
    """
    script = f"from envs.core import rollout; rollout.print_digest({scenario.system!r})"
    path = os.pathsep.join(entry or "." for entry in sys.path)
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", script]
    given = scenario.model_dump_json()
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, env=environment, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"an episode in another process took more than {LIMIT_S:g} s") from None
    if done.returncode:
        raise RuntimeError(f"an episode in another process failed: {done.stderr.strip()[-200:]}")
    return done.stdout.split()[-1]


def print_digest(system: str) -> None:
    """Print the `digest` of the scenario whose JSON is on standard input: what a checking process runs."""
    scenario = get_system(system).scenario_class.parse(json.load(sys.stdin), "standard input")
    loop = make_loop(scenario)
    try:
        print(digest(loop))
    finally:
        loop.close()
