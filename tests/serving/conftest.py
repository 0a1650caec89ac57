"""What many tests of the service start from."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from envs.core.site import Site
from serving.watch.logs import ROOT
from tests.serving.plants import grid


@pytest.fixture(scope="session")
def site() -> Site:
    """Four junctions in a grid."""
    return grid()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave the service's logger as it was: whoever starts a service configures it for the whole process."""
    root = logging.getLogger(ROOT)
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.level, root.propagate = handlers, level, propagate
