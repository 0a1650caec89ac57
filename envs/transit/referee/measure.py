"""How long streets take with traffic on them, measured once in SUMO, kept as numbers.

SUMO drives the scenario's traffic, and probes that stop here and there and look for the quickest way as a fleet's
vehicles do, through whole services (``cityloop travel-times``). A turn's delay is what vehicles took on a street before
it beyond its length at the speed limit, mean over all who drove it; few observations are drawn towards the street's
mean, and that towards `JUNCTION_S`. What stopping costs is what probes took longer where they stood, beyond the time
for which they stood. The speed of each slot is what all ways took in it relative to their means. So times are a product
of turn and time of day: how much that leaves out is in the file.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.errors import CityloopError
from envs.transit.referee import driving, traffic
from envs.transit.referee.script import lane_of, middle_of
from envs.transit.referee.traffic import WARM_S
from envs.transit.scenarios import TransitScenario
from envs.transit.sources import streets
from envs.transit.sources.measured import Measured, digest

PROBE_S = 15.0
"""Seconds between two probes."""

STOPS, STAND_S = 3, 15.0
"""Stops of each probe, and its dwell time at each beside the lanes, in seconds."""

SLOT_S = 900.0

PRIOR_COUNT = 5.0
"""Weight of a prior, in observations."""

OFTEN = 10
"""Least number of observations of a turn in a slot that count for the error of the product form."""


def passes(scenario: TransitScenario, seed: int, flow: float) -> np.ndarray:
    """Every turn that was driven in one run, one row each.

    Columns: street, next street, time of leaving the street (from the service's beginning), seconds lost on it, and
    number of stops there.

    Args:
        scenario: where.
        seed: of the run.
        flow: vehicles an hour, relative to the files.
    """
    assert scenario.net is not None
    net = streets.read_net(scenario.net)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traffic.write(scenario, folder / "cars.rou.xml", seed, flow)
        _probes(net, scenario.duration_s, folder / "probes.rou.xml", seed)
        out = folder / "routes.xml"
        more = ["--vehroute-output", str(out), "--vehroute-output.exit-times"]
        files = [folder / "cars.rou.xml", folder / "probes.rou.xml"]
        sumo = driving.start(driving.arguments(scenario.net, files, seed, more))
        while sumo.simulation.getTime() < WARM_S + scenario.duration_s:
            sumo.simulation.step()
        sumo.close()
        return _observed(net, out)


def _probes(net: streets.Net, duration_s: float, path: Path, seed: int) -> None:
    rng = np.random.default_rng([seed, 15])
    root = ET.Element("routes")
    kind = ET.SubElement(root, "vType", id="probe", vClass="passenger")
    ET.SubElement(kind, "param", key="has.rerouting.device", value="true")
    ET.SubElement(kind, "param", key="device.rerouting.period", value="120")
    for k, time_s in enumerate(np.arange(0.0, WARM_S + duration_s, PROBE_S)):
        a, b = rng.choice(net.stops, 2, replace=False)
        ends: dict[str, Any] = {"from": net.edges[a].getID(), "to": net.edges[b].getID()}
        made = ET.SubElement(root, "trip", id=f"probe{k}", type="probe", depart=f"{time_s:.1f}", **ends)
        for stop in rng.choice(net.stops, STOPS, replace=False):
            edge = net.edges[stop]
            at: dict[str, Any] = {"lane": lane_of(edge), "endPos": f"{middle_of(edge):.2f}"}
            ET.SubElement(made, "stop", **at, duration=f"{STAND_S:g}", parking="true")
    ET.ElementTree(root).write(path)


def _observed(net: streets.Net, path: Path) -> np.ndarray:
    """Observations from the exit times of all vehicles: a street driven as a whole is one of the turn after it."""
    index = {edge.getID(): k for k, edge in enumerate(net.edges)}
    free_s = net.free_s
    rows = []
    for _, vehicle in ET.iterparse(path):
        if vehicle.tag != "vehicle":
            continue
        stops = [stop.attrib["lane"].rsplit("_", 1)[0] for stop in vehicle.iter("stop")]
        for route in vehicle.iter("route"):
            if route.get("replacedOnEdge") is not None:
                continue  # a route that was replaced; the last one was driven
            names, exits = route.get("edges", "").split(), [float(t) for t in route.get("exitTimes", "").split()]
            for k in range(1, min(len(names), len(exits)) - 1):
                if names[k] in index and names[k + 1] in index and exits[k - 1] >= 0 and exits[k] >= 0:
                    a = index[names[k]]
                    stood = stops.count(names[k])
                    if stood and names.count(names[k]) > 1:
                        continue  # it is unknown on which pass it stood
                    lost_s = exits[k] - exits[k - 1] - free_s[a] - stood * STAND_S
                    rows.append((a, index[names[k + 1]], exits[k] - WARM_S, lost_s, stood))
        vehicle.clear()
    return np.array(rows).reshape(-1, 5)


def combine(net: streets.Net, found: np.ndarray, duration_s: float) -> dict[str, Any]:
    """Observations → delays, speeds and the error of their product; see the module.

    Args:
        net: the streets.
        found: rows as `passes` gives them.
        duration_s: of the service.

    Raises:
        CityloopError: if there are too few observations.
    """
    key = net.start * len(net.edges) + net.end
    order = np.argsort(key)
    wanted = (found[:, 0] * len(net.edges) + found[:, 1]).astype(np.int64)
    place = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
    known = (key[order][place] == wanted) & (found[:, 2] >= 0) & (found[:, 2] < duration_s)
    stood = found[known, 4]
    turn, when, lost = order[place[known]][stood == 0], found[known, 2][stood == 0], found[known, 3][stood == 0]
    at, extra = order[place[known]][stood == 1], found[known, 3][stood == 1]
    slots = int(np.ceil(duration_s / SLOT_S))
    slot = (when // SLOT_S).astype(np.int64)
    cell = turn * slots + slot
    count = np.bincount(cell, minlength=len(key) * slots)
    often = count >= OFTEN
    if not (often.any() and len(extra)):
        raise CityloopError(
            f"{len(lost)} turns and {len(extra)} stops were observed, where {OFTEN} of one turn in {SLOT_S:g} s and a "
            "stop are the least: measure more seeds, or a service with more traffic"
        )
    street = net.start[turn]
    streets_n, turns_n = np.bincount(street, minlength=len(net.edges)), np.bincount(turn, minlength=len(key))
    of_street = np.bincount(street, weights=lost, minlength=len(net.edges)) + PRIOR_COUNT * streets.JUNCTION_S
    of_street /= streets_n + PRIOR_COUNT
    delay = (np.bincount(turn, weights=lost, minlength=len(key)) + PRIOR_COUNT * of_street[net.start]) / (
        turns_n + PRIOR_COUNT
    )
    extra = extra - delay[at]
    stops_n = np.bincount(net.start[at], minlength=len(net.edges))
    of_stop = np.bincount(net.start[at], weights=extra, minlength=len(net.edges)) + PRIOR_COUNT * extra.mean()
    stop_s = np.maximum(of_stop / (stops_n + PRIOR_COUNT), 0.0)[net.stops]
    free = (net.free_s[net.start] + net.free_s[net.end]) / 2
    mean = np.maximum(free + delay, 0.1)[turn]
    took = np.bincount(slot, weights=np.maximum(free[turn] + lost, 0.1), minlength=slots)
    usual = np.bincount(slot, weights=mean, minlength=slots)
    speed = np.divide(usual, took, out=np.ones(slots), where=took > 0)  # one where nobody drove
    each = np.bincount(cell, weights=free[turn] + lost, minlength=len(key) * slots) / np.maximum(count, 1)
    product = np.repeat(np.maximum(free + delay, 0.1), slots) / np.tile(speed, len(key))
    error = float(np.sqrt(np.average((each[often] / product[often] - 1.0) ** 2, weights=count[often])))
    return {
        "delay_s": tuple(round(float(value), 2) for value in delay),
        "speed": tuple(round(float(value), 4) for value in speed),
        "stop_s": tuple(round(float(value), 2) for value in stop_s),
        "driven": int((turns_n > 0).sum()),
        "unexplained": round(error, 4),
    }


def measure(scenario: TransitScenario, seeds: int, flow: float = 1.0, processes: int = 1) -> Measured:
    """Measure a scenario's travel times on training seeds.

    Args:
        scenario: with a SUMO network.
        seeds: runs.
        flow: vehicles an hour, relative to the files.
        processes: runs at a time.

    Raises:
        CityloopError: if the scenario has no SUMO network.
    """
    traffic.needs_net(scenario)
    assert scenario.net is not None
    chosen = tuple(scenario.seeds.train.take(seeds))
    runs = driving.apart(passes, *((scenario, seed, flow) for seed in chosen), processes=processes)
    found = combine(streets.read_net(scenario.net), np.concatenate(runs), scenario.duration_s)
    return Measured(
        net=digest(scenario.net),
        routes=tuple(digest(path) for path in scenario.routes),
        sumo=version("libsumo"),
        stretch=scenario.trips.stretch,
        flow=flow,
        seeds=chosen,
        slot_s=SLOT_S,
        **found,
    )
