"""Controllers and services for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
import uvicorn
from fastapi.testclient import TestClient

from agents import fallback_name, make_controller
from envs import get_system, load_scenario
from envs.core.site import Site
from envs.core.world import Observation, Readings, Requests
from serving.app import create_app
from serving.charge.roles import Roles
from serving.charge.seat import Seat
from serving.charge.settings import SiteSettings
from serving.charge.standing import Standing
from serving.charge.state import StateStore
from serving.core.wire import example_tick
from serving.gateway import Gateway
from serving.tick.sites import SiteService

GRID = "intersections/grid2x2"


class Stub:
    """A controller that does as it is told, once it has been told: warming up always works."""

    program: Any = None
    card: Any = None
    timed = False

    def __init__(self, name: str = "stub"):
        self.name = name
        self.then: Callable[[Readings, Observation], Requests] | None = None

    def reset(self) -> None:
        pass

    def act(self, readings: Readings, observation: Observation) -> Requests:
        if self.then is not None:
            return self.then(readings, observation)
        return observation["action_mask"].argmax(axis=1)


def grid() -> Site:
    return get_system("intersections").load_site(load_scenario(GRID))


def service(
    site: Site,
    controller: Any = None,
    fallback: Any = None,
    deadline_ms: float = 5000.0,
    *,
    store: StateStore | None = None,
    challenger: Any = None,
    roles: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.time,
    checks: Any = None,
    sinks: Any = (),
    **settings: Any,
) -> SiteService:
    """A service of one site with controllers of one's own; a rule where none is given."""
    rule = fallback_name(site.system)
    first, second = controller or make_controller(rule, site), fallback or make_controller(rule, site)
    seats = {one.name: Seat(one, site) for one in (first, challenger) if one is not None}
    configured = Roles(champion=first.name, challenger=challenger and challenger.name, **(roles or {}))
    found = SiteSettings.model_validate({"deadline_ms": deadline_ms, **settings})
    standing = Standing(site, found, configured, seats, Seat(second, site), store or StateStore(None, site), clock)
    one = SiteService(standing, checks, sinks, clock)
    one.begin()
    return one


def tick_of(site: Site, **readings: Any) -> dict[str, Any]:
    """A tick with a free choice at every junction, unless told otherwise."""
    tick = example_tick(site)
    tick["readings"]["green_s"] = [20.0] * len(site.agents)
    tick["readings"] |= readings
    return tick


def body_of(tick: Any) -> bytes:
    return orjson.dumps(tick, option=orjson.OPT_SERIALIZE_NUMPY)


def wish(site: Site, stage: float) -> Callable[[Readings, Observation], Requests]:
    return lambda readings, observation: np.full(len(site.agents), stage)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config):
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def served(app: Any, port: int) -> Iterator[str]:
    """An ASGI app over real HTTP, in a thread."""
    server = _Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert server.ready.wait(10)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def client_of(app: Any, **more: Any) -> TestClient:
    """Asks an app in this process, by a name that an open service answers to."""
    return TestClient(app, base_url="http://127.0.0.1", **more)


def app_of(*services: SiteService) -> Any:
    return create_app(Gateway(services))
