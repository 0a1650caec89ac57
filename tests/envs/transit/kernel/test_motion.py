"""Vehicles under way: they stay where no road leads to their next stop."""

import numpy as np
import pytest

from envs.transit.kernel import motion, plans
from envs.transit.kernel.events import new_log
from envs.transit.kernel.fleet import new_fleet, new_riders
from envs.transit.kernel.travel_times import travel_times_of
from envs.transit.matrices import Matrices
from tests.envs.transit.small import streets


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("planned", [True, False])
def test_a_vehicle_stays_where_no_road_leads_to_its_next_stop(known, planned):
    """A one-way road leads from 0 to 1."""
    roads = travel_times_of(Matrices(2, *np.array([[0], [1]]), np.full(1, 60.0), np.full(1, 500.0)), np.ones(1), 300.0)
    fleet = new_fleet([1], [[4, 0]], [[0.0, 1e5]])
    riders = new_riders([0], [1], [0.0], [0.0], [600.0], [60.0], [600.0], [[1, 0]])
    if planned:
        plans.insert(0, 0, 0, 0, 0.0, fleet, riders, roads)
    else:
        fleet.heading[0], fleet.due_s[0] = 0, 0.0
    actual = None if known else streets(np.random.default_rng(0), fleet, riders, 2)
    motion.move_all(1e6, fleet, riders, roads, new_log(), actual)
    assert (fleet.at[0], fleet.at_s[0], fleet.metres[0], fleet.length[0]) == (1, 0.0, 0.0, 2 * planned)
