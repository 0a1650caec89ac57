"""SUMO's route and additional files: what they hold, read once, and copies of those that would write files.

SUMO ignores an element that departs earlier than one before it in the same file, so a file that is not in order of
departure is copied in order.
"""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

from envs.core.errors import CityloopError
from envs.core.machine.files import kept
from envs.core.sumo.reading import read_root, seconds

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


def write_routes(children: Iterable[ET.Element], target: Path) -> Path:
    """Write a route file; returns its path."""
    root = ET.Element("routes")
    root.extend(children)
    ET.ElementTree(root).write(target, encoding="utf-8")
    return target


def in_order(path: Path, target: Path) -> Path:
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
    return write_routes([*definitions, *(child for *_, child in sorted(departing, key=lambda one: one[:2]))], target)


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
