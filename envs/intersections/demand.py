"""The traffic of one seed: a route file's vehicles, scaled, shifted and jittered, written where SUMO can read them."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError
from envs.core.machine.files import kept
from envs.core.sumo.reading import read_root, seconds
from envs.intersections.scenarios import Demand, SignalScenario

RATES = ("vehsPerHour", "perHour", "probability", "number")
"""Attributes of a flow that scale with the demand."""

STREAMS = ("flow", "personFlow", "containerFlow")
"""Elements that depart from ``begin`` on; all others that depart do so at ``depart``."""

LOADS = ("triggered", "containerTriggered")
"""Departures of a vehicle that wait for a person or a container to be aboard."""

DETECTORS = ("inductionLoop", "e1Detector", "instantInductionLoop", "laneAreaDetector", "e2Detector")
OUTPUTS = ("entryExitDetector", "e3Detector", "edgeData", "laneData", "routeProbe", "vTypeProbe")
WRITES = dict.fromkeys((*DETECTORS, *OUTPUTS), "file") | {"calibrator": "output", "timedEvent": "dest"}
"""Elements of additional files that write a file → the attribute that names it."""

DEVICE_FILES = ("device.ssm.file", "device.toc.file")
"""Parameters of vehicles and their types that name the file of a device."""

READS = ("variableSpeedSign", "rerouter", "calibrator")
"""Elements of additional files that may be read from a ``file`` of their own."""

OTHERS = ("net", "nodes", "edges", "connections", "types", "osm", "html", "configuration", "sumoConfiguration")
"""Roots of files of other kinds. SUMO accepts any: `routes`, `flows`, `additionals` and others are in use."""

ALONE = ("tlLogic", "vType", "vTypeDistribution")
"""Elements that may be the root of an additional file."""


@kept(lambda path: (path,))
def _read(path: Path) -> tuple[tuple[ET.Element, ...], bool]:
    """The children of a route file, silenced (see `_silence`), and whether any would have written a file."""
    root = read_root(path)
    writes = _silence(root)
    if root.tag in OTHERS:
        raise CityloopError(f"route file {path} has the root <{root.tag}>: give a SUMO file with <routes>")
    children = (root,) if root.tag in ALONE else tuple(_flat(root))
    for flow in children:
        if flow.tag in STREAMS:
            _refuse_odd_rate(path, flow)
    return children, writes


def _flat(root: ET.Element) -> Iterator[ET.Element]:
    """The children of a root, and those of elements that only group; flows of an interval begin and end with it."""
    for child in root:
        if child.tag == "interval":
            window = {key: child.attrib[key] for key in ("begin", "end") if key in child.attrib}
            for flow in child:
                flow.attrib.update(window | flow.attrib)
                yield flow
        elif child.tag == "tazs":
            yield from child
        else:
            yield child


def _refuse_odd_rate(path: Path, flow: ET.Element) -> None:
    """Refuse rates below 0, and periods not above 0. SUMO does so only at its start, after rates are counted."""
    for name in (*RATES, "period"):
        text = flow.get(name, "1")
        try:
            rate = period_value(text) if name == "period" else float(text)
        except ValueError:
            rate = -1.0
        if not 0 <= rate < math.inf or (name == "period" and rate == 0):
            bound = "above 0" if name == "period" else "from 0 on"
            raise CityloopError(
                f"route file {path}: {name} of flow {flow.get('id')!r} is {text!r}: give a number {bound}"
            )


def period_value(text: str) -> float:
    """The number in a flow's period: seconds, or for ``exp(RATE)`` the rate per second.

    Raises:
        ValueError: if there is no number.
    """
    if text.startswith("exp("):
        return float(text[4:-1])
    found = seconds(text)
    if found is None:
        raise ValueError(text)
    return found


def read_routes(path: Path) -> tuple[ET.Element, ...]:
    """The children of a route file, read once as long as the file stays as it is; not to be changed.

    Raises:
        CityloopError: if it cannot be parsed or holds no routes.
    """
    return _read(path)[0]


def route_files(scenario: SignalScenario, seed: int, folder: Path) -> list[Path]:
    """The route files of a seed: the scenario's own, or copies of them in a folder, varied or put in order.

    SUMO ignores an element that departs earlier than one before it in the same file, so a file that is not in order of
    departure is copied in order. Output of vehicles' devices is discarded, as in `quiet_files`.

    Raises:
        CityloopError: if a route file cannot be used.
    """
    demand = scenario.demand_of(seed)
    if demand == Demand():
        return [_in_order(path, folder / f"demand{k}.rou.xml") for k, path in enumerate(scenario.routes)]
    rng = np.random.default_rng([seed, 1])
    scale = float(rng.uniform(*demand.scale))
    shift = float(rng.uniform(-demand.shift_s, demand.shift_s))
    every = [child for path in (*scenario.routes, *scenario.additional) for child in read_routes(path)]
    names = Names(every)
    out = []
    for k, path in enumerate(scenario.routes):
        children = read_routes(path)
        changed = _vary(children, scenario, scale, shift, demand.jitter_s, rng, names)
        out.append(_write(changed, folder / f"demand{k}.rou.xml"))
    return out


def _write(children: Iterable[ET.Element], target: Path) -> Path:
    root = ET.Element("routes")
    root.extend(children)
    ET.ElementTree(root).write(target, encoding="utf-8")
    return target


def _in_order(path: Path, target: Path) -> Path:
    """The file itself if it is in order of departure and writes nothing, else a copy that is."""
    children, writes = _read(path)
    times = [time_s for child in children if (time_s := departs_s(child)) is not None]
    if not writes and all(a <= b for a, b in itertools.pairwise(times)):
        return path
    when = {child.get("id"): departs_s(child) for child in children if child.tag == "vehicle"}
    definitions, departing = [], []
    for child in children:
        time_s = when.get(rides_from(child)) if departs_s(child) is None else departs_s(child)
        if time_s is None:
            definitions.append(child)
        else:
            departing.append((time_s, rides_from(child) is not None, child))
    return _write([*definitions, *(child for *_, child in sorted(departing, key=lambda one: one[:2]))], target)


def rides_from(element: ET.Element) -> str | None:
    """The vehicle in which a person or container with departure ``triggered`` begins, and must follow in the file.

    None for all other elements.
    """
    first = next(iter(element), None)
    if element.tag not in ("person", "container") or element.get("depart") != "triggered" or first is None:
        return None
    return first.get("lines")


def departs_s(element: ET.Element) -> float | None:
    """First departure of a child of a route file; None for a definition, and if it waits for another element."""
    if element.tag in STREAMS:
        return seconds(element.get("begin")) or 0.0
    return seconds(element.get("depart"))


def quiet_files(additional: Iterable[Path], folder: Path) -> list[Path]:
    """Additional files, or silenced copies in a folder of those that would write files.

    Their output would lie beside the user's files, and episodes that run at once would write the same files.

    Raises:
        CityloopError: if one cannot be read, or names a file that is not there.
    """
    out = []
    for k, path in enumerate(additional):
        root = read_root(path, "additional file", ".add.xml")
        _find_what_is_read(path, root)
        writes = _silence(root)
        quiet = folder / f"additional{k}.add.xml" if writes else path
        if writes:
            ET.ElementTree(root).write(quiet, encoding="utf-8")
        out.append(quiet)
    return out


def _silence(root: ET.Element) -> bool:
    """Discard the output of all elements that would write a file; returns whether there were any."""
    writing = [(one, name) for one in root.iter() if (name := WRITES.get(one.tag)) and one.get(name)]
    writing += [(one, "value") for one in root.iter("param") if one.get("key") in DEVICE_FILES]
    for element, name in writing:
        element.set(name, "NUL")
    return bool(writing)


def _find_what_is_read(path: Path, root: ET.Element) -> None:
    """Resolve the files that elements read, beside the original: SUMO crashes if they are missing beside a copy."""
    for element in root.iter():
        if element.tag in READS and (name := element.get("file")):
            read = path.parent.resolve() / name
            if not read.is_file():
                raise CityloopError(
                    f"additional file {path}: file of {element.tag} {element.get('id')!r} is {name!r}: "
                    "give an existing file"
                )
            element.set("file", str(read))


def names_junctions(routes: Iterable[Path]) -> bool:
    """Whether a trip begins or ends at a junction, which SUMO allows only with ``--junction-taz``."""
    ends = ("fromJunction", "toJunction")
    return any(name in child.attrib for path in routes for child in read_routes(path) for name in ends)


def scheduled_vehicles(routes: list[Path]) -> list[float]:
    """Departure times of the ``<vehicle>`` elements of route files (trips and flows not counted), in seconds."""
    children = [child for path in routes for child in read_routes(path)]
    departs = [seconds(child.get("depart")) for child in children if child.tag == "vehicle"]
    return [depart for depart in departs if depart is not None]


def waiting_for_load(files: Iterable[Path]) -> set[str]:
    """Names of the vehicles of route and additional files that depart once a person or a container is aboard."""
    vehicles = [child for path in files for child in read_routes(path) if child.tag in ("vehicle", "trip")]
    return {vehicle.get("id", "") for vehicle in vehicles if vehicle.get("depart") in LOADS}


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
