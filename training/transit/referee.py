"""``cityloop referee``: the same fleet, requests and dispatch in this project's simulator and in SUMO.

SUMO drives the fleet twice, with other traffic around it. In the first run the dispatch works in SUMO: requests are
answered by the state of SUMO's vehicles. In the second run the decisions of this project's simulator are only carried
out, at the same times, whatever the state of the vehicles: a late vehicle keeps its riders, and all riders after them
wait. SUMO's own dispatchers serve the same requests with the same vehicles; they promise nothing, and reject nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from agents import make_controller
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.registry import get_system
from envs.transit.kernel import events
from envs.transit.network import day_of
from envs.transit.record.ledger import Ledger
from envs.transit.referee import driving, drt, legs, traffic
from envs.transit.referee.play import Played, play
from envs.transit.referee.script import Script
from envs.transit.referee.street import StreetService, StreetWorld, script_of
from envs.transit.referee.watched import DROVE, SHARED, STARTED, STOOD, WatchedWorld
from envs.transit.scenarios import TransitScenario
from envs.transit.service import Service

STOCK = ("greedy", "greedyShared")
"""SUMO's own dispatchers that are compared by default, with their default settings."""

BESIDE = (*STOCK, drt.NAME)
"""All of SUMO's dispatchers that can be compared; the last takes about as long as the service itself."""

COLUMNS = ("asked", "served_pct", "in_time_pct", "wait_mean_s", "wait_median_s", "wait_p95_s", "ride_mean_s")

Wait = dict[str, float]


def referee(
    scenario: TransitScenario,
    controller: str = "reactive",
    seeds: int = 1,
    flow: float = 0.7,
    stock: Sequence[str] = STOCK,
    processes: int = 1,
) -> dict[str, Any]:
    """Run test seeds in both simulators.

    Args:
        scenario: a scenario with a SUMO network.
        controller: controller of idle vehicles.
        seeds: number of test seeds.
        flow: other traffic, in vehicles per hour relative to the route files.
        stock: SUMO's dispatchers to compare, of `BESIDE`.
        processes: number of parallel simulations.

    Returns:
        ``scenario``, ``seeds``, ``flow`` and ``rows``: player → its indicators, means over seeds; ``apart``: relative
        difference of the same dispatch in SUMO; ``waits``: player → components of the mean wait (`wait_of`); and
        ``legs``: legs driven in SUMO compared with the plan (`legs.table`).

    Raises:
        CityloopError: if the scenario cannot be run in SUMO.
    """
    for name in stock:
        if name not in BESIDE:
            raise CityloopError(f"dispatcher {name!r} is not of SUMO: choose from {', '.join(BESIDE)}")
    scenario = _playable(scenario)
    chosen, calls = scenario.seeds.test.take(seeds), []
    ours, there = f"{controller}, our simulator", f"{controller}, SUMO"
    rows: dict[str, list[dict[str, float]]] = {ours: [], there: []}
    waits: dict[str, list[Wait]] = {ours: [], there: []}
    for seed in chosen:
        found, script, wait = record(scenario, controller, seed)
        rows[ours].append(found)
        waits[ours].append(wait)
        bare = replace(script, promises=(), orders=(), sent=())
        calls += [(scenario, script, seed, flow, "traci"), *((scenario, bare, seed, flow, name) for name in stock)]
    driven = []
    for found, wait, mine in driving.apart(
        dispatched, *((scenario, controller, seed, flow) for seed in chosen), processes=processes
    ):
        rows[there].append(found)
        waits[there].append(wait)
        driven.append(mine)
    played = iter(driving.apart(play_by, *calls, processes=processes))
    for _, script, _, _, name in calls:
        label = f"{controller}, carried out in SUMO" if name == "traci" else f"{name}, SUMO"
        rows.setdefault(label, []).append(indicators(next(played), script.known_s, scenario.promise.wait_s))
    means = {label: _means(found) for label, found in rows.items()}
    return {
        "scenario": scenario.ref,
        "seeds": list(chosen),
        "flow": flow,
        "rows": means,
        "apart": {name: means[there][name] / means[ours][name] - 1.0 for name in COLUMNS[1:] if means[ours][name]},
        "waits": {label: _means(found) for label, found in waits.items()},
        "legs": legs.table(np.concatenate(driven), scenario.duration_s),
    }


def play_by(scenario: TransitScenario, script: Script, seed: int, flow: float, name: str) -> Played:
    """Drive a script in SUMO with a dispatcher of `BESIDE`, or, for ``traci``, with the decisions in the script."""
    return drt.play(scenario, script, seed, flow) if name == drt.NAME else play(scenario, script, seed, flow, name)


