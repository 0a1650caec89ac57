"""The traffic of one seed: a route file's vehicles, scaled, shifted and jittered, written where SUMO can read them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import lru_cache
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.intersections.scenarios import Demand, SignalScenario

RATES = ("vehsPerHour", "perHour", "probability", "number")
"""Attributes of a flow that grow with the demand."""


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> tuple[ET.Element, ...]:
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError, UnicodeDecodeError) as error:
        raise CityloopError(f"route file {path} cannot be read ({error}): give a SUMO .rou.xml file") from None
    if root.tag not in ("routes", "additional"):
        raise CityloopError(f"route file {path} has the root <{root.tag}>: give a SUMO file with <routes>")
    return tuple(root)


def read_routes(path: Path) -> tuple[ET.Element, ...]:
    """The children of a route file, read once as long as the file stays as it is; not to be changed.

    Raises:
        CityloopError: if it cannot be parsed or holds no routes.
    """
    return _read(path, path.stat().st_mtime_ns)


def route_files(scenario: SignalScenario, seed: int, folder: Path) -> list[Path]:
    """The route files of a seed: the scenario's own, or varied copies of them in a folder.

    Raises:
        CityloopError: if a route file cannot be used.
    """
    demand = scenario.demand_of(seed)
    if demand == Demand():
        for path in scenario.routes:
            read_routes(path)
        return list(scenario.routes)
    rng = np.random.default_rng([seed, 1])
    scale = float(rng.uniform(*demand.scale))
    shift = float(rng.uniform(-demand.shift_s, demand.shift_s))
    out = []
    for k, path in enumerate(scenario.routes):
        children = read_routes(path)
        root = ET.Element("routes")
        root.extend(_vary(children, scenario, scale, shift, demand.jitter_s, rng))
        target = folder / f"demand{k}.rou.xml"
        ET.ElementTree(root).write(target, encoding="utf-8")
        out.append(target)
    return out


def scheduled_vehicles(routes: list[Path]) -> list[float]:
    """Departure times of the ``<vehicle>`` elements of route files (trips and flows not counted), in seconds."""
    children = [child for path in routes for child in read_routes(path)]
    departs = [seconds(child.get("depart")) for child in children if child.tag == "vehicle"]
    return [depart for depart in departs if depart is not None]


def _vary(
    children: tuple[ET.Element, ...],
    scenario: SignalScenario,
    scale: float,
    shift: float,
    jitter: float,
    rng: np.random.Generator,
) -> list[ET.Element]:
    """Definitions first, then everything that departs, in order of departure."""
    begin, length = scenario.begin_s, scenario.duration_s
    definitions: list[ET.Element] = []
    departing: list[tuple[float, int, ET.Element]] = []
    for child in children:
        if child.tag == "flow":
            departing.append((seconds(child.get("begin")) or 0.0, len(departing), _scaled_flow(child, scale)))
            continue
        depart = seconds(child.get("depart"))
        if depart is None:
            definitions.append(child)
            continue
        if not begin <= depart < begin + length:
            continue
        copies = int(scale + rng.random())
        for copy in range(copies):
            moved = begin + (depart - begin + shift) % length + rng.uniform(-jitter, jitter)
            moved = float(np.clip(moved, begin, begin + length - 1))
            element = ET.Element(child.tag, {**child.attrib, "depart": f"{moved:.2f}"})
            if copy:
                element.set("id", f"{child.get('id')}.{copy}")
            element.extend(child)
            departing.append((round(moved, 2), len(departing), element))
    return definitions + [element for _, _, element in sorted(departing, key=lambda item: item[:2])]


def _scaled_flow(flow: ET.Element, scale: float) -> ET.Element:
    changed = ET.Element(flow.tag, dict(flow.attrib))
    changed.extend(flow)
    for name in RATES:
        if name in changed.attrib:
            value = float(changed.attrib[name]) * scale
            changed.set(name, str(round(value)) if name == "number" else f"{value:.6f}")
    if "period" in changed.attrib:
        period = changed.attrib["period"]
        if period.startswith("exp("):
            changed.set("period", f"exp({float(period[4:-1]) * scale:.6f})")
        else:
            changed.set("period", f"{float(period) / scale:.4f}")
    return changed


def seconds(text: str | None) -> float | None:
    """Read SUMO's time: seconds, or [days:]hours:minutes:seconds; None where it is no number, e.g. ``triggered``."""
    try:
        parts = [float(part) for part in (text or "").split(":")]
    except ValueError:
        return None
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
