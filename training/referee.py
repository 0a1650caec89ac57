"""``cityloop referee``: the same fleet, requests and decisions in our simulator and in SUMO, side by side.

An episode is played in our simulator; what was decided, and when, is then driven by SUMO's taxis with traffic around
them. Decisions are not taken anew: a vehicle that is late in SUMO keeps its riders, and all after them wait. A
dispatcher who sees that vehicles are late would do better there. SUMO's own dispatchers serve the same requests with
the same vehicles; they promise nothing, and turn nobody away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents import make_controller
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.transit import events
from envs.transit.kpis import Ledger
from envs.transit.network import day_of
from envs.transit.referee import driving, traffic
from envs.transit.referee.play import Played, Script, play
from envs.transit.scenarios import TransitScenario
from envs.transit.service import Service
from envs.transit.site import TransitSite
from envs.transit.world import TransitWorld

STOCK = ("greedy", "greedyShared")
"""SUMO's own dispatchers that are played beside ours, with their defaults."""

COLUMNS = ("asked", "served_pct", "in_time_pct", "wait_mean_s", "wait_median_s", "wait_p95_s", "ride_mean_s")
MORE = ("total_km", "empty_km", "lost_veh", "teleports")


def referee(
    scenario: TransitScenario,
    controller: str = "reactive",
    seeds: int = 1,
    flow: float = 0.7,
    stock: Sequence[str] = STOCK,
    processes: int = 1,
) -> dict[str, Any]:
    """Play test seeds in both simulators.

    Args:
        scenario: with a SUMO network.
        controller: who decides where idle vehicles stand.
        seeds: test seeds.
        flow: vehicles an hour around the fleet, relative to the route files.
        stock: SUMO's dispatchers to be played as well.
        processes: simulations at a time.

    Returns:
        ``scenario``, ``seeds``, ``flow`` and ``rows``: player → its indicators, means over seeds; and ``apart``: how
        SUMO differs from ours with the same decisions.

    Raises:
        CityloopError: if the scenario cannot be played in SUMO.
    """
    traffic.needs_net(scenario)
    if scenario.timing.reassign_s:
        raise CityloopError("timing.reassign_s moves riders from vehicle to vehicle: set it to 0 for the referee")
    stood = (scenario.timing.board_s + scenario.timing.alight_s) / 2
    scenario = scenario.override({"timing.board_s": stood, "timing.alight_s": stood})  # SUMO has one duration for both
    assert isinstance(scenario, TransitScenario)
    chosen, mine, calls = scenario.seeds.test.take(seeds), [], []
    for seed in chosen:
        found, script = record(scenario, controller, seed)
        mine.append(found)
        bare = Script(script.begins, script.seats, script.known_s, script.origins, script.destinations)
        calls += [(scenario, script, seed, flow, "traci"), *((scenario, bare, seed, flow, name) for name in stock)]
    played = iter(driving.apart(play, *calls, processes=processes))
    rows: dict[str, list[dict[str, float]]] = {f"{controller}, our simulator": mine}
    for _, script, _, _, name in calls:
        label = f"{controller}, SUMO" if name == "traci" else f"{name}, SUMO"
        rows.setdefault(label, []).append(indicators(next(played), script, scenario.promise.wait_s))
    means = {label: _means(found) for label, found in rows.items()}
    ours, theirs = means[f"{controller}, our simulator"], means[f"{controller}, SUMO"]
    apart = {name: theirs[name] / ours[name] - 1.0 for name in COLUMNS[1:] if ours[name]}
    return {"scenario": scenario.ref, "seeds": list(chosen), "flow": flow, "rows": means, "apart": apart}


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    names = [name for name in (*COLUMNS, *MORE) if name in found[0]]
    return {name: float(np.mean([row[name] for row in found])) for name in names}


def record(scenario: TransitScenario, controller: str, seed: int) -> tuple[dict[str, float], Script]:
    """An episode in our simulator: its indicators, and what was decided.

    Args:
        scenario: where.
        controller: who decides.
        seed: of the episode.
    """
    loop = make_loop(scenario)
    site, world = loop.site, loop.world
    assert isinstance(site, TransitSite)
    assert isinstance(world, TransitWorld)
    try:
        loop.episode(make_controller(controller, site), seed)
        return _recorded(scenario, site, world, seed)
    finally:
        loop.close()


def _recorded(
    scenario: TransitScenario, site: TransitSite, world: TransitWorld, seed: int
) -> tuple[dict[str, float], Script]:
    log, riders, fleet = world.log, world.service.riders, world.service.fleet
    names = [node.id for node in site.nodes]
    begins = Service(scenario, site, day_of(scenario, site, seed), seed, None).fleet.at
    rows = list(zip(log.time_s.tolist(), log.kind, log.vehicle.tolist(), log.rider.tolist(), log.node, strict=True))
    orders: list[list[tuple[int, bool]]] = [[] for _ in begins]
    for _, kind, v, r, _ in rows:
        if kind in (events.PICKED_UP, events.DROPPED_OFF):
            orders[v].append((r, bool(kind == events.PICKED_UP)))
    script = Script(
        begins=tuple(names[node] for node in begins),
        seats=tuple(fleet.room[:, 0].tolist()),
        known_s=tuple(riders.known_s.tolist()),
        origins=tuple(names[node] for node in riders.origin),
        destinations=tuple(names[node] for node in riders.destination),
        promises=tuple((time_s, v, r) for time_s, kind, v, r, _ in rows if kind == events.PROMISED),
        orders=tuple(map(tuple, orders)),
        sent=tuple((time_s, v, names[node]) for time_s, kind, v, _, node in rows if kind == events.SENT),
    )
    ledger, drove = Ledger(log, riders), log.kind == events.DROVE
    loaded = float(log.metres[drove & (log.load > 0)].sum())
    ours = Played(ledger.picked_s, ledger.dropped_s, float(log.metres[drove].sum()), loaded, 0, 0, 0)
    return indicators(ours, script, scenario.promise.wait_s), script


def indicators(played: Played, script: Script, wait_s: float) -> dict[str, float]:
    """What a service was worth; only who was brought there counts as served.

    Args:
        played: what became of it.
        script: what was asked for.
        wait_s: the promised longest wait.
    """
    there = np.isfinite(played.dropped_s) & np.isfinite(played.picked_s)
    wait = (played.picked_s - np.array(script.known_s))[there]
    ride = (played.dropped_s - played.picked_s)[there]
    asked = len(script.known_s)
    return {
        "asked": float(asked),
        "served_pct": 100.0 * float(there.sum()) / max(asked, 1),
        "in_time_pct": 100.0 * float((wait <= wait_s + 1.0).sum()) / max(asked, 1),
        "wait_mean_s": float(wait.mean()) if len(wait) else 0.0,
        "wait_median_s": float(np.median(wait)) if len(wait) else 0.0,
        "wait_p95_s": float(np.percentile(wait, 95)) if len(wait) else 0.0,
        "ride_mean_s": float(ride.mean()) if len(ride) else 0.0,
        "total_km": played.metres / 1000.0,
        "empty_km": (played.metres - played.loaded_m) / 1000.0,
        "lost_veh": float(played.lost),
        "teleports": float(played.teleports),
    }
