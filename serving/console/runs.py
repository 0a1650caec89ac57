"""Training runs on disk, and the policies that can be served, as plain data for the console.

Only text files are read: ``config.yaml`` and ``metrics.csv`` of a run, and cards.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import yaml

from agents import CHECKPOINTS
from agents.shipped import CARD
from serving.core.refusals import NotServed

CONFIG, METRICS = "config.yaml", "metrics.csv"

CURVES = re.compile(r"^(eval/score|rollout/return_mean|safety/shield_rate|rollout/action_change_rate)$")
"""Tags that are drawn for every run."""

MOST_CURVES, MOST_POINTS, MOST_RUNS, DEEPEST = 12, 400, 200, 3


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """The runs below a folder, those written last first: name, scenarios, algorithm, updates, best score, when."""
    found = []
    for config in _configs(folder):
        try:
            found.append(_summary(folder, config.parent))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):  # half written, or not ours
            continue
    return sorted(found, key=lambda run: -run["written_s"])[:MOST_RUNS]


def _configs(folder: Path) -> list[Path]:
    patterns = ["/".join(["*"] * depth) + f"/{CONFIG}" for depth in range(1, DEEPEST + 1)]
    return [path for pattern in patterns for path in folder.glob(pattern) if (path.parent / METRICS).is_file()]


def _summary(root: Path, run: Path) -> dict[str, Any]:
    head = yaml.load(_head(run / CONFIG), Loader=_LOADER)
    scores, last = [], 0
    for iteration, _, tag, value in _rows(run / METRICS):
        last = max(last, iteration)
        if tag == "eval/score":
            scores.append(value)
    return {
        "name": run.relative_to(root).as_posix(),
        "scenarios": _scenarios(run / CONFIG),
        "algorithm": str(head.get("algorithm", "")),
        "updates": last,
        "best": min(scores, default=None),
        "written_s": (run / METRICS).stat().st_mtime,
    }


def _rows(path: Path) -> Iterator[tuple[int, int, str, float]]:
    """Iteration, agents' decisions, tag and value of every row; what is no row is left out, as one half written."""
    with path.open(newline="", errors="replace") as file, suppress(csv.Error):  # a loss of power may leave anything
        for row in csv.DictReader(file):
            with suppress(TypeError, ValueError):
                yield int(row["iteration"]), int(row["agent_steps"]), row["tag"], float(row["value"])


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _head(path: Path) -> str:
    """The text before the scenarios, which are long."""
    lines = []
    with path.open() as file:
        for line in file:
            if line.startswith("scenarios:"):
                break
            lines.append(line)
    return "".join(lines)


def _scenarios(path: Path) -> list[str]:
    text = path.read_text()
    pairs = re.findall(r"^- system: (\S+)\n  name: (\S+)$", text, re.MULTILINE)
    return [f"{system}/{name}" for system, name in pairs]


def curves_of(folder: Path, name: str) -> dict[str, Any]:
    """The curves of one run: tag → x (agents' decisions) and y, thinned.

    Raises:
        NotServed: if there is no such run.
    """
    run = next((c.parent for c in _configs(folder) if c.parent.relative_to(folder).as_posix() == name), None)
    if run is None:
        raise NotServed("run", name, [one["name"] for one in runs_of(folder)])
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for _, steps, tag, value in _rows(run / METRICS):
        points[tag].append((steps, value))
    headline = [tag for tag in sorted(points) if CURVES.match(tag)]
    compared = [tag for tag in sorted(points) if tag.startswith("baseline/")]
    kpis = sorted({f"eval/{'/'.join(_scenario_and_kpi(tag))}" for tag in compared} & set(points))
    return {"name": name, "curves": {tag: _thin(points[tag]) for tag in (headline + kpis)[:MOST_CURVES]}}


def _scenario_and_kpi(tag: str) -> list[str]:
    """``baseline/rule/label/kpi`` → label and indicator; without a label where a run has one scenario."""
    return tag.split("/")[2:]


def _thin(points: list[tuple[int, float]]) -> dict[str, list[float]]:
    """One point of every few, the newest among them."""
    step = -(-len(points) // MOST_POINTS)
    kept = points[(len(points) - 1) % step :: step]
    return {"x": [x for x, _ in kept], "y": [y for _, y in kept]}


def bundles_of(folder: Path) -> list[dict[str, Any]]:
    """The cards of policies that ship, and of those that were exported below a folder, with what they are called."""
    shipped = [(path.parent.name, path) for path in sorted(CHECKPOINTS.glob(f"*/*/{CARD}"))]
    exported = [(path.parent.as_posix(), path) for path in sorted(folder.glob(f"*/{CARD}"))]
    found = []
    for ref, path in shipped + exported:
        with suppress(OSError, orjson.JSONDecodeError):
            card = orjson.loads(path.read_bytes())
            if isinstance(card, dict):
                found.append({"ref": ref, "card": card})
    return found
