"""Generated grids of signalised junctions with a random demand: small, quick, made on first use, then cached."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from envs.core.machine.cache import cache_folder
from envs.core.sumo.programs import run_sumo_program

BLOCK_M = 150
"""Length of a block."""

DEMAND_S, VEHICLES_PER_ENTRY_H = 600, 300
"""Seconds of demand, and vehicles an hour at every entry."""

WALK_DEMAND_S, WALK_VEHICLES_PER_ENTRY_H, WALKERS_H = 1200, 450, 900
"""Seconds of demand, vehicles an hour at every entry, and people who walk an hour, in grids with crossings."""

HEADER = re.compile(r"<!--.*?-->\s*", re.DOTALL)
"""What SUMO's programs write about themselves: a date and folders, with which no two networks would be equal."""

Trip = tuple[float, str, str]
"""Departure in seconds, first and last edge."""


def cached_network(name: str, make: Callable[[Path, Path], None]) -> tuple[Path, Path]:
    """Paths of a network and of its route file; made once, then read from the cache (`cache_folder`).

    Args:
        name: of the files, without an ending.
        make: writes a network and a route file to two given paths, and may use their folder.
    """
    folder = cache_folder()
    net, routes = folder / f"{name}.net.xml", folder / f"{name}.rou.xml"
    if not (net.is_file() and routes.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            new_net, new_routes = Path(work) / net.name, Path(work) / routes.name
            make(new_net, new_routes)
            new_net.write_text(HEADER.sub("", new_net.read_text(), count=1))
            os.replace(new_net, net)
            os.replace(new_routes, routes)
    return net, routes


def generated_grid(n: int) -> tuple[Path, Path]:
    """Network and routes of an ``n`` × ``n`` grid with two lanes a street and arms out to every side."""

    def make(net: Path, routes: Path) -> None:
        _write_grid(n, net)
        trips = _trips(net, np.random.default_rng(n), VEHICLES_PER_ENTRY_H, DEMAND_S)
        write_trips(trips, routes)

    return cached_network(f"grid{n}x{n}-v1", make)


def generated_crossings(n: int) -> tuple[Path, Path]:
    """As `generated_grid`, with sidewalks, signalised pedestrian crossings, more vehicles, and people who walk.

    As is usual, netgenerate writes every green twice: with the walk, and for five seconds after it.
    """

    def make(net: Path, routes: Path) -> None:
        _write_grid(n, net, "--sidewalks.guess", "--sidewalks.guess.max-speed=15", "--crossings.guess")
        rng = np.random.default_rng([n, 1])
        trips = _trips(net, rng, WALK_VEHICLES_PER_ENTRY_H, WALK_DEMAND_S)
        write_trips(trips, routes, _walks(net, rng))

    return cached_network(f"crossings{n}x{n}-v1", make)


def _write_grid(n: int, net: Path, *more: str) -> None:
    """Write a network by netgenerate, with further options."""
    size = [f"--grid.number={n}", f"--grid.length={BLOCK_M}", f"--grid.attach-length={BLOCK_M}"]
    kind = ["--default.lanenumber=2", "--default-junction-type=traffic_light", "--no-turnarounds"]
    run_sumo_program("netgenerate", "--grid", *size, *kind, *more, f"--output-file={net}")


def _trips(net_file: Path, rng: np.random.Generator, rate_h: float, until_s: float) -> list[Trip]:
    """Trips from every entry at a rate, to random exits."""
    entries, exits = ends(net_file)
    return [
        (depart, entry, exits[int(rng.integers(len(exits)))])
        for entry in entries
        for depart in poisson(rng, rate_h / 3600, until_s)
    ]


def _walks(net_file: Path, rng: np.random.Generator) -> list[Trip]:
    """Walks between two random streets."""
    import sumolib

    edges = sumolib.net.readNet(str(net_file)).getEdges(withInternal=False)
    names = sorted(edge.getID() for edge in edges if edge.allows("pedestrian"))
    return [(depart, *rng.choice(names, 2, replace=False)) for depart in poisson(rng, WALKERS_H / 3600, WALK_DEMAND_S)]


def ends(net_file: Path) -> tuple[list[str], list[str]]:
    """Edges by which vehicles enter a network, and by which they leave it."""
    import sumolib

    edges = sumolib.net.readNet(str(net_file)).getEdges(withInternal=False)
    entries = sorted(e.getID() for e in edges if not e.getFromNode().getIncoming() or e.is_fringe(e.getIncoming()))
    return entries, sorted(e.getID() for e in edges if e.is_fringe(e.getOutgoing()))


def write_trips(trips: list[Trip], out: Path, walks: Sequence[Trip] = ()) -> None:
    """Write a route file of trips and of people's walks, in the order of departure."""
    lines = [
        (depart, f'  <trip id="{k}" depart="{depart:.2f}" from="{a}" to="{b}" departLane="best" departSpeed="max"/>')
        for k, (depart, a, b) in enumerate(sorted(trips))
    ]
    lines += [
        (depart, f'  <person id="w{k}" depart="{depart:.2f}"><walk from="{a}" to="{b}"/></person>')
        for k, (depart, a, b) in enumerate(sorted(walks))
    ]
    text = [line for _, line in sorted(lines, key=lambda line: line[0])]
    out.write_text("<routes>\n" + "\n".join(text) + "\n</routes>\n")


def poisson(rng: np.random.Generator, rate_per_s: float, until_s: float) -> list[float]:
    """Random times at a rate, in order."""
    times = np.cumsum(rng.exponential(1 / rate_per_s, size=int(2 * rate_per_s * until_s) + 20))
    return [float(t) for t in times[times < until_s]]
