"""Generated towns: any number of road networks that a policy has not seen.

Streets of different widths and speeds cross at odd distances, some so short that a queue reaches back into the junction
behind, some twins with room for a few vehicles between them; some junctions have three arms, some no
signals. A policy that is trained on several of them cannot memorise one.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from envs.core.sumo.programs import run_sumo_program
from envs.intersections.generated.grids import cached_network, ends, poisson, write_trips

DURATION_S = 3600
TWIN_M, SHORT_M, LONG_M = (10.0, 30.0), (35.0, 70.0), (90.0, 260.0)
"""Road between two streets that run alike; the middles of their junctions lie farther apart (`LANE_M`, `CORNER_M`)."""
KINDS, KINDS_SHARE = (TWIN_M, SHORT_M, LONG_M), (0.3, 0.2, 0.5)
LANE_M, CORNER_M = 3.2, 5.0
"""Width of a lane, and how far a corner sets the stop line back."""
ARM_M = 220.0
LANES, LANES_SHARE = (1, 2, 3), (0.4, 0.45, 0.15)
SPEEDS_MPS = (8.33, 13.89, 16.67)
GAP_SHARE, PLAIN_SHARE = 0.15, 0.1
"""How many blocks of a street are missing, and how many junctions have no signal."""
JOINED_M = 60.0
"""In every fourth town, from the first on, signals closer than this are one controller's; else each has its own."""
INCOMING_SHARE, TURN_LANE_SHARE = 0.2, 0.6
"""How many junctions serve one arm at a time, and how many arms of two lanes or more have a lane for left turns alone,
which gives the junction stages of protected left turns."""
ARM_FLOW = (0.4, 1.6)
"""Traffic of an arm's lane, as a multiple of what is usual in the town."""
CRITICAL_FLOW_VEH_H = 480.0
"""Vehicles an hour and lane, of both streets together, that the town's busiest junction has to serve at the ends of the
hour; with the peak in its middle, 602 over the whole hour."""
PEAK = 1.4
"""Demand in the middle of the hour as a multiple of that at its ends."""


Place = tuple[int, int]
"""Column and row; -1 and the number of them are the ends of the arms."""


@dataclass(frozen=True)
class Street:
    """A street through the whole town: lanes each way, and the speed limit in m/s."""

    lanes: int
    speed_mps: float


def generated_town(number: int) -> tuple[Path, Path]:
    """Network and routes of a town; the number decides everything."""

    def make(net: Path, routes: Path) -> None:
        rng = np.random.default_rng([number, 7])
        files = []
        for name, root in _plan(rng).items():
            path = net.with_name(f"{name}.xml")
            ET.ElementTree(root).write(path, encoding="utf-8")
            files.append(f"--{name}-files={path}")
        joined = ["--tls.join", f"--tls.join-dist={JOINED_M:g}"] if number % 4 == 1 else []
        common = ["--no-turnarounds", "--keep-edges.components=1", f"--output-file={net}"]
        run_sumo_program("netconvert", *files, *joined, *common)
        _write_demand(net, routes, rng)

    return cached_network(f"town{number}-v3", make)


def _plan(rng: np.random.Generator) -> dict[str, ET.Element]:
    """Nodes, edges and connections for netconvert: streets that cross, and an arm at each end of each."""
    ways = [[_street(rng) for _ in range(rng.integers(2, 4))] for _ in range(2)]
    columns, rows = [_positions(streets, rng) for streets in ways]
    plan = {"node": ET.Element("nodes"), "edge": ET.Element("edges"), "connection": ET.Element("connections")}
    blocks: dict[tuple[Place, Place], Street] = {}
    for i in range(len(columns)):
        blocks |= _blocks([(i, j) for j in range(-1, len(rows) + 1)], ways[0][i], rng)
    for j in range(len(rows)):
        blocks |= _blocks([(i, j) for i in range(-1, len(columns) + 1)], ways[1][j], rng)
    xs = [columns[0] - ARM_M, *columns, columns[-1] + ARM_M]
    ys = [rows[0] - ARM_M, *rows, rows[-1] + ARM_M]
    for i, j in sorted({place for block in blocks for place in block}):
        x, y = np.array([xs[i + 1], ys[j + 1]]) + rng.normal(0.0, 2.5, 2)
        crossing = 0 <= i < len(columns) and 0 <= j < len(rows)
        signal = crossing and rng.random() >= PLAIN_SHARE
        layout = "incoming" if rng.random() < INCOMING_SHARE else "opposites"
        kind = {"type": "traffic_light", "tlLayout": layout} if signal else {"type": "priority"}
        ET.SubElement(plan["node"], "node", {"id": _name(i, j), "x": f"{x:.1f}", "y": f"{y:.1f}"} | kind)
    for (a, b), street in blocks.items():
        size = {"numLanes": str(street.lanes), "speed": f"{street.speed_mps:g}"}
        ET.SubElement(plan["edge"], "edge", {"id": _edge(a, b), "from": _name(*a), "to": _name(*b)} | size)
        if street.lanes > 1 and rng.random() < TURN_LANE_SHARE:
            _turn_lane(plan["connection"], a, b, blocks)
    return plan


