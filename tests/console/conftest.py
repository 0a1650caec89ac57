"""A served city in this process, a browser on it, and people with different keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from envs.core.env import make_loop
from envs.core.loop import ControlLoop
from serving.access.keys import create_key
from serving.access.principal import Grant, Role
from serving.app import create_app
from serving.build import Plan
from serving.cluster.ports import free_ports
from serving.config import ServiceConfig
from serving.gateway import Gateway
from tests.serving.plants import served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TENSORBOARD = "http://127.0.0.1:6006"
"""A link to it, which nobody follows here."""

SITES = ("drainage/estuary", "intersections/cologne1", "dampers/jansen")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser nothing can be looked at; `.ci/run` installs one."""
    if CHROMIUM is None:
        for item in items:
            if "console" in str(item.path.parent):
                item.add_marker(pytest.mark.skip(reason="there is no Chromium: install Debian's package chromium"))


@dataclass
class City:
    """A service, and the plants that ask it.

    Attributes:
        url: of the service.
        keys: person → key.
        loops: site → simulator.
        gateway: the service's inside.
        key_file: where its keys are.
    """

    url: str
    keys: dict[str, str]
    loops: dict[str, ControlLoop]
    gateway: Gateway
    key_file: Path
    ticks: dict[str, int] = field(default_factory=dict)

    def ask(self, method: str, path: str, person: str = "admin", **body: Any) -> httpx.Response:
        """A request of somebody."""
        headers = {"authorization": f"Bearer {self.keys[person]}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, json=body or None, trust_env=False)

    def changed(self) -> list[tuple[str, str, str]]:
        """Who did what, and why, as the audit log has it, the oldest first."""
        records = self.ask("GET", "/v1/audit?what=change").json()["records"]
        return [(record["who"], record["what"], record["reason"]) for record in records]

    def tick(self, ref: str, **readings: list[float | None]) -> dict[str, Any]:
        """Let a plant ask and go one decision further; readings may be put in the place of its own."""
        loop, number = self.loops[ref], self.ticks.get(ref, 0)
        told = loop.system.readings.to_json(loop.readings) | readings
        body = {"tick": number, "time_s": loop.world.time_s, "readings": told}
        answer = self.ask("POST", f"/v1/{ref}/act", "plant", **body)
        assert answer.status_code == 200, answer.text
        commands = [answer.json()["commands"][agent][loop.system.command] for agent in loop.site.agents]
        loop.step(commands)
        self.ticks[ref] = number + 1
        return orjson.loads(answer.content)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    folder = tmp_path_factory.mktemp("city")
    keys = folder / "keys.json"
    people = {"admin": Role.ADMINISTER, "operator": Role.OPERATE, "viewer": Role.READ, "plant": Role.ACT}
    tokens = {name: create_key(keys, name, [Grant(role=role)])[0] for name, role in people.items()}
    config = ServiceConfig.make(
        {
            "port": free_ports(1)[0],
            "state": folder / "state",
            "audit": {"folder": folder / "audit"},
            "access": {"keys": keys},
            "tensorboard": TENSORBOARD,
            "sites": list(SITES),
        }
    )
    gateway = Plan.make(config).gateway()
    loops = {ref: make_loop(ref) for ref in SITES}
    place = pytest.MonkeyPatch()
    place.chdir(folder)  # its runs are those that are shown
    try:
        for loop in loops.values():
            loop.reset(loop.scenario.seeds.test.first)
        with served(create_app(gateway, config.tensorboard), config.port) as url:
            yield City(url, tokens, loops, gateway, keys)
    finally:
        place.undo()
        for loop in loops.values():
            loop.close()
        gateway.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser; no longer than it is needed, as its driver keeps an event loop running in this thread."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Visit:
    """Somebody before a page: what the page said on its console, and whom it asked.

    Attributes:
        refused: whether the service is to refuse it something, of which a browser complains.
    """

    refused = False

    def __init__(self, browser: Any, city: City, person: str, **context: Any):
        self.city, self.complaints, self.elsewhere = city, [], []  # type: ignore[var-annotated]
        self.context = browser.new_context(viewport={"width": 1400, "height": 900}, **context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._note)
        key = orjson.dumps(city.keys[person]).decode()
        self.context.add_init_script(f"sessionStorage.setItem('cityloop.key', {key})")

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.city.url, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def go(self, view: str) -> Any:
        """Open a view, and wait until it is live."""
        self.page.goto(f"{self.city.url}/#{view}")
        self.page.get_by_text("live", exact=False).first.wait_for()
        return self.page


@pytest.fixture
def visit(browser: Any, city: City) -> Iterator[Any]:
    """``visit(person)`` → a `Visit`; whatever a page complains of is a failure."""
    visits: list[Visit] = []

    def make(person: str, **context: Any) -> Visit:
        visits.append(Visit(browser, city, person, **context))
        return visits[-1]

    yield make
    found = [([] if one.refused else one.complaints, one.elsewhere) for one in visits]
    for one in visits:
        one.context.close()
    assert all(complaints == [] and elsewhere == [] for complaints, elsewhere in found), found


@pytest.fixture
def screenshots() -> Path | None:
    """Where pictures are kept, if the environment asks for them."""
    import os

    folder = os.environ.get("CITYLOOP_SCREENSHOTS")
    return Path(folder) if folder else None