def _playable(scenario: TransitScenario) -> TransitScenario:
    """The scenario in a form that both simulators can run.

    Raises:
        CityloopError: if there is none.
    """
    traffic.needs_net(scenario)
    for name, value in (
        ("timing.reassign_s", scenario.timing.reassign_s),
        ("breakdowns.per_veh_h", scenario.breakdowns.per_veh_h),
        *(("rest_s", crew.rest_s) for crew in scenario.crews),
        *(("range_km", crew.range_km) for crew in scenario.crews),
    ):
        if value:
            raise CityloopError(f"{name} is {value:g}: SUMO's taxis cannot do that; set it to 0 for the referee")
    stood = (scenario.timing.board_s + scenario.timing.alight_s) / 2  # SUMO has one duration for both
    changed = scenario.override({"timing.board_s": stood, "timing.alight_s": stood})
    assert isinstance(changed, TransitScenario)
    return changed


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def record(scenario: TransitScenario, controller: str, seed: int) -> tuple[dict[str, float], Script, Wait]:
    """An episode in this project's simulator: its indicators, its decisions, and the components of the mean wait.

    Args:
        scenario: the scenario.
        controller: controller of idle vehicles.
        seed: seed of the episode.
    """
    world = _episode(scenario, controller, seed, WatchedWorld)
    log, service, site = world.log, world.service, world.site
    names = [node.id for node in site.nodes]
    rows = list(zip(log.time_s.tolist(), log.kind, log.vehicle.tolist(), log.rider.tolist(), log.node, strict=True))
    orders: list[list[tuple[int, bool]]] = [[] for _ in service.fleet.at]
    for _, kind, v, r, _ in rows:
        if kind in (events.PICKED_UP, events.DROPPED_OFF):
            orders[v].append((r, bool(kind == events.PICKED_UP)))
    script = script_of(
        Service(scenario, site, day_of(scenario, site, seed), seed, None),
        site,
        promises=tuple((time_s, v, r) for time_s, kind, v, r, _ in rows if kind == events.PROMISED),
        orders=tuple(map(tuple, orders)),
        sent=tuple((time_s, v, names[node]) for time_s, kind, v, _, node in rows if kind == events.SENT),
    )
    return indicators(_played(world), script.known_s, scenario.promise.wait_s), script, wait_of(world)


def dispatched(
    scenario: TransitScenario, controller: str, seed: int, flow: float
) -> tuple[dict[str, float], Wait, np.ndarray]:
    """The same episode with SUMO's vehicles: its indicators, the components of the mean wait, and the driven legs.

    Args:
        scenario: the scenario.
        controller: controller of idle vehicles.
        seed: seed of the episode and of the traffic.
        flow: other traffic, in vehicles per hour relative to the route files.
    """
    world = _episode(scenario, controller, seed, partial(StreetWorld, flow=flow))
    with world:
        service = world.service
        assert isinstance(service, StreetService)
        found = indicators(_played(world), service.asked.known_s, scenario.promise.wait_s)
        return found, wait_of(world), legs.planned(service.taxis, service.roads)


def _episode(scenario: TransitScenario, controller: str, seed: int, make_world: Any) -> WatchedWorld:
    loop = ControlLoop(replace(get_system("transit"), make_world=make_world), scenario)
    world = loop.world
    assert isinstance(world, WatchedWorld)
    try:
        loop.episode(make_controller(controller, loop.site), seed)
    except BaseException:
        loop.close()
        raise
    return world


def _played(world: WatchedWorld) -> Played:
    log, service = world.log, world.service
    ledger, drove = Ledger(log, service.asked), log.kind == events.DROVE
    metres, loaded_m = float(log.metres[drove].sum()), float(log.metres[drove & (log.load > 0)].sum())
    taxis = service.taxis if isinstance(service, StreetService) else None
    state = (taxis.teleports, len(taxis.lost), taxis.refused) if taxis is not None else ()
    return Played(ledger.picked_s, ledger.dropped_s, metres, loaded_m, *state)


def wait_of(world: WatchedWorld) -> Wait:
    """Components of the mean wait of riders who were picked up, in seconds; they add up to the wait.

    Returns:
        ``promised``: wait as planned when the promise was made. Delays of it: ``shared``, by riders inserted before;
        ``moving_off``, by the slow start of an idle vehicle; ``driving``, by driving longer than planned; ``stops``, by
        longer stops. And ``wait``, their sum.
    """
    service = world.service
    wait_s = Ledger(world.log, service.asked).wait_s
    there = np.isfinite(wait_s) & np.isfinite(service.planned_s)
    names = {"shared": SHARED, "moving_off": STARTED, "driving": DROVE, "stops": STOOD}
    moved = {name: float(service.moved_s[k, there].mean()) for name, k in names.items()}
    promised_s = (service.planned_s - service.asked.earliest_s)[there].mean()
    return {"promised": float(promised_s), **moved, "wait": float(wait_s[there].mean())}


def indicators(played: Played, known_s: Sequence[float] | np.ndarray, wait_s: float) -> dict[str, float]:
    """Indicators of a service; only riders who reached their destination count as served.

    Args:
        played: result of the simulation.
        known_s: time of each request, in seconds.
        wait_s: longest promised wait, in seconds.
    """
    there = np.isfinite(played.dropped_s) & np.isfinite(played.picked_s)
    wait = (played.picked_s - np.asarray(known_s))[there]
    ride = (played.dropped_s - played.picked_s)[there]
    asked = len(known_s)
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
