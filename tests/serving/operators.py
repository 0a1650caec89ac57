"""What tests of operators share: a site over HTTP, what is asked of it, and a sink that remembers."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from envs.core.site import Site
from serving.core.events import SiteChange
from serving.tick.sites import SiteService
from tests.serving.plants import app_of, body_of, tick_of

BASE = "/v1/intersections/grid2x2"

HOME = "http://127.0.0.1"
"""An open service answers to names of loopback alone."""


HAND = {"command": 1, "reason": "roadworks", "expires_s": 60}
"""A command by hand."""


class Book:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def record(self, event: Any) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def changes(self) -> list[tuple[str, str]]:
        return [(event.who, event.what) for event in self.events if isinstance(event, SiteChange)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def http(one: SiteService) -> TestClient:
    return TestClient(app_of(one), HOME, raise_server_exceptions=False)


def ask(client: TestClient, site: Site, tick: int, **readings: Any) -> dict[str, Any]:
    response = client.post(f"{BASE}/act", content=body_of(tick_of(site, **readings) | {"tick": tick}))
    assert response.status_code == 200, response.text
    return response.json()


def change(client: TestClient, verb: str, **body: Any) -> Any:
    return client.post(f"{BASE}/policies/{verb}", json={"reason": "test"} | body)


def failing(readings: Any, observation: Any) -> Any:
    raise ZeroDivisionError


def put(client: TestClient, agent: str | None, **body: Any) -> Any:
    where = f"{BASE}/overrides" + (f"/{agent}" if agent else "")
    return client.put(where, json=HAND | body)
