"""One served site: readings in, safe commands out, whatever becomes of the policy. Plain Python, no Ray, no HTTP.

A service keeps nothing from tick to tick: the same tick gives the same answer, so a client may repeat a request.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson

from agents import POLICY, fallback_name, make_controller, shipped_policies
from envs.core.errors import CityloopError
from envs.core.registry import get_system, load_scenario
from envs.core.site import Site
from envs.core.world import Controller, Observation, Requests
from serving.deadline import Late, Worker
from serving.wire import InCharge, Tick, example_tick, parse_tick

log = logging.getLogger("cityloop.serving")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What a site may be called: it becomes part of an address."""

WARM_UP_S = 10.0
"""Deadline of the first decision, which may have to compile or load something."""


def load_site(ref: str) -> Site:
    """A site to serve.

    Args:
        ref: a scenario's reference, a scenario's YAML file, or a site's JSON file (`Site.save`).

    Raises:
        CityloopError: if it is unknown, cannot be read, or has a name that does not fit into an address.
    """
    site = _site_from_json(Path(ref)) if ref.endswith(".json") else _site_of_scenario(ref)
    if not NAME.fullmatch(site.name):
        raise CityloopError(f"site name {site.name!r} cannot be an address: use letters, digits, '.', '_' and '-'")
    return site


def _site_of_scenario(ref: str) -> Site:
    scenario = load_scenario(ref)
    return get_system(scenario.system).load_site(scenario)


def _site_from_json(path: Path) -> Site:
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise CityloopError(f"site file {path} cannot be read ({error.strerror}): give an existing file") from None
    except orjson.JSONDecodeError as error:
        raise CityloopError(f"site file {path} is not JSON ({error}): write it with Site.save") from None
    if not isinstance(content, dict) or "system" not in content:
        raise CityloopError(f"site file {path} has no key 'system': write it with Site.save")
    return get_system(str(content["system"])).site_class.load(path)


def make_in_charge(ref: str, site: Site) -> Controller:
    """The controller that is to decide at a site; see `agents.make_controller`.

    Raises:
        CityloopError: as there, and if it is to be the shipped policy and none ships.
    """
    if ref == POLICY and not shipped_policies(site.system):
        raise CityloopError(
            f"no policy ships for system {site.system!r}: train and export one and give its path, "
            f"or choose a rule such as {fallback_name(site.system)!r}"
        )
    return make_controller(ref, site)


