"""Controllers that operators of demand-responsive fleets use: first come first served, insertion, rebalancing.

Controllers that only dispatch are programs of the plant (`envs.transit.dispatch.Dispatch`): they answer requests and
leave idle vehicles where they are. Rebalancing controllers set zones' scores like a policy, over the scenario's own
insertion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import poisson

from agents.monitors.demand import Forecast, Levels
from agents.monitors.demand.forecast import LEAST, levels_after
from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.transit.dispatch import Dispatch
from envs.transit.site import TransitSite
from envs.transit.standby import USUAL_STANDBY, StandbyModel
from envs.transit.targets import NOTHING, available, demand_weights, scores_of, standby
from envs.transit.urgency import USUAL_URGENCY, UrgencyRule, urgency

BATCH_S = 15.0
"""Seconds for which `batch` gathers requests."""

PERIOD_S = 300.0
"""Seconds between two rebalancings in proportion to demand, tuned on training days (`training.tuning.transit`); shorter
periods are worse."""


class Local(Controller):
    """A dispatch program that the plant carries out by itself.

    In a plant that only takes settings, and cannot run the program, `act` leaves idle vehicles where they are.

    Args:
        program: the program.
    """

    def __init__(self, program: Dispatch):
        self.name, self.program = program.name, program

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Scores of the vehicles' present positions, and no urgency, ``(N, 2)``."""
        return _settings(available(readings) + NOTHING)


def _settings(weights: np.ndarray, urgency: float = 0.0) -> Requests:
    """Scores of shares in proportion to weights, and one urgency for all zones, ``(N, 2)``."""
    return np.stack([scores_of(weights), np.full(len(weights), urgency)], axis=1)


def solo(site: TransitSite) -> Controller:
    """First come first served by the vehicle that arrives first, one party at a time."""
    return Local(Dispatch("solo", (0.0, 1.0, 0.0, 0.0), pooled=False))


def nearest(site: TransitSite) -> Controller:
    """The vehicle that arrives first, shared where promises allow it."""
    return Local(Dispatch("nearest", (1e-3, 1.0, 1e-3, 1e-3)))


def least_driving(site: TransitSite) -> Controller:
    """The insertion that adds the least driving (cheapest insertion, Jaw et al. 1986, by vehicle time alone)."""
    return Local(Dispatch("least-driving", (1.0, 1e-3, 1e-3, 1e-3)))


def insertion(site: TransitSite) -> Controller:
    """The insertion of least cost, by the site's own weights; idle vehicles stay where they are."""
    return Local(Dispatch("insertion", site.costs.tuple))


def batched(site: TransitSite) -> Controller:
    """Requests gathered and assigned together, by a set partition over trips of one or two parties (HiGHS)."""
    return Local(Dispatch("batch", site.costs.tuple, batch_s=BATCH_S))


