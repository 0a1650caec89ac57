"""Readings of a junction's detectors and signal controller.

Approach columns come from lane-area detection (camera or radar) up to the site's range upstream of each stop line; exit
columns from detection behind the junction; junction and movement columns from the local signal controller. Where a
piece of road upstream feeds several stop-line lanes, its vehicles count in equal shares for each, as their turns are
not yet known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.core.errors import ReadingError
from envs.core.readings import Column, Readings, Schema

if TYPE_CHECKING:
    from envs.intersections.site import SignalSite

STANDING_MPS = 0.1
"""Below this speed a vehicle counts as standing (SUMO's definition of halting)."""

NEAR_M = 50.0
"""Vehicles this close to the stop line count as near (RESCO's range for its greedy controller)."""

ARRIVAL_S = 12.0
"""Moving vehicles that would reach the stop line within this time at their speed count as arrivals."""

LONGEST_CLEARING_S = 60
"""Longest change of stage; a signal that needs longer is no agent."""

READINGS = Schema(
    Column("count_veh", "approach", 0, 1000, "vehicles within detection range", nullable=True),
    Column("queue_veh", "approach", 0, 1000, "standing vehicles within detection range", nullable=True),
    Column("near_veh", "approach", 0, 1000, "vehicles within 50 m of the stop line", nullable=True),
    Column("arrivals_veh", "approach", 0, 1000, "moving vehicles due at the stop line within 12 s", nullable=True),
    Column("speed_mps", "approach", 0, 100, "mean speed within detection range; the limit if empty", nullable=True),
    Column("occupancy", "approach", 0, 1, "share of the watched length that is taken up", nullable=True),
    Column("waiting_s", "approach", 0, 1e7, "sum of the present standstill times", nullable=True),
    Column("inside_veh", "approach", 0, 1000, "vehicles from here that stand in the conflict area", nullable=True),
    Column("exit_count_veh", "exit", 0, 1000, "vehicles just behind the junction", nullable=True),
    Column("exit_queue_veh", "exit", 0, 1000, "standing vehicles just behind the junction", nullable=True),
    Column("stage", "junction", 0, 99, "stage that is green, or that is coming", integer=True),
    Column(
        "clearing_s",
        "junction",
        0,
        LONGEST_CLEARING_S,
        "seconds of yellow and all-red still to run; 0: the stage is green",
    ),
    Column("green_s", "junction", 0, 1e7, "seconds that the stage has been green; 0 while clearing"),
    Column("red_s", "movement", 0, 1e7, "seconds since the movement last had green; 0 while it has"),
    idle={"speed_mps": np.nan},  # nobody moves; limits are the site's
    void=("speed_mps",),
)

PARTS = {
    "queue_veh": "count_veh",
    "near_veh": "count_veh",
    "arrivals_veh": "count_veh",
    "exit_queue_veh": "exit_count_veh",
}
"""Columns that count some of the vehicles that another column counts."""


def cross_check(site: SignalSite, readings: Readings) -> None:
    """Refuse impossible readings: a stage that a junction does not have, or more vehicles standing than there are.

    Raises:
        ReadingError: naming the first field that does not fit, its value and the mend.
    """
    for j, (junction, stage) in enumerate(zip(site.junctions, readings["stage"].tolist(), strict=True)):
        if stage >= len(junction.stages):
            where = f"readings.stage[{j}] (junction {junction.id})"
            raise ReadingError(where, int(stage), f"this junction has stages 0 to {len(junction.stages) - 1}")
    for part, whole in PARTS.items():
        # Half a vehicle of slack: shares of vehicles are sums of fractions, and devices round them.
        beyond = readings[part] > readings[whole] + 0.5
        if np.count_nonzero(beyond):  # a third of the time of `any`
            k = int(np.flatnonzero(beyond)[0])
            most = float(readings[whole][k])
            mend = f"give at most readings.{whole}[{k}], which is {most:g}"
            raise ReadingError(f"readings.{part}[{k}]", float(readings[part][k]), mend)
