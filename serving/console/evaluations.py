"""Evaluations on disk (``evaluation.json``), and comparisons of two of their controllers on common seeds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from envs.core.registry import SYSTEMS, get_system
from envs.core.statistics import compare, summarise
from envs.core.system import System
from serving.core.refusals import NotServed, Unprocessable

RESULT = "evaluation.json"

DEEPEST, MOST = 5, 300
"""Depth of folders below the runs that is searched; number of evaluations listed, the newest."""


def evaluations_of(folder: Path) -> list[dict[str, Any]]:
    """What was evaluated below a folder, the newest first: name, scenario, content hash, indicator, seeds, and of every
    controller its median, 90th percentile, worst and failures.
    """
    found = []
    for path in sorted(_results(folder), key=_written_s, reverse=True)[:MOST]:
        try:
            found.append(_listed(folder, path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # half written, or not ours
            continue
    return found


def _results(folder: Path) -> list[Path]:
    patterns = ["/".join(["*"] * depth) + f"/{RESULT}" for depth in range(1, DEEPEST + 1)]
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _written_s(path: Path) -> float:
    """Time of a file's last change; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _listed(root: Path, path: Path) -> dict[str, Any]:
    content = orjson.loads(path.read_bytes())
    return {
        "name": path.parent.relative_to(root).as_posix(),
        "scenario": content["scenario"],
        "label": content["label"],
        "hash": content["hash"],
        "split": content["split"],
        "seeds": len(content["seeds"]),
        "kpi": content["kpi"],
        "written_s": path.stat().st_mtime,
        "controllers": {
            name: {key: one[key] for key in ("median", "p90", "worst", "failures")}
            for name, one in content["controllers"].items()
        },
    }


def beside(folder: Path, first: tuple[str, str], second: tuple[str, str]) -> dict[str, Any]:
    """Two controllers on the same seeds of the same scenario.

    Args:
        folder: of the runs.
        first: an evaluation's name, and a controller's in it.
        second: the same of the other.

    Returns:
        ``{"kpi", "seeds", "first", "second", "paired"}``: each one's values by seed, median, mean, 90th percentile and
        worst of them; the paired difference first − second with its 95 % bootstrap interval. Less is better.

    Raises:
        NotServed: if there is no such evaluation or controller.
        Unprocessable: if they are of different scenarios or indicators, or share no seed that counts.
    """
    (one, mine), (other, theirs) = (_values(folder, *each) for each in (first, second))
    for key in ("hash", "split", "kpi"):
        if one[key] != other[key]:
            raise Unprocessable(key, f"{one[key]} and {other[key]}", "choose two evaluations of the same scenario")
    seeds = [seed for seed in mine if seed in theirs]
    if not seeds:
        raise Unprocessable("seeds", None, "these two have met none in common that counts: evaluate both on the same")
    a, b = ([values[seed] for seed in seeds] for values in (mine, theirs))
    told = {name: asdict(summarise(each)) | {"values": each} for name, each in (("first", a), ("second", b))}
    return {"kpi": one["kpi"], "seeds": seeds, **told, "paired": asdict(compare(a, b, _negligible(one)))}


def _negligible(about: dict[str, Any]) -> float:
    """Least value that counts in a ratio, as where the two are evaluated."""
    system = _system(about)
    return system.negligible if system is not None and system.kpi == about["kpi"] else 0.0


def _system(about: dict[str, Any]) -> System | None:
    """The system of an evaluation; None if it is none of ours."""
    name = about["scenario"].partition("/")[0]
    return get_system(name) if name in SYSTEMS else None


def _values(folder: Path, name: str, controller: str) -> tuple[dict[str, Any], dict[int, float]]:
    """An evaluation, and by seed what a controller reached in it; seeds on which that means nothing are left out."""
    path = next((p for p in _results(folder) if p.parent.relative_to(folder).as_posix() == name), None)
    if path is None:
        raise NotServed("evaluation", name, [])
    try:
        content = orjson.loads(path.read_bytes())
        about = {key: content[key] for key in ("scenario", "hash", "split", "kpi")}
        rows = {one: found["rows"] for one, found in content["controllers"].items()}
        system = _system(about)
        void = system.failure if system is not None and system.failure_voids else None
        values = {row["seed"]: row[about["kpi"]] for row in rows.get(controller, ()) if row.get(void) != 1}
        reached = {seed: float(value) for seed, value in values.items() if value is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # half written, or not ours
        raise NotServed("evaluation", name, []) from None
    if controller not in rows:
        raise NotServed("controller", controller, list(rows))
    return about, reached
