"""The plant: an event simulator of a demand-responsive fleet on a street graph."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.core.errors import CityloopError
from envs.core.machine.warn_once import warn_once
from envs.core.readings import Readings
from envs.core.scene import Thing
from envs.core.world import Commands, World
from envs.transit import census, kpis
from envs.transit.dispatch import Dispatch
from envs.transit.guard import SCORE, URGENCY
from envs.transit.kernel import events
from envs.transit.kernel.fleet import SEATS
from envs.transit.network import day_of
from envs.transit.record.ledger import Ledger
from envs.transit.record.periods import by_period, periods
from envs.transit.scenarios import TransitScenario
from envs.transit.settings import URGENCY_BASE
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day
from envs.transit.targets import sends

if TYPE_CHECKING:
    from envs.transit.service import Service

LOGGER = logging.getLogger(__name__)

SHOWN = 100
"""Impossible rows that are reported one by one; the others are counted."""


class TransitWorld(World):
    """A fleet in one town.

    Args:
        scenario: town, demand and fleet.
        site: the scenario's site.
    """

    def __init__(self, scenario: TransitScenario, site: TransitSite):
        self.scenario, self.site = scenario, site
        self._service: Service | None = None
        self._problems_reported = False
        if scenario.requests is not None:
            with suppress(CityloopError):  # raised again when an episode begins
                for sentence in _left_out(day_of(scenario, site, 0).problems):
                    warn_once(LOGGER, scenario.requests, sentence)
        self._truth: dict[str, Any] = {}
        self._kpis: dict[str, float] = {}
        self._places: dict[str, dict[str, float]] = {}
        self._quarters = periods(scenario, site)
        self._periods: dict[str, dict[str, float]] = {}
        self._log: events.Log | None = None

    def prepare(self) -> None:
        """Compile all functions, or load them from the cache; see `World.prepare`."""
        from envs.transit.service import warm_up

        warm_up(disturbed=not self.scenario.streets.known)

    def reset(self, seed: int, program: Any = None) -> Readings:
        """Start a service; see `World.reset`.

        Args:
            seed: of requests, speeds, and where vehicles begin.
            program: a `dispatch.Dispatch`: another way to dispatch, without rebalancing.

        Raises:
            CityloopError: if a file is invalid, or the program is no `Dispatch`.
        """
        if program is not None and not isinstance(program, Dispatch):
            raise CityloopError(f"program is a {type(program).__name__}: give a Dispatch, or a controller without one")
        day = day_of(self.scenario, self.site, seed)
        self._report(day.problems)
        self._service = self._begin(day, seed, program)
        self._decision, self._seen = 0, 0
        self._kpis, self._places, self._periods = {}, {}, {}
        self._truth = self._since_last(0.0)
        return self._readings()

    def _begin(self, day: Day, seed: int, program: Any) -> Service:
        """A service that is about to begin; subclasses have their vehicles moved otherwise."""
        from envs.transit.service import Service

        return Service(self.scenario, self.site, day, seed, program)

    def _report(self, problems: tuple[str, ...]) -> None:
        """Warn once of requests that cannot be served; those of a user's own file were reported before."""
        if not self._problems_reported and self.scenario.requests is None:
            for sentence in _left_out(problems):
                LOGGER.warning("%s", sentence)
        self._problems_reported = True

    @property
    def service(self) -> Service:
        """The running service, which only a simulator knows."""
        assert self._service is not None
        return self._service

    def step(self, commands: Commands | None) -> Readings:
        """Send idle vehicles, answer requests, advance one decision; see `World.step`."""
        service = self.service
        before_s = service.now_s
        factor = np.ones(len(self.site.nodes))
        if commands is not None:
            asked = np.asarray(commands, dtype=np.float64)
            self._rebalance(asked[:, SCORE])
            factor = URGENCY_BASE ** asked[:, URGENCY][self.site.zone_of]
            if self.scenario.timing.reassign_s:
                service.reassign(self.scenario.timing.reassign_s, factor)
        self._decision += 1
        service.run(self._decision * self.scenario.decision_s, factor)
        self._truth = self._since_last(before_s)
        readings = self._readings()  # before open promises are carried out
        if self.done:
            self._finish()
        return readings

    def _rebalance(self, scores: np.ndarray) -> None:
        """Send idle vehicles from zones that have too many to zones that have too few."""
        service = self.service
        idle = np.flatnonzero(service.standing)
        for k, node in sends(self.site, self._now, scores, service.fleet.at[idle], service.roads.free_s):
            service.send(int(idle[k]), node)

    def _readings(self) -> Readings:
        self._now = census.take(self.service, self.site)
        return self._now

    def _since_last(self, before_s: float) -> dict[str, Any]:
        """Waits, refusals and driving since a given time, for the reward."""
        found = census.since(self.service, self.site, before_s, self._seen)
        self._seen = int(self.service.log.used[0])
        return found

    @property
    def truth(self) -> Mapping[str, Any]:
        """Since the last decision: ``waited_s`` and ``refused`` ``(N,)``, ``detour_s`` and ``empty_m``."""
        return self._truth

    @property
    def time_s(self) -> float:
        """Seconds since the start."""
        return self._decision * self.scenario.decision_s

    @property
    def done(self) -> bool:
        """Whether the scenario's time is over. Open promises are still carried out then."""
        return self._decision >= self.scenario.decisions

    def trace(self) -> dict[str, float]:
        """Number of parties waiting, parties aboard, and idle vehicles."""
        return {name: float(self._now[name].sum()) for name in ("waiting", "aboard", "idle_veh")}

    def things(self) -> list[Thing]:
        """The vehicles, at their present or next corner."""
        fleet, nodes = self.service.fleet, self.site.nodes
        seated = zip(fleet.at.tolist(), fleet.aboard[:, SEATS].tolist(), strict=True)
        return [Thing(f"{k}", nodes[at].x_m, nodes[at].y_m, seats) for k, (at, seats) in enumerate(seated)]

    def _finish(self) -> None:
        service, zones = self.service, self.site.zone_of
        service.finish()
        self._log = log = events.rows(service.log)
        riders, end_s = service.asked, self.scenario.duration_s
        more = service.walk_m, service.breaks, service.batteries, self.scenario.promise.margin_s
        self._kpis = kpis.indicators(log, service.fleet, riders, zones, end_s, *more)
        found = kpis.places(Ledger(log, riders), riders, zones, len(self.site.zones))
        self._places = {
            name: {self.site.agents[k]: float(values[k]) for k in np.flatnonzero(np.isfinite(values))}
            for name, values in found.items()
        }
        self._periods = by_period(log, riders, self._quarters)

    def kpis(self) -> dict[str, float]:
        """The finished episode's indicators; see `kpis.KPIS`."""
        return dict(self._kpis)

    def places(self) -> dict[str, dict[str, float]]:
        """Mean wait and share served in every zone, without zones that have too few parties."""
        return {indicator: dict(values) for indicator, values in self._places.items()}

    def periods(self) -> dict[str, dict[str, float]]:
        """Indicators of each period of the service; see `record.periods`."""
        return {period: dict(values) for period, values in self._periods.items()}

    @property
    def log(self) -> events.Log:
        """Every event of the finished episode, in the order of time."""
        assert self._log is not None
        return self._log

    def close(self) -> None:
        """Let go of the service. It holds no process and no file."""
        self._service = None


def _left_out(problems: tuple[str, ...]) -> Iterator[str]:
    for problem in problems[:SHOWN]:
        yield f"left out: {problem}"
    if len(problems) > SHOWN:
        yield f"left out: {len(problems) - SHOWN} more rows; all others are served"
