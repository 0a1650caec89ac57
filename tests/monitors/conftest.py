"""What many tests of the monitor start from."""

import pytest

from tests.monitors.buildings import learned_monitor


@pytest.fixture
def monitor():
    return learned_monitor()
