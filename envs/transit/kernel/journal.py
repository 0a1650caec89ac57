"""Writing events, compiled: `motion` and `breakdowns` append them to the log."""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import events
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import NOBODY, SEATS, Fleet
from envs.transit.kernel.jit import compiled


@compiled
def write(log: Log, time_s: float, kind: int, v: int, r: int, node: int, metres: float, load: int) -> None:
    """Append an event. The caller makes sure that there is room."""
    k = log.used[0]
    log.time_s[k], log.kind[k], log.vehicle[k], log.rider[k] = time_s, kind, v, r
    log.node[k], log.metres[k], log.load[k] = node, metres, load
    log.used[0] = k + 1


@compiled
def note_drive(v: int, time_s: float, fleet: Fleet, log: Log) -> None:
    """Record the distance that a vehicle has driven since the last event."""
    if fleet.metres[v] > 0.0:
        write(log, time_s, events.DROVE, v, NOBODY, fleet.at[v], fleet.metres[v], np.int64(fleet.aboard[v, SEATS]))
        fleet.metres[v] = 0.0
