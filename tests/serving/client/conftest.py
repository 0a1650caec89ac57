"""Readings for the clients' tests."""

from __future__ import annotations

import pytest

from envs import get_system
from envs.core.readings import Readings
from envs.core.site import Site
from tests.serving.plants import tick_of


@pytest.fixture(scope="module")
def readings(site: Site) -> Readings:
    tick = tick_of(site)
    return get_system(site.system).readings.validate(tick["readings"], site.axes)
