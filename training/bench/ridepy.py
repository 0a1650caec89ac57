"""The same requests for RidePy's dispatcher in Python, the peer of ``cityloop bench transit``.

RidePy (MIT, J. Open Source Softw. 6241) inserts a request where it lengthens a vehicle's way least. It bounds the time
of arrival and not that of the ride, so its windows are wider than ours where a rider is picked up early, and nobody
takes time to get on or off. The streets reach it through its own interface for spaces; travel times are looked up in a
table.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.transit.site import TransitSite
from envs.transit.sources.day import Day

if TYPE_CHECKING:
    from envs.transit.matrices import Matrices

MISSING = "RidePy is not installed, so nothing is compared with it: see the README of transit"


def installed() -> bool:
    """Whether RidePy can be imported."""
    return find_spec("ridepy") is not None


def seconds_per_request(site: TransitSite, day: Day, seats: int, starts: np.ndarray) -> tuple[float, float]:
    """CPU seconds that RidePy's Python dispatcher takes for a request, driving included, and the share served.

    Args:
        site: streets and promise.
        day: single riders.
        seats: of every vehicle.
        starts: node at which each vehicle begins, ``(vehicles,)``.

    Returns:
        (seconds a request, percent of requests that are served).
    """
    from ridepy.data_structures import TransportationRequest
    from ridepy.fleet_state import SlowSimpleFleetState
    from ridepy.util.dispatchers import BruteForceTotalTravelTimeMinimizingDispatcher
    from ridepy.vehicle_state import VehicleState

    space, promise = _space(site.matrices), site.promise
    asked = []
    for k, (origin, target) in enumerate(zip(day.origin.tolist(), day.destination.tolist(), strict=True)):
        begin_s = float(day.earliest_s[k])
        latest_s = begin_s + promise.wait_s
        ride_s = promise.ride_factor * space.t(origin, target) + promise.ride_allowance_s
        windows = {"pickup_timewindow_min": begin_s, "pickup_timewindow_max": latest_s}
        windows |= {"delivery_timewindow_min": 0.0, "delivery_timewindow_max": latest_s + ride_s}
        asked.append(
            TransportationRequest(
                request_id=k, creation_timestamp=begin_s, origin=origin, destination=target, **windows
            )
        )
    fleet = SlowSimpleFleetState(
        initial_locations=dict(enumerate(starts.tolist())),
        seat_capacities=seats,
        space=space,
        dispatcher=BruteForceTotalTravelTimeMinimizingDispatcher(space.loc_type),
        vehicle_state_class=VehicleState,
    )
    start = time.process_time()
    happened = [event["event_type"] for event in fleet.simulate(iter(asked))]
    took = time.process_time() - start
    return took / len(asked), 100.0 * happened.count("RequestAcceptanceEvent") / len(asked)


def _space(matrices: Matrices) -> Any:
    """The streets as a space of RidePy's."""
    from ridepy.data_structures import LocType, TransportSpace

    table, hop = matrices.free_s.tolist(), matrices.hop.tolist()

    class Streets(TransportSpace):  # type: ignore[misc, unused-ignore] # of an untyped package
        n_dim, loc_type = 1, LocType.INT

        def t(self, u: int, v: int) -> float:
            return table[u][v]

        d = t

        def interp_time(self, u: int, v: int, time_to_dest: float) -> tuple[int, float]:
            return on_the_way(table, hop, u, v, time_to_dest)

        interp_dist = interp_time

        def random_point(self) -> int:
            return 0

        def asdict(self) -> dict[str, Any]:
            return {}

    return Streets()


def on_the_way(
    table: list[list[float]], hop: list[list[int]], start: int, end: int, left_s: float
) -> tuple[int, float]:
    """The next node of a vehicle that is under way, and the seconds until it is there.

    Args:
        table: seconds between nodes.
        hop: the next node on the way between them.
        start: where it began.
        end: where it goes.
        left_s: seconds until it is there.
    """
    node = start
    while table[node][end] > left_s and node != end:
        node = hop[node][end]
    return node, left_s - table[node][end]
