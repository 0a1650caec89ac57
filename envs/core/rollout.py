"""Episodes with random requests, for checks and benchmarks, and a digest of all outputs of one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core.env import make_loop
from envs.core.loop import ControlLoop, Step
from envs.core.registry import get_system
from envs.core.scenario import Scenario

LIMIT_S = 300.0
"""Time limit of an episode in another process, in seconds."""


def random_requests(loop: ControlLoop, rng: np.random.Generator) -> np.ndarray:
    """Requests drawn uniformly from what is allowed now, one an agent."""
    return draw_requests(loop.action_space, loop.mask, (len(loop.site.agents),), rng)


def draw_requests(
    space: spaces.Space[Any], mask: np.ndarray | None, lead: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Draw requests uniformly from the allowed ones.

    Args:
        space: action space of one agent.
        mask: allowed actions ``(*lead, actions)``; not used for continuous actions.
        lead: leading axes of the requests, e.g. ``(N,)``.
        rng: source of randomness.

    Returns:
        Requests, int64 ``lead`` if the space is discrete, otherwise float64 ``(*lead, *space.shape)``.
    """
    if isinstance(space, spaces.Discrete):
        assert mask is not None
        return np.asarray(np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=-1))
    assert isinstance(space, spaces.Box)
    return rng.uniform(space.low, space.high, (*lead, *space.shape))


def random_episode(loop: ControlLoop, seed: int = 0) -> Iterator[Step | None]:
    """Run an episode with random allowed requests; yield None before the first decision, then every `Step`."""
    rng = np.random.default_rng(seed)
    loop.reset(seed)
    yield None
    done = False
    while not done:
        step = loop.step(random_requests(loop, rng))
        done = step.done
        yield step


def timed_episode(loop: ControlLoop, seed: int) -> tuple[float, list[np.ndarray]]:
    """Duration in seconds of an episode with random requests through the array interface, and its commands.

    The time excludes drawing the requests if they do not depend on a mask.
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
    """Hash of all outputs of an episode with random requests: observations, states, rewards, indicators."""
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
        RuntimeError: if that process fails or takes longer than `LIMIT_S`.
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
    """Print the `digest` of a scenario, read as JSON from standard input; the other process of `digest_elsewhere`."""
    scenario = get_system(system).scenario_class.parse(json.load(sys.stdin), "standard input")
    loop = make_loop(scenario)
    try:
        print(digest(loop))
    finally:
        loop.close()
