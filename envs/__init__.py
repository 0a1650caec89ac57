"""The systems of a city as environments: PettingZoo, Gymnasium, and arrays."""

from __future__ import annotations

from typing import Any

import gymnasium

from envs.core.env import CityGymEnv, CityParallelEnv
from envs.core.errors import CityloopError, ReadingError
from envs.core.loop import ControlLoop
from envs.core.registry import SYSTEMS, get_system, load_scenario
from envs.core.scenario import Scenario
from envs.core.system import System
from envs.core.vector_env import VectorEnv

__all__ = [
    "SYSTEMS",
    "CityGymEnv",
    "CityParallelEnv",
    "CityloopError",
    "ControlLoop",
    "ReadingError",
    "Scenario",
    "System",
    "VectorEnv",
    "get_system",
    "load_scenario",
    "parallel_env",
    "vector_env",
]


def parallel_env(scenario: str | Scenario, seed: int | None = None, **settings: Any) -> CityParallelEnv:
    """A system as a PettingZoo environment, e.g. ``parallel_env("intersections/cologne8", seed=1)``.

    Arguments and errors are those of `CityParallelEnv`.
    """
    return CityParallelEnv(scenario, seed=seed, **settings)


def vector_env(scenario: str | Scenario, num_envs: int, seed: int = 0, **settings: Any) -> VectorEnv:
    """Many plants of one scenario as arrays, each in a process of its own.

    Arguments and errors are those of `VectorEnv`. Seeds from 100 000 on are for training, where a scenario names no
    others; the default is one of the test split.
    """
    return VectorEnv(scenario, num_envs, seed=seed, **settings)


def _register() -> None:
    """Register every shipped scenario with Gymnasium, e.g. ``intersections/cologne1-v0``. May be called twice."""
    for name in SYSTEMS:
        for scenario in get_system(name).scenario_names:
            env_id = f"{name}/{scenario}-v0"
            if env_id not in gymnasium.registry:
                entry = "envs.core.env:CityGymEnv"
                gymnasium.register(env_id, entry_point=entry, kwargs={"scenario": f"{name}/{scenario}"})


_register()
