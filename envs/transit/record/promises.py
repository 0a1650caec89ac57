"""The audit of promises to riders, of drivers' breaks and of batteries, from an episode's events alone."""

from __future__ import annotations

import numpy as np

from envs.transit.kernel import events
from envs.transit.kernel.events import Log
from envs.transit.kernel.fleet import BEGIN, END, Fleet, Riders
from envs.transit.record.ledger import LATE_S, Ledger

SHORT_M = 1.0
"""Tolerance of a battery's range, in metres: rounding."""


def broken_promises(log: Log, fleet: Fleet, riders: Riders, margin_s: float = 0.0) -> int:
    """Number of promises that dispatch broke, counted from events: pick-up windows, rides, seats and places, shifts.

    A party that was promised a vehicle and neither withdrew nor stayed away must have been picked up and dropped off.
    Promises that a breakdown made impossible to keep are counted separately (``broken_by_breakdown``), and so is
    lateness by streets that took longer than known (``late_by_street``), which counts only beyond ``margin_s``.
    """
    ledger = Ledger(log, riders)
    broken = int((ledger.owed & ~ledger.excused(margin_s)).sum())
    stops = (log.kind == events.PICKED_UP) | (log.kind == events.DROPPED_OFF)
    vehicle, rider, time_s = log.vehicle[stops], log.rider[stops], log.time_s[stops]
    ends_s = fleet.shift_s[:, END] + overtime_s(log, len(fleet.at))
    on_duty = (time_s >= fleet.shift_s[vehicle, BEGIN] - LATE_S) & (time_s <= ends_s[vehicle] + LATE_S)
    broken += int((~on_duty).sum())
    stops |= log.kind == events.SET_DOWN
    vehicle, rider, time_s = log.vehicle[stops], log.rider[stops], log.time_s[stops]
    sign = np.where(log.kind[stops] == events.PICKED_UP, 1, -1)
    for v in np.unique(vehicle):
        mine = vehicle == v
        order = np.lexsort((sign[mine], time_s[mine]))  # at the same time drop-offs come first
        aboard = np.cumsum((sign[mine, None] * riders.size[rider[mine]])[order], axis=0)
        broken += int((aboard > fleet.room[v]).any(axis=1).sum())
    return broken


def missed_breaks(log: Log, breaks: np.ndarray) -> int:
    """Number of drivers without a proper break, counted from events; vehicles that broke down do not count."""
    missed = 0
    for v, (first_s, last_s, length_s) in enumerate(breaks):
        if length_s <= 0:
            continue
        kind, time_s = log.kind[log.vehicle == v], log.time_s[log.vehicle == v]
        if (kind == events.BROKE_DOWN).any():
            continue
        begin, end = np.flatnonzero(kind == events.RESTED), np.flatnonzero(kind == events.WENT_ON)
        if len(begin) != 1 or len(end) != 1:
            missed += 1
            continue
        begin_s, end_s = time_s[begin[0]], time_s[end[0]]
        got_on = ((kind == events.PICKED_UP) & (time_s <= begin_s)).sum()
        got_off = ((kind == events.DROPPED_OFF) & (time_s <= begin_s)).sum()
        worked = np.isin(kind, [events.PICKED_UP, events.DROPPED_OFF, events.DROVE]) & (time_s > begin_s)
        worked &= time_s < end_s - LATE_S
        delayed_s = log.load[(log.vehicle == v) & (log.kind == events.DELAYED) & (log.rider < 0)].sum()
        in_time = first_s - LATE_S <= begin_s <= last_s + delayed_s + LATE_S and end_s - begin_s >= length_s - LATE_S
        missed += not in_time or got_on != got_off or worked.any()
    return missed


def overtime_s(log: Log, vehicles: int) -> np.ndarray:
    """Seconds by which streets delayed each vehicle's last stop beyond the end of its shift, ``(V,)``."""
    found, over = np.zeros(vehicles), log.kind == events.OVERTIME
    np.maximum.at(found, log.vehicle[over], log.load[over])
    return found


def lowest_left(log: Log, v: int, battery: np.ndarray) -> float:
    """The lowest remaining range of a battery in metres, from events; below 0 if it did not last.

    Args:
        log: all rows, in the order of time.
        v: the vehicle.
        battery: at the beginning of its shift, see `Fleet`, ``(3,)``.
    """
    left_m, full_m, _ = battery
    lowest_m = left_m
    for k in np.flatnonzero(log.vehicle == v):
        if log.kind[k] == events.DROVE:
            left_m -= log.metres[k]
        elif log.kind[k] == events.UNPLUGGED:
            left_m += log.metres[k]
        elif log.kind[k] == events.REPAIRED:
            left_m = full_m
        lowest_m = min(lowest_m, left_m)
    return float(lowest_m)