class SiteService:
    """Answers the ticks of one site.

    Args:
        site: the site.
        controller: who decides.
        fallback: who decides if that fails or is late; it must decide tick by tick.
        deadline_ms: how long the controller may take.

    Raises:
        CityloopError: if the fallback is a program inside the plant, or the controller fails on an empty street.
    """

    def __init__(self, site: Site, controller: Controller, fallback: Controller, deadline_ms: float = 100.0):
        if fallback.program is not None:
            raise CityloopError(
                f"fallback {fallback.name!r} is a program inside the plant and cannot take over within a tick: "
                f"choose a controller such as {fallback_name(site.system)!r}"
            )
        if not 0 < deadline_ms <= 60_000:
            raise CityloopError(f"deadline_ms is {deadline_ms:g}: give a time from above 0 to 60000 ms")
        self.site, self.controller, self.fallback, self.deadline_ms = site, controller, fallback, deadline_ms
        self.system = get_system(site.system)
        self._guard, self._features = self.system.make_guard(site), self.system.make_features(site)
        self._worker = Worker(f"{site.system}/{site.name}")
        card = getattr(controller, "card", None)
        self.bundle: str | None = card.sha256[:12] if card is not None else None
        self._warm_up()

    @classmethod
    def open(cls, site: Site, policy: str, fallback: str | None = None, deadline_ms: float = 100.0) -> Self:
        """A service by the names of its controllers; the system's own fallback if none is given."""
        second = make_controller(fallback or fallback_name(site.system), site)
        return cls(site, make_in_charge(policy, site), second, deadline_ms)

    def _warm_up(self) -> None:
        """Decide once, so that the first real tick finds everything loaded and a misfit shows before it matters."""
        tick = parse_tick(self.system, self.site, orjson.dumps(example_tick(self.site)))
        for controller in (self.fallback, self.controller):
            controller.reset()
            if controller.program is None:
                _, observation = self._see(tick)
                try:
                    self._worker.run(partial(self._decide, controller, tick, observation), WARM_UP_S)
                except Exception as error:
                    raise CityloopError(f"controller {controller.name!r} cannot decide: {_reason(error)}") from None

    @property
    def ref(self) -> str:
        """``system/site``."""
        return f"{self.site.system}/{self.site.name}"

    @property
    def stuck(self) -> bool:
        """Whether the controller hangs and the fallback decides until it returns."""
        return self._worker.stuck

    @property
    def in_charge(self) -> InCharge:
        """Who decides here."""
        return InCharge(
            controller=self.controller.name,
            program=self.controller.program is not None,
            bundle=self.bundle,
            fallback=self.fallback.name,
            deadline_ms=self.deadline_ms,
        )

    def act(self, body: bytes) -> dict[str, Any]:
        """Answer a tick; see `wire.ActRequest` and `wire.ActAnswer`.

        Raises:
            ReadingError: if the body cannot be used.
        """
        started = time.perf_counter()
        tick = parse_tick(self.system, self.site, body)
        if self.controller.program is not None:
            return self._program_answer(tick, started)
        mask, observation = self._see(tick)
        try:
            requests, reason = self._worker.run(self._job(tick, observation), self.deadline_ms / 1e3), None
        except Exception as error:
            requests, reason = self._fall_back(tick, observation, error)
        return self._answer(tick, mask, requests, reason, started)

    async def act_async(self, body: bytes) -> dict[str, Any]:
        """As `act`, without holding up the event loop while the controller decides."""
        started = time.perf_counter()
        tick = parse_tick(self.system, self.site, body)
        if self.controller.program is not None:
            return self._program_answer(tick, started)
        mask, observation = self._see(tick)
        try:
            requests = await self._worker.run_async(self._job(tick, observation), self.deadline_ms / 1e3)
            reason = None
        except Exception as error:
            requests, reason = self._fall_back(tick, observation, error)
        return self._answer(tick, mask, requests, reason, started)

    def _see(self, tick: Tick) -> tuple[np.ndarray, Observation]:
        mask = self._guard.mask(tick.readings)
        return mask, self._features.encode(tick.readings, mask)

    def _job(self, tick: Tick, observation: Observation) -> Callable[[], Requests]:
        return lambda: self._decide(self.controller, tick, observation)

    def _decide(self, controller: Controller, tick: Tick, observation: Observation) -> Requests:
        requests = np.asarray(controller.act(tick.readings, observation))
        if requests.shape[:1] != (len(self.site.agents),):
            raise CityloopError(f"asked for {requests.shape} values, not one an agent")
        return requests

    def _fall_back(self, tick: Tick, observation: Observation, error: Exception) -> tuple[Requests, str]:
        reason = f"{self.controller.name}: {_reason(error)}"
        if not isinstance(error, (Late, CityloopError)):
            log.warning("%s: %s failed", self.ref, self.controller.name, exc_info=error)
        try:
            return self._decide(self.fallback, tick, observation), reason
        except Exception as second:
            log.warning("%s: fallback %s failed", self.ref, self.fallback.name, exc_info=second)
            # No wish at all: the guard then keeps what is running, or moves on where it must.
            return np.full(len(self.site.agents), np.nan), f"{reason}; {self.fallback.name}: {_reason(second)}"

    def _answer(
        self, tick: Tick, mask: np.ndarray, requests: Requests, reason: str | None, started: float
    ) -> dict[str, Any]:
        commands, changes = self._guard.check(tick.readings, requests, mask)
        name = self.system.command
        return {
            **self._head(tick, self.controller if reason is None else self.fallback),
            "commands": {a: {name: _value(c)} for a, c in zip(self.site.agents, commands.tolist(), strict=True)},
            "interventions": [vars(change) for change in changes],
            "fallback": reason is not None,
            "fallback_reason": reason,
            "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
        }

    def _program_answer(self, tick: Tick, started: float) -> dict[str, Any]:
        return {
            **self._head(tick, self.controller),
            "commands": {agent: {"program": self.controller.name} for agent in self.site.agents},
            "interventions": [],
            "fallback": False,
            "fallback_reason": None,
            "latency_ms": round((time.perf_counter() - started) * 1e3, 3),
        }

    def _head(self, tick: Tick, decider: Controller) -> dict[str, Any]:
        """Which tick is answered, and by whom."""
        bundle = self.bundle if decider is self.controller else None
        return {"tick": tick.tick, "time_s": tick.time_s, "controller": decider.name, "bundle": bundle}

    def close(self) -> None:
        """Let the worker's thread end."""
        self._worker.close()


def _value(command: float | list[float]) -> float | list[float]:
    """What an agent is to set: a number, or a list where it sets several."""
    return command[0] if isinstance(command, list) and len(command) == 1 else command


def _reason(error: BaseException) -> str:
    """Why a controller failed, in a line; the classes of unexpected errors alone, as their texts may hold anything."""
    if isinstance(error, (Late, CityloopError)):
        return str(error)
    return f"failed with {type(error).__name__}"
