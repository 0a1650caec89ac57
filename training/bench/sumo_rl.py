"""One timed run of `sumo_rl.SumoEnvironment`, in a process of its own: ``python -m training.bench.sumo_rl '{…}'``.

The peer is given what it needs to do its best: its own default settings but for the decision interval, no warnings, no
CSV. It prints its decisions a second as the last line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError

LIMIT_S = 1800.0
"""A run that takes longer is given up."""


def decisions_per_s(net: Path, routes: Path, begin_s: int, duration_s: int, decision_s: int, libsumo: bool) -> float:
    """Time a run in another process.

    Args:
        net: SUMO network.
        routes: its route file.
        begin_s: start of the episode.
        duration_s: its length.
        decision_s: seconds between two decisions.
        libsumo: in process; else through TraCI's socket, sumo-rl's default.

    Raises:
        CityloopError: if sumo-rl fails.
    """
    content = {
        "net_file": str(net),
        "route_file": str(routes),
        "begin_time": begin_s,
        "num_seconds": duration_s,
        "delta_time": decision_s,
    }
    command = [sys.executable, "-m", "training.bench.sumo_rl", json.dumps(content)]
    environment = _environment(libsumo)
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT_S, check=True)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]  # killed, it says nothing
        raise CityloopError(f"sumo-rl failed: {said[-1]}") from None
    except subprocess.TimeoutExpired:
        raise CityloopError(f"sumo-rl took more than {LIMIT_S:g} s") from None
    return float(done.stdout.split()[-1])


def _environment(libsumo: bool) -> dict[str, str]:
    spec = find_spec("sumo")
    homes = list(spec.submodule_search_locations or []) if spec else []
    if not homes:
        raise CityloopError("package eclipse-sumo is not installed, and sumo-rl needs it: pip install eclipse-sumo")
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, "SUMO_HOME": homes[0], "PYTHONPATH": path}
    environment.pop("LIBSUMO_AS_TRACI", None)
    return environment | ({"LIBSUMO_AS_TRACI": "1"} if libsumo else {})


def measure(content: dict[str, Any]) -> float:
    """Decisions a second of an episode of random actions, from the first decision until SUMO is closed."""
    import sumo_rl

    env = sumo_rl.SumoEnvironment(**content, single_agent=False, sumo_warnings=False, sumo_seed=0)
    seen = env.reset()
    for light in env.ts_ids:
        env.action_spaces(light).seed(0)
    decisions, done = 0, False
    start = time.perf_counter()
    while not done:
        seen, _, dones, _ = env.step({light: env.action_spaces(light).sample() for light in seen})
        decisions += 1
        done = dones["__all__"]
    env.close()
    return decisions / (time.perf_counter() - start)


if __name__ == "__main__":
    print(measure(json.loads(sys.argv[1])))
