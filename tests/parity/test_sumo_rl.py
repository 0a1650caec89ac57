"""With sumo-rl's timing, actions and seed, our world and sumo-rl's see the same queues and waiting times."""

import ctypes
import json
import multiprocessing
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from envs import load_scenario
from envs.intersections.guard import SignalGuard
from envs.intersections.network.read import load_site
from envs.intersections.world import SumoWorld

DECISIONS = 90


def stop_lines_only(site):
    """The site with approaches that end where the lane at the stop line begins: what sumo-rl observes."""
    lanes = tuple(approach.model_copy(update={"segments": approach.segments[:1]}) for approach in site.approaches)
    return site.model_copy(update={"approaches": lanes, "range_m": 10_000.0})


def stages_to_ask_for(site, seed):
    """Random stages, but no changes that take no green away: there sumo-rl waits for a yellow that nobody sees."""
    (junction,), rng = site.junctions, np.random.default_rng(seed)
    actions, now = [], 0
    for _ in range(DECISIONS):
        free = [s for s in range(len(junction.stages)) if s == now or junction.lost(now, s)]
        actions.append(int(rng.choice(free)))
        now = actions[-1] if len(actions) > 1 else now  # neither changes at the very first second
    return actions


def theirs(scenario, seed, actions):
    home = find_spec("sumo").submodule_search_locations[0]
    job = {
        "net": str(scenario.net),
        "routes": str(scenario.routes[0]),
        "begin_s": int(scenario.begin_s),
        "seconds": 10 * len(actions),
        "seed": seed,
        "actions": actions,
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sumo_rl_episode.py"))],
        input=json.dumps(job),
        env=os.environ | {"SUMO_HOME": home, "LIBSUMO_AS_TRACI": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def stir(kind):
    """Leave holes of random sizes in the heap, so that what SUMO makes lies in another order."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    rng = np.random.default_rng(kind)
    blocks = [libc.malloc(int(size)) for size in rng.integers(16, 2048, 20_000)]
    for k in rng.permutation(len(blocks))[:10_000]:
        libc.free(blocks[k])


def ours(scenario, seed, actions, kind):
    if kind:
        stir(kind)
    site = stop_lines_only(load_site(scenario))
    guard = SignalGuard(site)
    rows = []
    with SumoWorld(scenario, site) as world:
        readings = world.reset(seed)
        for action in actions:
            commands, _ = guard.check(readings, np.array([action]))
            readings = world.step(commands)
            lanes = zip(site.axes["approach"], readings["queue_veh"], readings["waiting_s"], strict=True)
            rows.append({lane: [queue, waiting] for lane, queue, waiting in lanes})
    return rows


def first_difference(mine, reference):
    """Where two episodes part ways, in words; None if they are the same."""
    for k, (here, there) in enumerate(zip(mine, reference, strict=True)):
        if here != there["lanes"] or sum(queue for queue, _ in here.values()) != there["queued"]:
            return f"decision {k}: {here} is not {there}"
    return None


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_queues_and_waiting_times_as_sumo_rl(seed):
    """Both in fresh processes; ours in up to twelve, from the second on with another order in memory.

    Who goes first of two that wait inside a junction can depend, in SUMO 1.28, on where they lie in memory. Of 25 fresh
    processes of the same episode (seed 1), sumo-rl's gave two courses, 22 times the one and 3 times the other. Ours
    gives these two as well; which is a matter of what the process did before: under Python 3.13 mostly the rarer one.
    """
    scenario = load_scenario("intersections/cologne1", regime="resco")
    actions = stages_to_ask_for(load_site(scenario), seed)
    for kind in range(12):
        if kind % 4 == 0:
            reference = theirs(scenario, seed, actions)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            mine = pool.apply(ours, (scenario, seed, actions, kind))
        assert len(mine) == len(reference) == DECISIONS
        difference = first_difference(mine, reference)
        if difference is None:
            break
    assert difference is None
    assert max(there["queued"] for there in reference) > 10, "the traffic was worth comparing"
