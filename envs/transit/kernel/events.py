"""All events of riders and vehicles as one table, from which indicators, rewards and drawings are computed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

REQUESTED, PROMISED, REFUSED, CANCELLED, ABSENT, PICKED_UP, DROPPED_OFF, SENT, STOOD, DROVE, HANDED_OVER = range(11)
"""Kinds: a request came in; a vehicle was promised; none could be. A rider withdrew; was not at the stop; boarded; got
off. An idle vehicle was sent somewhere; arrived there. A vehicle drove ``metres`` with ``load`` aboard. A waiting rider
was given to another vehicle."""

BROKE_DOWN, REPAIRED, SET_DOWN, STRANDED = range(11, 15)
"""A vehicle broke down; is back in service. A rider had to get out of it; no other vehicle can take the rider."""

RESTED, WENT_ON = range(15, 17)
"""A driver's break began; ended."""

PLUGGED_IN, UNPLUGGED = range(17, 19)
"""A vehicle began to charge; ended, having gained ``metres`` of range."""

DELAYED, PROLONGED, OVERTIME = range(19, 22)
"""Lateness because streets took longer than known (see `kernel.unforeseen`), in ``load`` seconds, rounded up: a party
boards, or a break begins, later than plans allow; a ride took longer than plans allow; a stop is served after the end
of the shift."""

NAMES = (
    "requested",
    "promised",
    "refused",
    "cancelled",
    "absent",
    "picked_up",
    "dropped_off",
    "sent",
    "stood",
    "drove",
    "handed_over",
    "broke_down",
    "repaired",
    "set_down",
    "stranded",
    "rested",
    "went_on",
    "plugged_in",
    "unplugged",
    "delayed",
    "prolonged",
    "overtime",
)

TOO_LARGE, TOO_LATE, IMPOSSIBLE = range(3)
"""Reasons of a refusal (`load` of the event): no vehicle on shift at the time is large enough for the party; none can
keep all promises; the request is invalid, see `sources.tables`."""

REASONS = ("too_large", "too_late", "impossible")

KEPT, ANEW = range(2)
"""Terms of a handover (`load` of the event): the promise made before; or, after a breakdown that no vehicle could make
good, a new one."""


class Log(NamedTuple):
    """The table, filled up to ``used[0]`` rows.

    Attributes:
        time_s: time, float64.
        kind: kind, int8.
        vehicle, rider, node: indices, int32; -1: none.
        metres: distance driven (`DROVE`), or range gained (`UNPLUGGED`), float64.
        load: seats taken on the way (`DROVE`), the reason (`REFUSED`), the terms (`HANDED_OVER`), or seconds
            (`DELAYED`, `PROLONGED`, `OVERTIME`), int32.
        used: number of rows filled, int64 ``(1,)``.
    """

    time_s: np.ndarray
    kind: np.ndarray
    vehicle: np.ndarray
    rider: np.ndarray
    node: np.ndarray
    metres: np.ndarray
    load: np.ndarray
    used: np.ndarray


def new_log(rows: int = 1024) -> Log:
    """An empty table with room for some rows."""
    whole = {name: np.zeros(rows, np.int32) for name in ("vehicle", "rider", "node", "load")}
    return Log(
        time_s=np.zeros(rows),
        kind=np.zeros(rows, np.int8),
        metres=np.zeros(rows),
        used=np.zeros(1, np.int64),
        **whole,
    )


def with_room(log: Log, rows: int) -> Log:
    """The table with room for so many more rows; the same object if it has enough."""
    used = int(log.used[0])
    if used + rows <= len(log.time_s):
        return log
    grown = new_log(max(2 * len(log.time_s), used + rows))
    for old, new in zip(log[:-1], grown[:-1], strict=True):
        new[:used] = old[:used]
    grown.used[0] = used
    return grown


def rows(log: Log, first: int = 0) -> Log:
    """The rows from ``first`` on, in the order of time."""
    used = int(log.used[0])
    order = first + np.argsort(log.time_s[first:used], kind="stable")
    return Log._make([*(column[order] for column in log[:-1]), np.array([len(order)])])
