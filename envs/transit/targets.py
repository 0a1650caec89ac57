"""Where idle vehicles should stand: scores and shares of zones, numbers of vehicles, and which vehicle goes where.

Pure functions. A score is what a zone's agent sets, from -1 to 1; shares of the idle vehicles are a softmax of the
scores. The weights of two rules are here too: demand-proportional rebalancing and standing by. Features show both to a
policy, which corrects the second.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from envs.core.readings import Readings
from envs.transit.settings import SCORE_RANGE
from envs.transit.site import TransitSite
from envs.transit.standby import USUAL_STANDBY, StandbyModel, stand_by

PSEUDO_REQUESTS = 0.5
"""Added to the recent requests of a zone, so that a zone without any still gets a vehicle now and then."""

SELDOM = 0.1
"""Added to a zone's expected requests."""

NOTHING = 0.01
"""Added to numbers of vehicles, so that zero has a logarithm."""


def scores_of(weights: np.ndarray) -> np.ndarray:
    """Scores whose shares are in proportion to positive weights, ``(N,)``, with a mean of about 0."""
    logs = np.log(weights)
    return np.clip((logs - logs.mean()) / SCORE_RANGE, -1.0, 1.0)


def shares_of(scores: np.ndarray) -> np.ndarray:
    """Shares of the idle vehicles, ``(N,)``, summing to one."""
    powers = np.exp(SCORE_RANGE * (scores - scores.max()))
    return powers / powers.sum()


def demand_weights(readings: Readings) -> np.ndarray:
    """Weights of demand-proportional rebalancing: recent requests of every zone, ``(N,)``."""
    return readings["requests"] + PSEUDO_REQUESTS


def available(readings: Readings) -> np.ndarray:
    """Vehicles that stand in every zone, are on their way to stand there, or will soon be free there, ``(N,)``."""
    return readings["idle_veh"] + readings["inbound_veh"] + readings["soon_veh"]


def expected_weights(site: TransitSite, readings: Readings) -> np.ndarray:
    """Expected requests of every zone, the mean of recent and usual ones, all above 0, ``(N,)``."""
    recent = readings["requests"] * (site.timing.ahead_s / site.timing.recent_s)
    usual = np.where(np.isfinite(readings["expected"]), readings["expected"], recent)
    return 0.5 * (recent + usual) + SELDOM


def standby(site: TransitSite, readings: Readings, model: StandbyModel = USUAL_STANDBY) -> np.ndarray:
    """Vehicles in every zone, coming ones included, after the moves of `standby.stand_by`, ``(N,)``."""
    idle, inbound, soon = (readings[name].astype(np.int64) for name in ("idle_veh", "inbound_veh", "soon_veh"))
    coming = inbound + soon
    later_s = np.where(soon > 0, np.nan_to_num(readings["soon_s"]), 0.0)
    coming_s = np.divide(soon * later_s, coming, out=np.zeros(len(idle)), where=coming > 0)
    between_s = np.where(site.stands >= 0, site.between_s, np.inf)
    return stand_by(expected_weights(site, readings), idle, coming, coming_s, between_s, model) + coming


def counts_of(shares: np.ndarray, vehicles: int) -> np.ndarray:
    """Whole vehicles in proportion to shares, by largest remainders (ties to the earlier zone), int64 ``(N,)``."""
    exact = shares * vehicles
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rest = vehicles - int(counts.sum())
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[:rest]] += 1
    return counts


def sends(
    site: TransitSite, readings: Readings, scores: np.ndarray, at: np.ndarray, free_s: np.ndarray
) -> list[tuple[int, int]]:
    """Moves of idle vehicles that give every zone its share.

    Args:
        site: the service.
        readings: present readings.
        scores: what zones ask for, -1 to 1, ``(N,)``.
        at: nodes at which idle vehicles stand, ``(I,)``.
        free_s: travel times between nodes, ``(nodes, nodes)``.

    Returns:
        Pairs of idle vehicle and node.
    """
    open_zones = site.stands >= 0
    if not open_zones.any():
        return []
    shares = np.where(open_zones, shares_of(scores), 0.0)
    targets = counts_of(shares / shares.sum(), int(available(readings).sum()))
    to_s = np.where(open_zones, free_s[np.ix_(at, np.maximum(site.stands, 0))], np.inf)
    here = readings["idle_veh"].astype(np.int64)
    coming = (readings["inbound_veh"] + readings["soon_veh"]).astype(np.int64)
    found = moves(targets, here, coming, site.zone_of[at], to_s)
    return [(k, int(site.stands[zone])) for k, zone in found]


def moves(
    targets: np.ndarray, here: np.ndarray, coming: np.ndarray, zone: np.ndarray, to_s: np.ndarray
) -> list[tuple[int, int]]:
    """Moves of idle vehicles to zones that fill shortages from surpluses with the least driving.

    A minimum-cost flow between single vehicles and places, solved as a linear assignment.

    Args:
        targets: vehicles that should stand in every zone, ``(N,)``.
        here: idle vehicles that stand there, ``(N,)``.
        coming: vehicles that are on their way there or will soon be free there, ``(N,)``.
        zone: of every idle vehicle, ``(I,)``.
        to_s: seconds from every idle vehicle to every zone; inf where it cannot go, ``(I, N)``.

    Returns:
        Pairs of idle vehicle and zone. No zone receives more than it lacks, or gives up more than its surplus.
    """
    lacking = np.maximum(targets - here - coming, 0)
    spare = np.minimum(np.maximum(here + coming - targets, 0), here)
    if not lacking.any() or not spare.any():
        return []
    wanted = np.repeat(np.arange(len(targets)), lacking)
    free = np.flatnonzero(spare[zone] > 0)
    costs = to_s[np.ix_(free, wanted)]
    # A zone may have more idle vehicles than its surplus. The others are matched to staying, which costs less than any
    # move, so exactly the surplus goes.
    keep = here - spare
    stay = np.repeat(np.arange(len(targets)), keep * (spare > 0))
    far = 1.0 + 2.0 * float(costs[np.isfinite(costs)].sum()) if np.isfinite(costs).any() else 1.0
    staying = np.where(zone[free][:, None] == stay[None, :], -far, far)
    table = np.concatenate([np.where(np.isfinite(costs), costs, far), staying], axis=1)
    rows, columns = linear_sum_assignment(table)
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if column < len(wanted) and np.isfinite(costs[row, column]):
            found.append((int(free[row]), int(wanted[column])))
    return found
