"""What many tests of the service start from."""

from __future__ import annotations

import pytest

from envs.core.site import Site
from tests.serving.plants import grid


@pytest.fixture(scope="session")
def site() -> Site:
    """Four junctions in a grid."""
    return grid()
