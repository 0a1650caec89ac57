"""A whole city on one machine: every system's simulator drives its site through one service, with the console on it.

Each plant is a process that asks the service tick by tick, at a pace that people can follow, and reports what moves in
it. Beside it runs a twin, the same episode under the fallback controller, so that the console can show what the policy
is worth at this moment.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx

from agents import POLICY, fallback_name, make_controller
from envs.core.env import make_loop
from envs.core.errors import CityloopError
from envs.core.loop import ControlLoop
from envs.core.machine.children import CONTEXT, start_child
from serving.client import SiteClient
from serving.client.control import Plant
from serving.config import ServiceConfig
from serving.run import serve

FASTEST_S, SLOWEST_S = 0.05, 1.0
"""Seconds of a person's time from one decision to the next, at least and at most; a plant's own pace where it fits."""

TELEMETRY_S = 0.5
"""The least time between two reports of what moves about."""

ANSWER_MS, DEADLINE_MS = 500.0, 1000.0
"""How long the service may take before its fallback answers, and the plant waits before its own does: the machine has
all the simulators to run as well.
"""

TELEMETRY_TIMEOUT_S = 2.0

LEAVE_S = 5.0
"""How long a twin may take over its last decisions before it is ended."""

SCENARIOS = ("intersections/cologne8", "drainage/astlingen", "dampers/jansen", "transit/hcmc")


@dataclass(frozen=True)
class Show:
    """One plant of the demonstration.

    Attributes:
        scenario: its reference.
        url: of the service.
        pace: how many times as fast as usual.
    """

    scenario: str
    url: str
    pace: float

    def run(self) -> None:
        """Play test episodes one after another until the process is ended."""
        loop = make_loop(self.scenario)
        seeds = loop.scenario.seeds.test
        with _Twin(self.scenario) as twin, SiteClient(loop.site, self.url, DEADLINE_MS) as client:
            plant = Plant(loop, client)
            teller = _Teller(loop, self.url, twin, _period_s(loop) / self.pace)
            for seed in range(seeds.first, seeds.last + 1):
                teller.begin(seed)
                plant.run(seed, None, lambda *_: teller.tick(plant))


def _period_s(loop: ControlLoop) -> float:
    return min(max(loop.scenario.decision_s, FASTEST_S), SLOWEST_S)


class _Teller:
    """Keeps the pace, and sends the console telemetry that is not in ticks: things that move, the cost so far."""

    def __init__(self, loop: ControlLoop, url: str, twin: _Twin, period_s: float):
        self._loop, self._twin, self._period_s = loop, twin, period_s
        self._url = f"{url}/v1/{loop.site.system}/{loop.site.name}/telemetry"
        self._http = httpx.Client(timeout=TELEMETRY_TIMEOUT_S, trust_env=False)
        self._due = self._told = 0.0
        self._costs = [0.0]

    def begin(self, seed: int) -> None:
        self._costs = [0.0]
        self._due = time.monotonic()
        self._twin.begin(seed)

    def tick(self, plant: Plant) -> None:
        if plant.last is not None:
            self._costs.append(self._costs[-1] - float(plant.last.reward.mean()))
        twin = self._twin.step()
        now = time.monotonic()
        if now - self._told >= TELEMETRY_S:
            self._told = now
            self._tell(twin)
        self._due = max(self._due + self._period_s, now - self._period_s)
        time.sleep(max(0.0, self._due - time.monotonic()))

    def _tell(self, twin: tuple[int, float] | None) -> None:
        """Both costs are those after the last decision that the twin, too, has taken."""
        name = fallback_name(self._loop.site.system)
        things = [] if self._loop.world.done else [vars(thing) for thing in self._loop.world.things()]
        content = {
            "time_s": self._loop.world.time_s,
            "things": things,
            "cost": {"label": "cost so far", "value": self._costs[-1 if twin is None else twin[0]]},
            "twin": None if twin is None else {"controller": name, "value": twin[1]},
        }
        with suppress(httpx.HTTPError):  # people look on; the plant goes on without them
            self._http.post(self._url, json=content)


class _Twin:
    """The same plant under the fallback, in a process of its own, as one simulator is all that a process can have."""

    def __init__(self, scenario: str):
        self._pipe, there = CONTEXT.Pipe()
        self._process = start_child(_run_twin, scenario, there)
        there.close()
        self._seed = -1
        self._cost: tuple[int, float] | None = None

    def begin(self, seed: int) -> None:
        self._seed, self._cost = seed, None
        self._send(seed)

    def step(self) -> tuple[int, float] | None:
        """Go one decision further, without waiting; how many are done, and what they have cost."""
        self._send(None)
        with suppress(EOFError, OSError):
            while self._pipe.poll():
                seed, done, cost = self._pipe.recv()
                if seed == self._seed:  # what is left of the episode before says nothing
                    self._cost = done, cost
        return self._cost

    def _send(self, what: int | None) -> None:
        with suppress(OSError):  # it ended: there is no comparison then
            self._pipe.send(what)

    def __enter__(self) -> _Twin:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()  # it then leaves by itself, and takes its simulator's files along
        self._process.join(LEAVE_S)
        self._process.terminate()
        self._process.join()


def _run_twin(scenario: str, pipe: Connection) -> None:
    """Play episodes on commands from the pipe: a seed begins one, None asks for its next decision."""
    loop = make_loop(scenario)
    controller = make_controller(fallback_name(loop.site.system), loop.site)
    seed, taken, cost, done = -1, 0, 0.0, True
    with suppress(EOFError, OSError):
        while True:
            asked = pipe.recv()
            if asked is not None:
                controller.reset()
                loop.reset(asked)
                seed, taken, cost, done = asked, 0, 0.0, False
            elif not done:
                step = loop.step(controller.act(loop.readings, loop.observation))
                taken, cost, done = taken + 1, cost - float(step.reward.mean()), step.done
                pipe.send((seed, taken, cost))
    loop.close()


def config_of(scenarios: Sequence[str], host: str, port: int, state: Path) -> ServiceConfig:
    """Configuration of all sites, each under the policy that is known to do no harm there, or its rule of practice."""
    sites = [{"site": scenario, "champion": POLICY, "deadline_ms": ANSWER_MS} for scenario in scenarios]
    return ServiceConfig.make(
        {"host": host, "port": port, "state": state, "audit": {"folder": state / "audit"}, "sites": sites}
    )


def demo(
    scenarios: Sequence[str] = SCENARIOS,
    port: int = 8000,
    pace: float = 1.0,
    state: Path = Path("runs/demo"),
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    stop: threading.Event | None = None,
) -> None:
    """Serve sites, drive them, and stay until told to stop.

    Args:
        scenarios: a plant each.
        port: of the service, on loopback.
        pace: how many times faster than usual.
        state: the service's state folder.
        say: called with progress messages.
        stop: ends it when set; Ctrl-C does, too.

    Raises:
        CityloopError: if something cannot be served, or the service cannot go on.
    """
    stop = stop or threading.Event()
    config = config_of(scenarios, "127.0.0.1", port, state)
    say(f"starting {len(scenarios)} plants and the service")
    handle = serve(config, block=False)
    assert handle is not None
    for site in handle.sites:
        say(f"{site['system']}/{site['site']}: {site['why']}")
    if threading.current_thread() is threading.main_thread():  # Ray has put a handler of its own there meanwhile
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    plants: list[BaseProcess] = []
    with handle:
        try:
            for scenario in scenarios:
                plants.append(start_child(_run_show, Show(scenario, handle.url, pace), daemon=False))
            say(f"the console: {handle.url}/   (Ctrl-C ends it)")
            with suppress(KeyboardInterrupt):
                while not stop.wait(1.0):
                    handle.check()
                    if not any(plant.is_alive() for plant in plants):
                        raise CityloopError("every plant has ended: look at what they said above")
        finally:
            for plant in plants:
                plant.terminate()
            for plant in plants:
                plant.join()


def _run_show(show: Show) -> None:
    """In a process of its own; SIGTERM ends it and its twin."""
    left = False

    def leave(*_: Any) -> None:
        nonlocal left
        if not left:  # the twin is given its time
            left = True
            raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    try:
        show.run()
    except SystemExit:
        pass
    except CityloopError as error:
        print(f"{show.scenario}: {error}", file=sys.stderr, flush=True)
    except Exception:
        if not left:  # else numba has made an error of its own of it, amid compiling
            raise