def _name(i: int, j: int) -> str:
    return f"{i}.{j}"


def _edge(a: Place, b: Place) -> str:
    return f"{_name(*a)}_{_name(*b)}"


def _blocks(along: list[Place], street: Street, rng: np.random.Generator) -> dict[tuple[Place, Place], Street]:
    """A street's blocks, both ways; some of those in the middle are missing."""
    blocks = {}
    for k, (a, b) in enumerate(pairwise(along)):
        if not 0 < k < len(along) - 2 or rng.random() >= GAP_SHARE:
            blocks[a, b] = blocks[b, a] = street
    return blocks


def _turn_lane(connections: ET.Element, a: Place, b: Place, blocks: Mapping[tuple[Place, Place], Street]) -> None:
    """The innermost lane of a block for left turns alone, where one can turn left and also go on."""
    ahead = (b[0] - a[0], b[1] - a[1])
    straight, left, right = [
        (b, (b[0] + d[0], b[1] + d[1])) for d in (ahead, (-ahead[1], ahead[0]), (ahead[1], -ahead[0]))
    ]
    if straight not in blocks or left not in blocks:
        return
    inner = blocks[a, b].lanes - 1
    turns = [(lane, min(lane, blocks[straight].lanes - 1), straight) for lane in range(inner)]
    turns += [(inner, blocks[left].lanes - 1, left)]
    turns += [(0, 0, right)] if right in blocks else []
    for lane, into, way in turns:
        lanes = {"fromLane": str(lane), "toLane": str(into)}
        ET.SubElement(connections, "connection", {"from": _edge(a, b), "to": _edge(*way)} | lanes)


def _positions(streets: list[Street], rng: np.random.Generator) -> list[float]:
    """Where streets lie that run alike, in metres."""
    places = [0.0]
    for one, other in pairwise(streets):
        road = rng.uniform(*KINDS[rng.choice(len(KINDS), p=KINDS_SHARE)])
        places.append(places[-1] + road + LANE_M * (one.lanes + other.lanes) + 2 * CORNER_M)
    return places


def _street(rng: np.random.Generator) -> Street:
    return Street(int(rng.choice(LANES, p=LANES_SHARE)), float(rng.choice(SPEEDS_MPS)))


def _write_demand(net_file: Path, out: Path, rng: np.random.Generator) -> None:
    """Every arm has a flow of its own that swells towards the middle of the hour; some destinations draw more.

    All of it is scaled so that the busiest junction comes near its capacity.
    """
    import sumolib

    net = sumolib.net.readNet(str(net_file))
    entries, exits = [[net.getEdge(name) for name in names] for names in ends(net_file)]
    pull = [exit_.getLaneNumber() * rng.uniform(0.5, 2.0) for exit_ in exits]
    flows: dict[tuple[str, str], float] = {}
    through: Counter[str] = Counter()
    for entry in entries:
        goals = {e: w for e, w in zip(exits, pull, strict=True) if e.getToNode() != entry.getFromNode()}
        start = entry.getLaneNumber() * rng.uniform(*ARM_FLOW)
        for goal, weight in goals.items():
            path, _ = net.getOptimalPath(entry, goal, fastest=True)
            if path:
                flows[entry.getID(), goal.getID()] = start * weight / sum(goals.values())
                through.update({edge.getID(): flows[entry.getID(), goal.getID()] for edge in path})
    scale = CRITICAL_FLOW_VEH_H / max(_critical(node, through) for node in net.getNodes())
    trips = []
    for (entry, goal), flow in flows.items():
        for depart in poisson(rng, flow * scale * PEAK / 3600.0, DURATION_S):
            if rng.random() * PEAK < 1.0 + (PEAK - 1.0) * np.sin(np.pi * depart / DURATION_S):
                trips.append((depart, entry, goal))
    write_trips(trips, out)


def _critical(node: Any, through: Mapping[str, float]) -> float:
    """Flow a lane that has to share the time of a junction: the heavier arm of each street."""
    arms = [
        (edge.getFromNode().getID().split("."), through[edge.getID()] / edge.getLaneNumber())
        for edge in node.getIncoming()
    ]
    place = node.getID().split(".")
    column = [flow for (i, _), flow in arms if i == place[0]]
    row = [flow for (i, _), flow in arms if i != place[0]]
    return max(column, default=0.0) + max(row, default=0.0)
