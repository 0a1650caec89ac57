"""The readings of a dispatch centre: vehicles, parties and requests of its zones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.core.errors import ReadingError
from envs.core.readings import Column, Readings, Schema

if TYPE_CHECKING:
    from envs.transit.site import TransitSite

MANY = 1e5
"""Upper limit of a zone's counts and means: a larger one is an error of the sender."""

READINGS = Schema(
    Column("idle_veh", "zone", 0, MANY, "idle vehicles that stand in the zone", integer=True),
    Column("inbound_veh", "zone", 0, MANY, "idle vehicles on their way to stand in the zone", integer=True),
    Column("soon_veh", "zone", 0, MANY, "busy vehicles that will be free in the zone soon (ahead_s)", integer=True),
    Column("soon_s", "zone", 0, MANY, "seconds until they are, in the mean; null: there are none", nullable=True),
    Column("busy_veh", "zone", 0, MANY, "busy vehicles that are in the zone now", integer=True),
    Column("aboard", "zone", 0, MANY, "parties in vehicles that are in the zone now", integer=True),
    Column("coming", "zone", 0, MANY, "parties aboard that will get off in the zone", integer=True),
    Column("waiting", "zone", 0, MANY, "parties that wait in the zone, a vehicle is promised", integer=True),
    Column(
        "booked",
        "zone",
        0,
        MANY,
        "parties to be picked up in the zone within ahead_s who do not wait yet",
        integer=True,
    ),
    Column(
        "requests", "zone", 0, MANY, "requests from the zone in the past recent_s, by when they came in", integer=True
    ),
    Column("refused", "zone", 0, MANY, "what of them was refused", integer=True),
    Column("expected", "zone", 0, MANY, "requests to be expected from the zone within ahead_s", nullable=True),
    Column("time_s", "service", 0, 1e7, "seconds since the service began"),
    Column("speed", "service", 0.01, 10, "speed on the streets relative to free flow"),
    idle={"speed": 1.0},
    void=("soon_s",),
)
"""The schema, and the body of a request to the service.

Columns whose names have no unit count parties (``aboard``, ``coming``, ``waiting``, ``booked``) or requests
(``requests``, ``refused``, ``expected``); ``speed`` is a ratio.
"""


def cross_check(site: TransitSite, readings: Readings) -> None:
    """Refuse readings that contradict each other or the site.

    More vehicles than the fleet has, more vehicles soon free than busy, or more refusals than requests.

    Raises:
        ReadingError: naming the column.
    """
    vehicles = sum(float(readings[name].sum()) for name in ("idle_veh", "inbound_veh", "busy_veh"))
    if vehicles > site.vehicles:
        where = "readings.idle_veh + inbound_veh + busy_veh"
        raise ReadingError(where, vehicles, f"the fleet has {site.vehicles} vehicles: count each once")
    soon, busy = (float(readings[name].sum()) for name in ("soon_veh", "busy_veh"))
    if soon > busy:
        raise ReadingError("readings.soon_veh", soon, f"{busy:g} vehicles are busy: no more can be free soon")
    more = np.flatnonzero(readings["refused"] > readings["requests"])
    if len(more):
        k = int(more[0])
        where = f"readings.refused[{k}] (zone {site.agents[k]})"
        raise ReadingError(where, float(readings["refused"][k]), "no more can be refused than were asked for")
