"""A generated grid of signalised junctions with a random demand: small, quick, made on first use, then cached."""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from envs.core.errors import CityloopError

BLOCK_M = 150
DEMAND_S = 600
VEHICLES_PER_ENTRY_H = 300


def cache_folder() -> Path:
    """Where generated networks are kept: ``$CITYLOOP_CACHE``, or ``~/.cache/cityloop``."""
    return Path(os.environ.get("CITYLOOP_CACHE", Path.home() / ".cache" / "cityloop"))


def sumo_binary(name: str) -> str:
    """The path of one of SUMO's programs, from the eclipse-sumo package or ``$SUMO_HOME``."""
    spec = find_spec("sumo")
    homes = list(spec.submodule_search_locations or []) if spec else []
    for home in [*homes, os.environ.get("SUMO_HOME", "")]:
        path = Path(home) / "bin" / name
        if home and path.is_file():
            return str(path)
    raise CityloopError(f"SUMO's program {name} was not found: pip install eclipse-sumo, or set SUMO_HOME")


def generated_grid(n: int) -> tuple[Path, Path]:
    """Network and routes of an ``n`` × ``n`` grid with two lanes a street and arms out to every side.

    Returns:
        Paths of the network and of the route file; made once, then read from the cache.
    """
    folder = cache_folder()
    net, routes = folder / f"grid{n}x{n}-v1.net.xml", folder / f"grid{n}x{n}-v1.rou.xml"
    if not (net.is_file() and routes.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            new_net, new_routes = Path(work) / "net.xml", Path(work) / "rou.xml"
            _netgenerate(n, new_net)
            _write_demand(new_net, new_routes, seed=n)
            os.replace(new_net, net)
            os.replace(new_routes, routes)
    return net, routes


def _netgenerate(n: int, out: Path) -> None:
    command = [sumo_binary("netgenerate"), "--grid", f"--grid.number={n}", f"--grid.length={BLOCK_M}"]
    command += [f"--grid.attach-length={BLOCK_M}", "--default.lanenumber=2", "--default-junction-type=traffic_light"]
    command += ["--no-turnarounds", f"--output-file={out}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CityloopError(f"netgenerate failed: {done.stderr.strip().splitlines()[-1]}")


def _write_demand(net_file: Path, out: Path, seed: int) -> None:
    import sumolib

    net = sumolib.net.readNet(str(net_file))
    edges = net.getEdges(withInternal=False)
    entries = sorted(e.getID() for e in edges if not e.getFromNode().getIncoming() or e.is_fringe(e.getIncoming()))
    exits = sorted(e.getID() for e in edges if e.is_fringe(e.getOutgoing()))
    rng = np.random.default_rng(seed)
    trips = []
    for entry in entries:
        for depart in _poisson(rng, VEHICLES_PER_ENTRY_H / 3600, DEMAND_S):
            trips.append((depart, entry, exits[int(rng.integers(len(exits)))]))
    trips.sort()
    lines = [
        f'  <trip id="{k}" depart="{depart:.2f}" from="{a}" to="{b}" departLane="best" departSpeed="max"/>'
        for k, (depart, a, b) in enumerate(trips)
    ]
    out.write_text("<routes>\n" + "\n".join(lines) + "\n</routes>\n")


def _poisson(rng: np.random.Generator, rate_per_s: float, until_s: float) -> list[float]:
    times = np.cumsum(rng.exponential(1 / rate_per_s, size=int(2 * rate_per_s * until_s) + 20))
    return [float(t) for t in times[times < until_s]]
