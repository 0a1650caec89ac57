"""Generated single junctions: signals of any shape that carry about as much traffic as they can.

The junctions of maps and towns are seldom full for long, and most have neighbours. Where one is full, every change of
stage costs all who come later, so a policy has to learn there when not to change.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.core.sumo.programs import run_sumo_program
from envs.intersections.generated.grids import Trip, cached_network, poisson, write_trips

DURATION_S = 1800
ARMS, ARMS_SHARE = (3, 4, 5), (0.25, 0.55, 0.2)
ANGLES = {3: (0.0, 180.0, 90.0), 4: (0.0, 90.0, 180.0, 270.0), 5: (0.0, 72.0, 180.0, 252.0, 306.0)}
"""Directions of the arms in degrees, before `TURNED_DEG`."""
STREETS = {3: ((0, 1), (2,)), 4: ((0, 2), (1, 3)), 5: ((0, 2), (1, 3), (4,))}
"""Arms that are one street: alike, and green together unless each arm has a stage of its own."""
TURNED_DEG, ARM_M = 8.0, (200.0, 350.0)
"""Standard deviation of an arm's direction, and the range of its length."""
LANES, LANES_SHARE = (1, 2, 3), (0.3, 0.5, 0.2)
SPEEDS_MPS = (8.33, 13.89, 16.67, 22.22)
INCOMING_SHARE, LEFT_SHARE = 0.3, 0.2
"""How many junctions serve one arm at a time, and have traffic on the left."""
WITH_CROSSINGS = 4
"""Every so many junctions have signalised pedestrian crossings."""
TOGETHER_VEH_H, APART_VEH_H, CROSSINGS_FACTOR = 720.0, 1100.0, 0.8
"""Vehicles an hour that one lane of each stage, added up, can about carry: where opposite arms are green together and
left turns give way, where each arm is green by itself; and what crossings leave of that."""
LOAD = (0.8, 1.2)
"""Demand of a junction as a multiple of that; over the whole episode it is 7 % more, see `PEAK`."""
ARM_FLOW = (0.5, 1.5)
"""Traffic of an arm's lane, as a multiple of what is usual there."""
PEAK = 0.25
"""Demand in the middle of the episode is by this share above `LOAD`, and at both ends below it, with half a sine
between: 1 - `PEAK` + 4 `PEAK` / π = 1.07 of it in the mean."""
WALKERS_H = 500.0
"""People who cross, an hour."""


@dataclass(frozen=True)
class Plan:
    """What the number of a junction decides.

    Attributes:
        angles_deg, lengths_m: of the arms.
        lanes, speeds_mps: lanes each way and the speed limit of each arm.
        incoming: whether one arm is green at a time.
        crossings: whether people cross.
        left: whether traffic keeps to the left.
    """

    angles_deg: list[float]
    lengths_m: list[float]
    lanes: list[int]
    speeds_mps: list[float]
    incoming: bool
    crossings: bool
    left: bool

    @property
    def carried_veh_h(self) -> float:
        """Sum over the stages of the vehicles on a lane that the junction can about carry."""
        return (APART_VEH_H if self.incoming else TOGETHER_VEH_H) * (CROSSINGS_FACTOR if self.crossings else 1.0)


def generated_junction(number: int) -> tuple[Path, Path]:
    """Network and routes of a single junction; the number decides everything."""

    def make(net: Path, routes: Path) -> None:
        rng = np.random.default_rng([number, 11])
        plan = _plan(number, rng)
        files = []
        for name, root in _elements(plan).items():
            path = net.with_name(f"{name}.xml")
            ET.ElementTree(root).write(path, encoding="utf-8")
            files.append(f"--{name}-files={path}")
        more = ["--lefthand"] if plan.left else []
        more += ["--sidewalks.guess", "--sidewalks.guess.max-speed=30", "--crossings.guess"] if plan.crossings else []
        run_sumo_program("netconvert", *files, "--no-turnarounds", *more, f"--output-file={net}")
        write_trips(_trips(plan, rng), routes, _walks(plan, rng) if plan.crossings else ())

    return cached_network(f"junction{number}-v1", make)


