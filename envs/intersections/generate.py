"""A generated grid of signalised junctions with a random demand: small, quick, made on first use, then cached."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from envs.core.cache import cache_folder
from envs.core.sumo_programs import run_sumo_program

BLOCK_M = 150
DEMAND_S = 600
VEHICLES_PER_ENTRY_H = 300


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
            os.replace(new_net, net)
            os.replace(new_routes, routes)
    return net, routes


def generated_grid(n: int) -> tuple[Path, Path]:
    """Network and routes of an ``n`` × ``n`` grid with two lanes a street and arms out to every side."""

    def make(net: Path, routes: Path) -> None:
        size = [f"--grid.number={n}", f"--grid.length={BLOCK_M}", f"--grid.attach-length={BLOCK_M}"]
        kind = ["--default.lanenumber=2", "--default-junction-type=traffic_light", "--no-turnarounds"]
        run_sumo_program("netgenerate", "--grid", *size, *kind, f"--output-file={net}")
        _write_demand(net, routes, seed=n)

    return cached_network(f"grid{n}x{n}-v1", make)


def _write_demand(net_file: Path, out: Path, seed: int) -> None:
    entries, exits = ends(net_file)
    rng = np.random.default_rng(seed)
    trips = []
    for entry in entries:
        for depart in poisson(rng, VEHICLES_PER_ENTRY_H / 3600, DEMAND_S):
            trips.append((depart, entry, exits[int(rng.integers(len(exits)))]))
    write_trips(trips, out)


def ends(net_file: Path) -> tuple[list[str], list[str]]:
    """Edges by which vehicles enter a network, and by which they leave it."""
    import sumolib

    edges = sumolib.net.readNet(str(net_file)).getEdges(withInternal=False)
    entries = sorted(e.getID() for e in edges if not e.getFromNode().getIncoming() or e.is_fringe(e.getIncoming()))
    return entries, sorted(e.getID() for e in edges if e.is_fringe(e.getOutgoing()))


def write_trips(trips: list[tuple[float, str, str]], out: Path) -> None:
    """Write a route file of trips: departure in seconds, first and last edge."""
    lines = [
        f'  <trip id="{k}" depart="{depart:.2f}" from="{a}" to="{b}" departLane="best" departSpeed="max"/>'
        for k, (depart, a, b) in enumerate(sorted(trips))
    ]
    out.write_text("<routes>\n" + "\n".join(lines) + "\n</routes>\n")


def poisson(rng: np.random.Generator, rate_per_s: float, until_s: float) -> list[float]:
    """Random times at a rate, in order."""
    times = np.cumsum(rng.exponential(1 / rate_per_s, size=int(2 * rate_per_s * until_s) + 20))
    return [float(t) for t in times[times < until_s]]
