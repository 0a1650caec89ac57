"""Many junctions and vehicles at once: the page does not grow; how soon it comes and how often it draws, is printed."""

from __future__ import annotations

import math
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import sumolib

from envs.core.readings import Readings
from envs.core.registry import get_system, load_scenario
from envs.core.site import Site
from serving.app import create_app
from serving.build import Plan
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from tests.serving.plants import served

JUNCTIONS, VEHICLES = 200, 500
WATCHED_S = float(os.environ.get("CITYLOOP_WATCHED_S", "30"))
"""How long the page is watched; ten minutes show more."""

SAMPLES, VISITS = 10, 7
"""How often script memory is looked at meanwhile, garbage aside; how often the first view is opened."""

KEPT_MB = 40.0
"""What the page may keep of a site: whole decisions up to a number of values, and points of its course."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario of fourteen by sixteen streets, with signals where they cross."""
    folder = tmp_path_factory.mktemp("town")
    net = folder / "town.net.xml"
    command = [sumolib.checkBinary("netgenerate"), "--grid", "--grid.x-number", "15", "--grid.y-number", "14"]
    command += ["--grid.length", "150", "--default-junction-type", "traffic_light", "--output-file", str(net)]
    subprocess.run([*command, "--no-warnings"], check=True, stdout=subprocess.DEVNULL)
    routes = folder / "town.rou.xml"
    routes.write_text('<routes><trip id="a" depart="0" from="A0A1" to="A1A2"/></routes>')
    scenario = folder / "town.yaml"
    scenario.write_text(f"system: intersections\nname: town\nnet: {net}\nroutes: [{routes}]\nduration_s: 3600\n")
    return scenario


class Traffic(threading.Thread):
    """Ticks and telemetry once a second, made up."""

    def __init__(self, site: Site, url: str):
        super().__init__(daemon=True)
        self._site, self._base = site, f"{url}/v1/intersections/town"
        self._schema = get_system("intersections").readings
        self._over = threading.Event()
        self._rng = np.random.default_rng(1)
        self.sent = 0

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=10) as http:
            due = time.monotonic()
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due += 1.0
                body = {
                    "tick": self.sent,
                    "time_s": float(self.sent),
                    "readings": self._schema.to_json(self._readings()),
                }
                http.post(f"{self._base}/act", content=orjson.dumps(body)).raise_for_status()
                http.post(f"{self._base}/telemetry", content=orjson.dumps(self._telemetry())).raise_for_status()
                self.sent += 1

    def _readings(self) -> Readings:
        readings = {c.name: np.zeros(len(self._site.axes[c.axis])) for c in self._schema.columns}
        queue = self._rng.integers(0, 12, len(readings["queue_veh"])).astype(float)
        green_s = self._rng.integers(1, 40, len(readings["green_s"])).astype(float)
        return readings | {"count_veh": queue, "queue_veh": queue, "waiting_s": 10 * queue, "green_s": green_s}

    def _telemetry(self) -> dict[str, Any]:
        angles = 0.02 * self.sent + np.arange(VEHICLES)
        things = [
            {"id": str(k), "x": 1000 + 900 * math.cos(a), "y": 1000 + 900 * math.sin(2 * a)}
            for k, a in enumerate(angles)
        ]
        return {"time_s": float(self.sent), "things": things}

    def stop(self) -> None:
        self._over.set()
        self.join(10)


@pytest.fixture
def traffic(town: Path) -> Iterator[tuple[str, Traffic]]:
    config = ServiceConfig.make({"port": free_ports(1)[0], "sites": [{"site": str(town), "champion": "max-pressure"}]})
    gateway = Plan.make(config).gateway()
    site = get_system("intersections").load_site(load_scenario(str(town)))
    with served(create_app(gateway), config.port) as url:
        thread = Traffic(site, url)
        thread.start()
        try:
            yield url, thread
        finally:
            thread.stop()
            gateway.close()


FIRST_VIEW = """
window.firstView = {};
new PerformanceObserver(list => {
    for (const entry of list.getEntries()) window.firstView[entry.entryType] = entry.startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
const seen = (name, selector) => {
    if (!(name in window.firstView) && document.querySelector(selector)) window.firstView[name] = performance.now();
};
new MutationObserver(() => {
    seen("tile", ".tile");
    seen("reading", ".tile .gauges dd");
}).observe(document, { childList: true, subtree: true });
"""
"""Milliseconds from the navigation's start: the largest contentful paint, the first tile, the first plant's numbers."""


@pytest.mark.slow
def test_how_soon_the_first_view_is_there(browser: Any, traffic: tuple[str, Traffic]) -> None:
    url, _ = traffic
    found: dict[str, list[float]] = {}
    for _ in range(VISITS):
        context = browser.new_context(viewport={"width": 1400, "height": 900})  # nothing is cached
        context.add_init_script(FIRST_VIEW)
        page = context.new_page()
        page.goto(url)
        page.locator(".tile .gauges dd").first.wait_for()
        page.wait_for_timeout(500)  # a larger paint may follow
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        for name, at_ms in {**page.evaluate("window.firstView"), "first-contentful-paint": paint}.items():
            found.setdefault(name, []).append(at_ms)
        context.close()
    for name, times in sorted(found.items()):
        print(f"{name}: median {np.median(times):.0f} ms, longest {max(times):.0f} ms of {len(times)} visits")
    assert len(found["tile"]) == VISITS


@pytest.mark.slow
def test_two_hundred_junctions_and_five_hundred_vehicles_do_not_let_the_page_grow(
    browser: Any, traffic: tuple[str, Traffic]
) -> None:
    url, thread = traffic
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    page.goto(f"{url}/#/site/intersections/town")
    page.get_by_text("Live · tick", exact=False).wait_for(timeout=30_000)

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

    page.wait_for_timeout(5000)
    megabytes, rates, sent = [heap()], [], thread.sent
    for _ in range(SAMPLES):
        rates.append(_frames(page, WATCHED_S / SAMPLES) / (WATCHED_S / SAMPLES))
        megabytes.append(heap())
    start, middle, end = megabytes[0], megabytes[SAMPLES // 2], megabytes[-1]
    print(f"{np.median(rates):.1f} frames/s in the median, {min(rates):.1f} at worst, {thread.sent - sent} ticks")
    print(f"script memory: {start:.1f} MB at the start, {middle:.1f} in the middle, {end:.1f} at the end")
    print("every sample:", ", ".join(f"{value:.1f}" for value in megabytes))
    assert end - start < KEPT_MB
    context.close()


def _frames(page: Any, seconds: float) -> int:
    """Frames that the page draws in so many seconds."""
    count: int = page.evaluate(
        """seconds => new Promise(done => {
            let count = 0;
            const end = performance.now() + 1000 * seconds;
            const step = at => { count++; at < end ? requestAnimationFrame(step) : done(count); };
            requestAnimationFrame(step);
        })""",
        seconds,
    )
    return count
