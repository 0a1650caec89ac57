"""A controller at work at one site: named, warmed up, and never waited for longer than a deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import orjson

from agents import POLICY, make_controller, meaning
from agents.envelope import Envelope
from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Controller, Observation, Requests
from serving.core.deadline import Late, Worker
from serving.core.refusals import brief
from serving.core.wire import example_tick, parse_tick

LOGGER = logging.getLogger("cityloop.serving")

QUICK_S, TRIALS = 0.002, 5
"""Seconds that a policy may take to decide without a thread, by the median of so many trials."""

WARM_UP_S = 10.0
"""Deadline of the first decision in seconds; it may have to compile or load something."""


def make_in_charge(ref: str, site: Site, trusted: Sequence[str] | None = None) -> Controller:
    """Make the controller of a site; see `agents.make_controller`.

    Raises:
        CityloopError: as there.
    """
    try:
        return make_controller(ref, site, trusted)
    except (OSError, ValueError):  # what no file can be called
        raise CityloopError(
            f"controller {brief(ref)!r} cannot be looked for: give a name, or a bundle's path"
        ) from None


class Seat:
    """A controller at work.

    Args:
        controller: decides.
        site: of its decisions.
        ref: reference by which it was asked for; its name if not given.

    Attributes:
        why: reason for the choice, where ``policy`` was asked for; None where it was named.
        bundle: SHA-256 of its bundle; None if it is not a policy.
        envelope: range of its training data; None if that was not recorded.
        program: whether it is a program inside the plant, which decides nothing here.
        at_once: whether it decides without a thread of its own. The time of a policy's network is bounded by its shape;
            where it is short, a thread costs more.
        width: length of an agent's request; 0 where it is a single number.

    Raises:
        CityloopError: if it fails on an idle plant.
    """

    def __init__(self, controller: Controller, site: Site, ref: str | None = None):
        self.controller, self.ref = controller, ref or controller.name
        self.name: str = controller.name
        self.why = meaning(site).why if ref == POLICY else None
        self.program = controller.program is not None
        card = getattr(controller, "card", None)
        self.bundle: str | None = card.sha256 if card is not None else None
        self.envelope: Envelope | None = getattr(controller, "envelope", None)
        self.width, self.at_once = 0, False
        self._agents = len(site.agents)
        self._forget = False
        self._worker = Worker(f"{site.system}/{site.name} {self.name}")
        try:
            self._warm_up(site)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, ref: str, site: Site, trusted: Sequence[str] | None = None) -> Self:
        """A seat by a controller's name; see `make_in_charge`."""
        return cls(make_in_charge(ref, site, trusted), site, ref)

    def _warm_up(self, site: Site) -> None:
        """Decide once, so that the first real tick finds everything loaded and a misfit shows before it matters."""
        self.controller.reset()
        if self.program:
            return
        system = get_system(site.system)
        readings = parse_tick(system, site, orjson.dumps(example_tick(site))).readings
        observation = system.make_features(site).encode(readings, system.make_guard(site).mask(readings))
        try:
            requests = self._worker.run(lambda: self.decide(readings, observation), WARM_UP_S)
        except Exception as error:
            raise CityloopError(f"controller {self.name!r} cannot decide: {reason_of(error)}") from None
        self.width = requests.shape[1] if requests.ndim > 1 else 0
        self.at_once = self.bundle is not None and self._is_quick(readings, observation)
        self.forget()

    def _is_quick(self, readings: Readings, observation: Observation) -> bool:
        times = []
        for _ in range(TRIALS):
            started = time.perf_counter()
            self.decide(readings, observation)
            times.append(time.perf_counter() - started)
        return sorted(times)[TRIALS // 2] <= QUICK_S

    def decide(self, readings: Readings, observation: Observation) -> Requests:
        """Requests for all agents, in the caller's thread.

        Raises:
            CityloopError: if they are not one an agent; and any error of the controller.
        """
        if self._forget:
            self._forget = False
            self.controller.reset()
        requests = np.asarray(self.controller.act(readings, observation))
        if requests.shape[:1] != (self._agents,):
            raise CityloopError(f"asked for {requests.shape} values, not one an agent")
        return requests

    async def decide_in_time(
        self, readings: Readings, observation: Observation, left_s: float, allowed_s: float
    ) -> Requests:
        """As `decide`, without holding up the event loop.

        Args:
            readings: as for `decide`.
            observation: as for `decide`.
            left_s: seconds that it may take.
            allowed_s: seconds that the whole answer may take, for the message of a `Late`.

        Raises:
            Late: if it takes longer, or is still busy with an earlier tick that was given up.
        """
        if self.at_once:
            started = time.perf_counter()
            requests = self.decide(readings, observation)
            if time.perf_counter() - started > left_s:  # the machine was busy with other things
                raise Late(f"no answer within {allowed_s * 1e3:g} ms")
            return requests
        return await self._worker.run_async(lambda: self.decide(readings, observation), left_s, allowed_s)

    def post(self, job: Callable[[], None]) -> bool:
        """Run a job in this seat's thread if that is idle; returns whether it will run."""
        return self._worker.post(job)

    def forget(self) -> None:
        """Forget the episode before the next decision."""
        self._forget = True

    @property
    def stuck(self) -> bool:
        """Whether the controller hangs."""
        return self._worker.stuck

    @property
    def busy(self) -> bool:
        """Whether the controller is deciding in its thread, or hangs there."""
        return self._worker.busy

    def close(self) -> None:
        """Let the thread end."""
        self._worker.close()


def reason_of(error: BaseException) -> str:
    """The reason of a failure in a line; for unexpected errors their class alone, as their texts may hold anything."""
    if isinstance(error, (Late, CityloopError)):
        return str(error)
    return f"failed with {type(error).__name__}"
