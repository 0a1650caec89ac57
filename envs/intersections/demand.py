"""The traffic of one seed: a route file's vehicles, scaled, shifted and jittered, written where SUMO can read them."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from envs.intersections.routes import (
    RATES,
    STREAMS,
    departs_s,
    in_order,
    period_value,
    read_routes,
    rides_from,
    write_routes,
)
from envs.intersections.scenarios import Demand, SignalScenario


def first_s(scenario: SignalScenario) -> float:
    """Seconds until the first departure in an episode; its length if there is none in it, 0 if there is none at all.

    Raises:
        CityloopError: if a route file cannot be used.
    """
    children = [child for path in scenario.routes for child in read_routes(path)]
    departs = [(time_s, child.tag in STREAMS) for child in children if (time_s := departs_s(child)) is not None]
    begin_s, end_s = scenario.begin_s, scenario.begin_s + scenario.duration_s
    within = [(time_s, goes_on) for time_s, goes_on in departs if time_s < end_s]
    starts = [max(time_s, begin_s) for time_s, goes_on in within if goes_on or time_s >= begin_s]
    return min(starts, default=end_s if departs else begin_s) - begin_s


def route_files(scenario: SignalScenario, seed: int, folder: Path) -> list[Path]:
    """The route files of a seed: the scenario's own, or copies of them in a folder, varied or put in order.

    A file that is not in order of departure is copied in order. Output of vehicles' devices is discarded, as in
    `routes.quiet_files`.

    Raises:
        CityloopError: if a route file cannot be used.
    """
    demand = scenario.demand_of(seed)
    if demand == Demand():
        return [in_order(path, folder / f"demand{k}.rou.xml") for k, path in enumerate(scenario.routes)]
    rng = np.random.default_rng([seed, 1])
    scale = float(rng.uniform(*demand.scale))
    shift = float(rng.uniform(-demand.shift_s, demand.shift_s))
    every = [child for path in (*scenario.routes, *scenario.additional) for child in read_routes(path)]
    names = Names(every)
    out = []
    for k, path in enumerate(scenario.routes):
        children = read_routes(path)
        changed = _vary(children, scenario, scale, shift, demand.jitter_s, rng, names)
        out.append(write_routes(changed, folder / f"demand{k}.rou.xml"))
    return out


class Names:
    """Unique names for copies of vehicles, over all files.

    Args:
        children: elements of all files that SUMO reads.
    """

    def __init__(self, children: Iterable[ET.Element]):
        ids = [(child.tag, child.get("id", "")) for child in children]
        self._taken = {name for _, name in ids}
        self._flows = {name for tag, name in ids if tag in STREAMS}  # SUMO numbers a flow's vehicles, too

    def of_copy(self, original: str, number: int) -> str:
        """The name of a copy, with a number or, if that is taken, a higher one."""
        while original in self._flows:
            original += "."
        found = next(name for k in itertools.count(number) if (name := f"{original}.{k}") not in self._taken)
        self._taken.add(found)
        return found


def _vary(
    children: tuple[ET.Element, ...],
    scenario: SignalScenario,
    scale: float,
    shift: float,
    jitter: float,
    rng: np.random.Generator,
    names: Names,
) -> list[ET.Element]:
    """Definitions first, then everything that departs, in order of departure."""
    begin, length = scenario.begin_s, scenario.duration_s
    definitions: list[ET.Element] = []
    departing: list[tuple[float, int, ET.Element]] = []
    aboard = [child for child in children if rides_from(child) is not None]
    when: dict[str | None, float] = {}
    (flows,) = rng.spawn(1)
    for child in children:
        depart = departs_s(child)
        if depart is not None and child.tag in STREAMS:
            scaled = _scaled_flows(child, scale, flows, names)
            departing += [(depart, len(departing) + k, flow) for k, flow in enumerate(scaled)]
            continue
        if depart is None:
            definitions += [child] if rides_from(child) is None else []
            continue
        if not begin <= depart < begin + length:
            continue
        copies = int(scale + rng.random())
        for copy in range(copies):
            moved = begin + (depart - begin + shift) % length + rng.uniform(-jitter, jitter)
            moved = float(np.clip(moved, begin, begin + length - 1))
            element = ET.Element(child.tag, {**child.attrib, "depart": f"{moved:.2f}"})
            if copy:
                element.set("id", names.of_copy(child.get("id", ""), copy))
            else:
                when[child.get("id")] = round(moved, 2)
            element.extend(child)
            departing.append((round(moved, 2), len(departing), element))
    for child in aboard:  # they are dropped together with their vehicle
        if (vehicle := rides_from(child)) in when:
            departing.append((when[vehicle], len(departing), child))
    return definitions + [element for _, _, element in sorted(departing, key=lambda item: item[:2])]


def _scaled_flows(flow: ET.Element, scale: float, rng: np.random.Generator, names: Names) -> list[ET.Element]:
    """A flow scaled by a factor. A number of vehicles is rounded at random; without any vehicle there is no flow.

    A flow by probability has a vehicle a second at most, so a larger one becomes several.
    """
    changed = ET.Element(flow.tag, dict(flow.attrib))
    changed.extend(flow)
    several = 1
    for name in RATES:
        if name in changed.attrib:
            value = float(changed.attrib[name]) * scale
            if name == "probability":
                several = max(1, math.ceil(value - 1e-9))
                value /= several
            changed.set(name, str(int(value + rng.random())) if name == "number" else f"{value:.6f}")
    if "period" in changed.attrib:
        period = changed.attrib["period"]
        if period.startswith("exp("):
            changed.set("period", f"exp({period_value(period) * scale:.6f})")
        else:
            changed.set("period", f"{period_value(period) / scale:.4f}")
    if changed.get("number") == "0":
        return []
    found = [changed]
    for copy in range(1, several):
        twin = ET.Element(changed.tag, {**changed.attrib, "id": names.of_copy(changed.get("id", ""), copy)})
        twin.extend(changed)
        found.append(twin)
    return found
