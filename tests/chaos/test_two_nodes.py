"""Two Ray nodes on one machine: one is lost. Its sites are refused at once and go on elsewhere, the others go on."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import httpx
import orjson
import pytest

from serving.audit.verify import verify
from serving.cluster.ports import free_ports
from serving.core.wire import example_tick
from serving.site_files import load_site
from tests.serving.running import started

pytestmark = pytest.mark.chaos

PLACES = {"intersections/grid2x2": "max-pressure", "drainage/theta": "static"}
"""Site → its champion: a rule, as a policy would be taken out of charge when the same readings are repeated."""

TICK_S, DEADLINE_S, BACK_S = 0.1, 0.5, 60.0


def test_a_node_that_is_lost_takes_no_site_with_it(tmp_path: Path) -> None:
    content = {
        "port": free_ports(1)[0],
        "state": tmp_path / "state",
        "audit": {"folder": tmp_path / "audit"},
        "shards": "site",
        "sites": [{"site": ref, "champion": rule} for ref, rule in PLACES.items()],
    }
    line = [sys.executable, "-m", "tests.chaos.two_nodes", json.dumps(content, default=str)]
    with started(line, tmp_path / "log") as found, httpx.Client(base_url=found.url, trust_env=False) as http:
        lost = [ref for ref in PLACES if found.said["nodes"][name_of(ref)] == found.said["second"]]
        assert len(lost) == 1, "Ray Serve spread the sites otherwise: this test has nothing to say"
        plants = {ref: Plant(http, ref) for ref in PLACES}
        assert [plant.ask() for plant in plants.values()] == ["200", "200"]
        found.process.send_signal(signal.SIGUSR1)
        moment = time.monotonic()
        while time.monotonic() < moment + BACK_S and not (plants[lost[0]].is_back() and is_well(http)):
            for plant in plants.values():
                plant.ask()
            time.sleep(TICK_S)
        print(f"back after {time.monotonic() - moment:.1f} s; { ({ref: p.statuses for ref, p in plants.items()}) }")
        for ref, plant in plants.items():
            assert plant.longest_s < DEADLINE_S
            assert set(plant.statuses) <= ({"200", "503", "none"} if ref in lost else {"200"})
        assert plants[lost[0]].is_back()
        assert is_well(http)
    report = verify(tmp_path / "audit")
    assert report.ok, report


def name_of(ref: str) -> str:
    """Of a site's shard."""
    return f"cityloop-{ref.replace('/', '-')}"


def is_well(http: httpx.Client) -> bool:
    """Whether the process in front, which may have been lost too, finds all sites well."""
    answer = http.get("/healthz")
    return answer.status_code == 200 and answer.json()["status"] == "ok"


class Plant:
    """Asks a site tick after tick, and keeps account of what it is told."""

    def __init__(self, http: httpx.Client, ref: str):
        self.statuses: dict[str, int] = {}
        self.longest_s, self._last = 0.0, ""
        self._http, self._ref, self._example = http, ref, example_tick(load_site(ref))

    def ask(self) -> str:
        """Ask the next tick: the answer's status, or none."""
        tick = sum(self.statuses.values())
        body = orjson.dumps(self._example | {"tick": tick, "time_s": float(tick)})
        started_s = time.monotonic()
        try:
            answer = self._http.post(f"/v1/{self._ref}/act", content=body)
            self._last = str(answer.status_code)
            assert self._last != "503" or answer.headers["retry-after"]
        except httpx.TransportError:  # the node died with the question
            self._last = "none"
        self.longest_s = max(self.longest_s, time.monotonic() - started_s)
        self.statuses[self._last] = self.statuses.get(self._last, 0) + 1
        return self._last

    def is_back(self) -> bool:
        """Whether it was refused, and is answered again."""
        return self._last == "200" and len(self.statuses) > 1
