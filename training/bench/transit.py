"""``cityloop bench transit``: how fast requests are answered, how that grows with the fleet, and what a day costs.

Seconds are those of this process (`time.process_time`), one core, warm: other work on the machine does not count.
Requests are drawn evenly over an hour and a town of 400 corners; ten times the vehicles get ten times the requests. A
day of ``hcmc`` is run with everything read, encoded, guarded and rewarded, and as the bare service that answers the
same requests in one go.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

from envs.core.env import make_loop
from envs.core.registry import load_scenario
from envs.core.rollout import random_requests
from envs.transit.network import day_of, load_site
from envs.transit.scenarios import TransitScenario
from envs.transit.service import Service, warm_up
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day, plain_day

SEED = 0
VEHICLES = 200
GROWTH = 10
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
    seconds = {}
    for count in (vehicles, growth * vehicles):
        scenario, site = town(count)
        day = crowd(site, count * REQUESTS_PER_VEHICLE)
        runs = [whole(scenario, site, day) for _ in range(repeats)]
        seconds[count] = median(took for took, _ in runs) / len(day.origin)
        figures[f"{count} vehicles (requests/s)"] = 1.0 / seconds[count]
        figures[f"{count} vehicles, served (%)"] = runs[0][1]
        for share, value in one_by_one(scenario, site, day).items():
            figures[f"{count} vehicles, a decision, {share} (ms)"] = value
    ratios = {
        f"a request with {growth} times the vehicles / with {vehicles}": seconds[growth * vehicles] / seconds[vehicles]
    }
    loop_s, bare_s = zip(*(a_day() for _ in range(repeats)), strict=True)
    ratios["hcmc, a day of the bare service / of the loop"] = median(bare_s) / median(loop_s)
    figures["hcmc, service days an hour of one core"] = HOUR_S / median(loop_s)
    return {"bench": "transit", "ratios": ratios, "figures": figures}


def town(vehicles: int) -> tuple[TransitScenario, TransitSite]:
    """A generated town of 400 corners and so many vehicles with six seats, and the promise of nyc2015."""
    changes: dict[str, Any] = {"district__columns": 20, "district__rows": 20, "fleet__vehicles": vehicles}
    changes |= {"fleet__seats": 6, "promise__wait_s": 300.0, "duration_s": HOUR_S}
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


def a_day() -> tuple[float, float]:
    """Seconds that a day of hcmc takes in the loop with random settings, and as the bare service."""
    loop = make_loop("transit/hcmc")
    rng = np.random.default_rng(SEED)
    start = time.process_time()
    loop.reset(SEED)
    done = False
    while not done:
        done = loop.step(random_requests(loop, rng)).done
        loop.layout.flatten(loop.observation)
    took = time.process_time() - start
    scenario, site = loop.scenario, loop.site
    assert isinstance(scenario, TransitScenario)
    assert isinstance(site, TransitSite)
    start = time.process_time()
    service = Service(scenario, site, day_of(scenario, site, SEED), SEED, None)
    service.run(scenario.duration_s, np.ones(len(site.nodes)))
    service.finish()
    bare = time.process_time() - start
    loop.close()
    return took, bare
