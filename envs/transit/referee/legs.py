"""Legs that were driven between two stands, compared with the dispatcher's travel times."""

from __future__ import annotations

import numpy as np

from envs.transit.kernel.travel_times import TravelTimes, arrive
from envs.transit.referee.taxis import Taxis

DEPART, LOADED, PLANNED, WAY, DROVE = range(5)
"""Columns of a leg: its beginning; whether anybody was aboard; planned seconds of the shortest way; planned seconds of
the streets that were driven, which differ where a vehicle was redirected; and actual seconds."""

HOUR_S = 3600.0


def planned(taxis: Taxis, roads: TravelTimes) -> np.ndarray:
    """Every leg that was driven from one street to another, ``(L, 5)``; see the columns.

    Args:
        taxis: with the drives observed so far.
        roads: the dispatcher's travel times.
    """
    rows = []
    for leg in taxis.legs:
        if len(leg.path) < 2 or not all(street in taxis.passing_of for street in leg.path):
            continue  # a short move, or streets that the dispatcher does not know
        nodes = [taxis.stop_of[leg.start], *(taxis.passing_of[s] for s in leg.path[1:]), taxis.stop_of[leg.end]]
        # A street that is passed within a second is not observed; it lies on the way between two that are.
        free_s = roads.free_s[nodes[0], nodes[-1]], roads.free_s[nodes[:-1], nodes[1:]].sum()
        shortest_s, way_s = (arrive(leg.depart_s, s, roads.speed, roads.slot_s) - leg.depart_s for s in free_s)
        rows.append((leg.depart_s, leg.loaded, shortest_s, way_s, leg.took_s))
    return np.array(rows, float).reshape(-1, 5)


def table(legs: np.ndarray, duration_s: float) -> dict[str, dict[str, float]]:
    """Means over legs: all, those to a rider or to stand elsewhere, those with riders, and those begun in each hour.

    Args:
        legs: ``(L, 5)``; see the columns.
        duration_s: of the service; legs after it belong to the last hour.

    Returns:
        Kind of legs → ``legs`` (their number), ``planned_s``, ``way_s`` and ``driven_s`` (means; see the columns),
        ``error_pct`` (``driven_s`` beyond ``way_s``, in per cent of it) and ``rms_s`` (root mean square of that over
        single legs: signals, queues, gaps).
    """
    hour = np.minimum(legs[:, DEPART], duration_s - 1.0) // HOUR_S
    parts = {"all": np.ones(len(legs), bool), "empty": legs[:, LOADED] == 0, "with riders": legs[:, LOADED] == 1}
    parts |= {f"hour {int(h) + 1}": hour == h for h in np.unique(hour)}
    return {name: _means(legs[mine]) for name, mine in parts.items() if mine.any()}


def _means(legs: np.ndarray) -> dict[str, float]:
    shortest_s, way_s, drove_s = legs[:, PLANNED:].mean(axis=0)
    return {
        "legs": float(len(legs)),
        "planned_s": float(shortest_s),
        "way_s": float(way_s),
        "driven_s": float(drove_s),
        "error_pct": 100.0 * float(drove_s / way_s - 1.0),
        "rms_s": float(np.sqrt(np.mean((legs[:, DROVE] - legs[:, WAY]) ** 2))),
    }
