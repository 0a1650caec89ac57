"""Fixtures of many tests of the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from envs import load_scenario
from envs.core.scenario import Scenario
from tests.training.small import SMALL
from training.session import ray_session
from training.train import train


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """Two minutes on a small grid."""
    return load_scenario("intersections/grid2x2", duration_s=120)


@pytest.fixture(scope="session")
def run(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run with a Ray of its own: its folder, which stays as it is, and what was told meanwhile."""
    heard: list[Any] = []
    folder = tmp_path_factory.mktemp("train") / "run"
    train(
        scenario,
        iterations=2,
        out=folder,
        on_progress=heard.append,
        on_episodes=lambda *news: heard.append(news),
        **SMALL,
    )
    assert not ray.is_initialized()
    return folder, heard


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray for all runs of a module, which each would start otherwise; no longer, as a service starts its own."""
    with ray_session(cpus=1):
        yield


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """The same, with room for runners in processes of their own."""
    with ray_session(cpus=4):
        yield