def _plan(number: int, rng: np.random.Generator) -> Plan:
    arms = int(rng.choice(ARMS, p=ARMS_SHARE))
    lanes, speeds = [0] * arms, [0.0] * arms
    for street in STREETS[arms]:
        size, speed = int(rng.choice(LANES, p=LANES_SHARE)), float(rng.choice(SPEEDS_MPS))
        for arm in street:
            lanes[arm], speeds[arm] = size, speed
    return Plan(
        angles_deg=[angle + rng.normal(0.0, TURNED_DEG) for angle in ANGLES[arms]],
        lengths_m=list(rng.uniform(*ARM_M, arms)),
        lanes=lanes,
        speeds_mps=speeds,
        incoming=bool(rng.random() < INCOMING_SHARE),
        crossings=number % WITH_CROSSINGS == 0,
        left=bool(rng.random() < LEFT_SHARE),
    )


def _elements(plan: Plan) -> dict[str, ET.Element]:
    """Nodes and edges for netconvert: ``in…`` leads to the junction, ``out…`` away from it."""
    nodes, edges = ET.Element("nodes"), ET.Element("edges")
    layout = "incoming" if plan.incoming else "opposites"
    ET.SubElement(nodes, "node", {"id": "c", "x": "0", "y": "0", "type": "traffic_light", "tlLayout": layout})
    for k, (angle, length) in enumerate(zip(plan.angles_deg, plan.lengths_m, strict=True)):
        x, y = length * math.cos(math.radians(angle)), length * math.sin(math.radians(angle))
        ET.SubElement(nodes, "node", {"id": f"n{k}", "x": f"{x:.1f}", "y": f"{y:.1f}", "type": "priority"})
        size = {"numLanes": str(plan.lanes[k]), "speed": f"{plan.speeds_mps[k]:g}"}
        ET.SubElement(edges, "edge", {"id": f"in{k}", "from": f"n{k}", "to": "c"} | size)
        ET.SubElement(edges, "edge", {"id": f"out{k}", "from": "c", "to": f"n{k}"} | size)
    return {"node": nodes, "edge": edges}


def _trips(plan: Plan, rng: np.random.Generator) -> list[Trip]:
    """Trips from every arm to all others, so many that the junction comes near what it can carry."""
    arms = len(plan.lanes)
    flow = np.array(plan.lanes) * rng.uniform(*ARM_FLOW, arms)
    pull = np.array(plan.lanes) * rng.uniform(*ARM_FLOW, arms)
    stages = [(k,) for k in range(arms)] if plan.incoming else STREETS[arms]
    critical = sum(max(flow[k] / plan.lanes[k] for k in stage) for stage in stages)
    flow *= plan.carried_veh_h * rng.uniform(*LOAD) / critical
    top, trips = 1.0 + PEAK, []
    for a in range(arms):
        others = [b for b in range(arms) if b != a]
        for b in others:
            mean_h = flow[a] * pull[b] / pull[others].sum()
            for depart in poisson(rng, mean_h * top / 3600.0, DURATION_S):
                if rng.random() * top < 1.0 - PEAK + 2.0 * PEAK * math.sin(math.pi * depart / DURATION_S):
                    trips.append((depart, f"in{a}", f"out{b}"))
    return trips


def _walks(plan: Plan, rng: np.random.Generator) -> list[Trip]:
    """Walks from one arm to another."""
    arms = len(plan.lanes)
    times = poisson(rng, WALKERS_H / 3600.0, DURATION_S)
    ways = [rng.choice(arms, 2, replace=False) for _ in times]
    return [(depart, f"in{a}", f"out{b}") for depart, (a, b) in zip(times, ways, strict=True)]
