"""Fixtures of many tests of the trainer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from training.algorithm import ray_session


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