class _Rebalancing(Controller):
    """Base of controllers that set where idle vehicles should stand once a period; in between vehicles stay.

    Args:
        site: the service.
        period_s: seconds between two rebalancings; rounded up to whole decisions.
    """

    name: str

    def __init__(self, site: TransitSite, period_s: float = PERIOD_S):
        self.site = site
        self._every = max(1, int(np.ceil(period_s / site.timing.decision_s)))
        self._decision = 0

    def reset(self) -> None:
        """Begin anew."""
        self._decision = 0

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Scores, and no urgency, ``(N, 2)``."""
        due = self._decision % self._every == 0
        self._decision += 1
        return _settings(self.weights(readings) if due else available(readings) + NOTHING)  # else no vehicle moves

    def weights(self, readings: Readings) -> np.ndarray:
        """Shares in proportion to these, all above 0, ``(N,)``."""
        raise NotImplementedError


class Reactive(_Rebalancing):
    """Insertion, and idle vehicles sent to zones in proportion to recent requests, by a minimum-cost flow.

    Vehicles on their way to a zone, or soon free there, count as being there.
    """

    name = "reactive"

    def weights(self, readings: Readings) -> np.ndarray:
        """See `_Rebalancing.weights`."""
        return demand_weights(readings)


class Coverage(_Rebalancing):
    """Insertion, and idle vehicles sent one by one to where they are most likely to be needed.

    Requests of a zone within the horizon are taken as Poisson, with the average of usual and recent requests as their
    mean; the k-th vehicle of a zone is worth the probability that k or more come (the marginal of expected
    coverage, so the greedy choice is optimal).
    """

    name = "coverage"

    def weights(self, readings: Readings) -> np.ndarray:
        """See `_Rebalancing.weights`."""
        timing = self.site.timing
        recent = readings["requests"] * timing.ahead_s / timing.recent_s
        usual = np.where(np.isfinite(readings["expected"]), readings["expected"], recent)
        mean = 0.5 * (recent + usual)
        if not mean.any():  # no demand is known: all stay where they are
            return available(readings) + NOTHING
        counts = np.zeros(len(mean))
        gain = poisson.sf(0, mean)
        for _ in range(int(available(readings).sum())):
            k = int(gain.argmax())
            counts[k] += 1
            gain[k] = poisson.sf(counts[k], mean[k])
        return counts + NOTHING


class Foreseen(_Rebalancing):
    """Insertion, and idle vehicles sent one by one to where they are most likely to be needed, by the demand forecast.

    As `Coverage`, but with the forecast of `agents.monitors.demand`: the usual mean, scaled by today's levels of town
    and zone after the recent requests, negative binomial.
    """

    name = "forecast"

    def weights(self, readings: Readings) -> np.ndarray:
        """See `_Rebalancing.weights`."""
        timing, now_s = self.site.timing, float(readings["time_s"][0])
        begin_s = max(now_s - timing.recent_s, 0.0)
        usual, counted = self.site.expected(begin_s, now_s - begin_s), readings["requests"]
        expected = readings["expected"]
        if not (np.isfinite(usual).all() and np.isfinite(expected).all()):  # no past: only recent requests are known
            usual, expected = counted, counted * timing.ahead_s / timing.recent_s
        factor, shape = levels_after(counted[None], np.maximum(usual, LEAST)[None], np.zeros(1), Levels())
        forecast = Forecast(factor * expected, shape)
        counts = np.zeros(len(expected))
        gain = forecast.beyond(counts)
        for _ in range(int(available(readings).sum())):
            counts[int(gain.argmax())] += 1
            gain = forecast.beyond(counts)
        return counts + NOTHING


class Standby(Controller):
    """Insertion, and idle vehicles sent to where they most shorten the expected wait of the next request.

    Vehicles move at every decision, see `envs.transit.standby`. A wait weighs more when fewer riders wait for each
    vehicle, see `envs.transit.urgency`.

    Args:
        site: the service.
        model: parameters of the expected wait.
        rule: parameters of the urgency.
    """

    name = "standby"

    def __init__(self, site: TransitSite, model: StandbyModel = USUAL_STANDBY, rule: UrgencyRule = USUAL_URGENCY):
        self.site, self._model, self._rule = site, model, rule

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """Scores and urgency, ``(N, 2)``."""
        vehicles = standby(self.site, readings, self._model)
        return _settings(vehicles + NOTHING, urgency(self.site, readings, self._rule))


class Even(_Rebalancing):
    """Insertion, and the same number of idle vehicles in every zone."""

    name = "even"

    def weights(self, readings: Readings) -> np.ndarray:
        """See `_Rebalancing.weights`."""
        return np.ones(len(self.site.zones))


CONTROLLERS: dict[str, Callable[[Any], Controller]] = {
    "solo": solo,
    "nearest": nearest,
    "least-driving": least_driving,
    "insertion": insertion,
    "batch": batched,
    "even": Even,
    "reactive": Reactive,
    "coverage": Coverage,
    "forecast": Foreseen,
    "standby": Standby,
}
"""Name → constructor of the controller for a site."""

REFERENCES = ("nearest", "insertion", "reactive", "coverage", "standby")
"""Controllers that training is compared with."""

FALLBACK = "reactive"
"""The controller that takes over when a policy cannot answer."""
