"""``cityloop bench cordeau``: static dial-a-ride instances of Cordeau and Laporte, beside the best that is known.

The instances do not ship. Files of a user's own have the same layout.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.scenarios import DATA, USUAL_DATA
from envs.transit.static.exact import optimum
from envs.transit.static.problem import Problem, read
from envs.transit.static.solve import solve

OPTIMA = {
    "a02617016d9f49e8f45404127abd6d4353341ad46d84687a921fd9afc78bddf5": 294.248,  # a2-16
    "b65060e82a9cd64961ee92321d27bf43d7a0ace2054c1acc484ffde09ad3c7f3": 309.406,  # b2-16
}
"""`fingerprint` → cost, proven by HiGHS with ``--prove 300``. Others are not known to us: their publication's figures
are not at hand."""

SECONDS = 10.0
"""Of search, for each instance."""


def instances() -> list[Path]:
    """The instances, where they are at hand.

    Raises:
        CityloopError: if they are not.
    """
    folder = Path(os.environ.get(DATA) or USUAL_DATA).expanduser().resolve() / "transit" / "cordeau"
    found = sorted(folder.glob("*.txt"))
    if not found:
        raise CityloopError(f"no instances are in {folder}: set {DATA} to the folder that holds transit/cordeau/*.txt")
    return found


def fingerprint(problem: Problem) -> str:
    """What tells an instance from all others, whatever its file is called: a hash of all its numbers."""
    head = np.array([problem.requests, problem.vehicles, problem.capacity, problem.duration, problem.ride])
    body = (problem.at, problem.service, problem.load, problem.window)
    numbers = np.concatenate([head, *(part.ravel() for part in body)])
    return hashlib.sha256(numbers.astype("<f8").tobytes()).hexdigest()


def rows(paths: Sequence[Path], seconds: float = SECONDS, prove_s: float = 0.0) -> list[dict[str, Any]]:
    """Solve instances.

    Args:
        paths: their files.
        seconds: of search, for each.
        prove_s: for HiGHS, for each; 0: it is not asked.

    Returns:
        A row an instance: ``instance``, ``requests``, ``vehicles``, ``unserved``, ``first`` (cost of regret insertion
        alone, with what those add whom it leaves out), ``first_unserved`` (how many these are), ``cost``, ``known`` (of
        the optimum, where it is known or was proven; else None), ``bound`` (what HiGHS proved that no solution is
        below; None if not asked), ``found_s``.

    Raises:
        CityloopError: if a file cannot be read, or there is no time to search.
    """
    if not 0 < seconds < math.inf:
        raise CityloopError(f"seconds is {seconds:g}: give a time above 0")
    found = []
    for path in paths:
        problem = read(path)
        mine = solve(problem, seconds)
        known, bound = OPTIMA.get(fingerprint(problem)), None
        if prove_s > 0:
            exact = optimum(problem, prove_s, mine.cost if not mine.unserved else float("inf"))
            known, bound = (exact.cost if exact.proven and exact.routes else known), exact.bound
        found.append(
            {
                "instance": problem.name,
                "requests": problem.requests,
                "vehicles": problem.vehicles,
                "unserved": len(mine.unserved),
                "first": mine.first,
                "first_unserved": mine.first_unserved,
                "cost": mine.cost,
                "known": known,
                "bound": bound,
                "found_s": mine.found_s,
            }
        )
    return found


def bench_cordeau(
    paths: Sequence[Path] | None = None, seconds: float = SECONDS, prove_s: float = 0.0
) -> dict[str, Any]:
    """Solve instances, and compare their costs with what is known.

    Args:
        paths: their files; None: all that are at hand.
        seconds: of search, for each.
        prove_s: for HiGHS to look for the optimum, with the cost found as a cutoff, for each; 0: it is not asked.

    Returns:
        ``{"bench", "ratios", "figures"}``: cost beside the best known, and beside insertion alone, where either
        serves all riders; costs, after how many seconds they were found, and what HiGHS proved.

    Raises:
        CityloopError: if there are no instances, or a file cannot be read.
    """
    ratios, figures = {}, {}
    for row in rows(paths or instances(), seconds, prove_s):
        name = row["instance"]
        if not row["unserved"]:
            if row["known"] is not None:
                ratios[f"{name}: ours / proven optimum"] = row["cost"] / row["known"]
            if not row["first_unserved"]:
                ratios[f"{name}: ours / regret insertion alone"] = row["cost"] / row["first"]
        figures[f"{name}: requests"], figures[f"{name}: vehicles"] = float(row["requests"]), float(row["vehicles"])
        figures[f"{name}: cost"] = row["cost"]
        figures[f"{name}: unserved"] = float(row["unserved"])
        figures[f"{name}: found after (s)"] = row["found_s"]
        if row["bound"] is not None:
            figures[f"{name}: no solution costs less than"] = row["bound"]
    return {"bench": "cordeau", "ratios": ratios, "figures": figures}
