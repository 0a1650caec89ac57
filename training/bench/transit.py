"""``cityloop bench transit``: how fast requests are answered, how that grows with the fleet, and what a day costs.

Seconds are those of this process (`time.process_time`), one core, warm: other work on the machine does not count.
Requests are drawn evenly over an hour and a town of 400 corners; ten times the vehicles get ten times the requests.
RidePy's dispatcher in Python answers the requests of the smaller fleet, too, if it is installed. A day of ``hcmc`` is
run with everything read, encoded, guarded and rewarded, and in turn with it as the bare service that answers the same
requests, sends the same vehicles and assigns the same riders anew.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from envs.core.registry import load_scenario
from envs.core.rollout import random_requests
from envs.transit.kernel import events
from envs.transit.network import day_of, load_site
from envs.transit.scenarios import TransitScenario
from envs.transit.service import Service, warm_up
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day, plain_day
from envs.transit.world import TransitWorld
from training.bench import ridepy

LOGGER = logging.getLogger(__name__)

SEED = 0
VEHICLES = 200
GROWTH = 10
SEATS = 6
REQUESTS_PER_VEHICLE = 12
HOUR_S = 3600.0


def bench_transit(repeats: int = 5, vehicles: int = VEHICLES, growth: int = GROWTH) -> dict[str, Any]:
    """Measure requests a second, the slowest decisions, and whole days.

    Args:
        repeats: of every run; medians are reported.
        vehicles: of the smaller fleet.
        growth: how many times as many the larger one has.

    Returns:
        ``{"bench", "ratios", "figures"}``.
    """
    warm_up()
    figures: dict[str, float] = {}
    seconds, peer_s = {}, math.nan
    for count in (vehicles, growth * vehicles):
        scenario, site = town(count)
        day = crowd(site, count * REQUESTS_PER_VEHICLE)
        runs = [whole(scenario, site, day) for _ in range(repeats)]
        seconds[count] = median(took for took, _ in runs) / len(day.origin)
        figures[f"{count} vehicles (requests/s)"] = 1.0 / seconds[count]
        figures[f"{count} vehicles, served (%)"] = runs[0][1]
        for share, value in one_by_one(scenario, site, day).items():
            figures[f"{count} vehicles, a decision, {share} (ms)"] = value
        if count == vehicles and ridepy.installed():
            starts = Service(scenario, site, day, SEED, None).fleet.at
            peer_s, served = ridepy.seconds_per_request(site, day, SEATS, starts)
            figures[f"{count} vehicles, RidePy (requests/s)"] = 1.0 / peer_s
            figures[f"{count} vehicles, RidePy, served (%)"] = served
    if not ridepy.installed():
        LOGGER.warning(ridepy.MISSING)
    ratios = {
        f"requests/s with {vehicles} vehicles / of RidePy's Python dispatcher": peer_s / seconds[vehicles],
        f"a request with {growth} times the vehicles / with {vehicles}": seconds[growth * vehicles] / seconds[vehicles],
    }
    loop = make_loop("transit/hcmc")
    calls = moves(loop)
    days = [(a_day(loop), bare(loop, calls)) for _ in range(repeats)]
    loop.close()
    label = "hcmc, a day of the bare service that sends and reassigns alike / of the loop"
    ratios[label] = median(bare_s / loop_s for loop_s, bare_s in days)
    figures["hcmc, service days an hour of one core"] = HOUR_S / median(loop_s for loop_s, _ in days)
    return {"bench": "transit", "ratios": ratios, "figures": figures}


def town(vehicles: int) -> tuple[TransitScenario, TransitSite]:
    """A generated town of 400 corners and so many vehicles with six seats, and the promise of nyc2015."""
    changes: dict[str, Any] = {"district__columns": 20, "district__rows": 20, "fleet__vehicles": vehicles}
    changes |= {"fleet__seats": SEATS, "promise__wait_s": 300.0, "duration_s": HOUR_S}
    scenario = load_scenario("transit/hcmc", **changes)
    assert isinstance(scenario, TransitScenario)
    return scenario, load_site(scenario)


def crowd(site: TransitSite, requests: int) -> Day:
    """Single riders between any two stops, evenly over an hour."""
    rng = np.random.default_rng(SEED)
    stops = np.flatnonzero([node.stop for node in site.nodes])
    origin = rng.integers(len(stops), size=requests)
    destination = (origin + rng.integers(1, len(stops), size=requests)) % len(stops)
    return plain_day(stops[origin], stops[destination], np.sort(rng.uniform(0, HOUR_S, requests)))


def whole(scenario: TransitScenario, site: TransitSite, day: Day) -> tuple[float, float]:
    """Seconds that the hour takes, vehicles' driving included, and the share of requests that are served."""
    service = Service(scenario, site, day, SEED, None)
    usual = np.ones(len(site.nodes))
    start = time.process_time()
    service.run(HOUR_S, usual)
    took = time.process_time() - start
    return took, 100.0 * float((service.riders.vehicle >= 0).mean())


def one_by_one(scenario: TransitScenario, site: TransitSite, day: Day) -> dict[str, float]:
    """Milliseconds of a decision, from the request to the promise: quantiles over all of them."""
    service = Service(scenario, site, day, SEED, None)
    usual = np.ones(len(site.nodes))
    took = []
    for moment in np.nextafter(day.known_s, np.inf):
        start = time.process_time()
        service.run(float(moment), usual)
        took.append(time.process_time() - start)
    return {name: 1000.0 * float(np.quantile(took, q)) for name, q in (("median", 0.5), ("p99", 0.99))}


Calls = list[tuple[str, tuple[Any, ...]]]
"""What was asked of a service: methods and what they were given."""

MOVES = ("send", "reassign", "run")


def moves(loop: ControlLoop) -> Calls:
    """What the loop asks of its service in such a day as `a_day` plays."""
    calls: Calls = []

    def noted(name: str, method: Callable[..., None]) -> Callable[..., None]:
        def ask(*given: Any) -> None:
            calls.append((name, given))
            method(*given)

        return ask

    def note() -> None:
        service = _world(loop).service
        for name in MOVES:
            setattr(service, name, noted(name, getattr(service, name)))

    a_day(loop, note)
    return calls


def a_day(loop: ControlLoop, begun: Callable[[], None] = lambda: None) -> float:
    """Seconds that a day takes in the loop with random settings; ``begun`` is called once it has begun."""
    rng = np.random.default_rng(SEED)
    start = time.process_time()
    loop.reset(SEED)
    begun()
    done = False
    while not done:
        done = loop.step(random_requests(loop, rng)).done
        loop.layout.flatten(loop.observation)
    return time.process_time() - start


def bare(loop: ControlLoop, calls: Calls) -> float:
    """Seconds that the service takes by itself for the same requests and what was asked of it.

    Args:
        loop: ours, after its day.
        calls: see `moves`.

    Raises:
        RuntimeError: if anything happens that did not in the loop: then there is nothing to compare.
    """
    world, site = _world(loop), loop.site
    assert isinstance(site, TransitSite)
    start = time.process_time()
    service = Service(world.scenario, site, day_of(world.scenario, site, SEED), SEED, None)
    for name, given in calls:
        getattr(service, name)(*given)
    service.finish()
    took = time.process_time() - start
    if not all(map(np.array_equal, events.rows(service.log), world.log)):
        raise RuntimeError("the bare service's day is another than the loop's: there is nothing to compare")
    return took


def _world(loop: ControlLoop) -> TransitWorld:
    assert isinstance(loop.world, TransitWorld)
    return loop.world
