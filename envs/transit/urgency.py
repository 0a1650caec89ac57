"""Urgency of a wait, from what a vehicle's time is worth at the moment. Pure.

An insertion weighs a rider's wait against driving, and against the time of others, by constant `settings.Costs`.
The value of a vehicle's time is not constant. If riders come at a rate r and wait for W in the mean, r W of them wait
at a time (Little 1961). If waits go with a negative power a of the number of vehicles V, one vehicle less adds, for
every second that it is missing, a r W / V seconds of waiting: a times the riders who wait for each vehicle. Where few
riders wait, a quick pick-up is cheap, whatever driving it takes. Where many wait or are refused, favouring one rider
costs the others much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core.readings import Readings
from envs.transit.record.ledger import REFUSED_MIN
from envs.transit.settings import URGENCY_BASE
from envs.transit.site import TransitSite


@dataclass(frozen=True)
class UrgencyRule:
    """How the weight of a wait follows from the value of a vehicle's time.

    Attributes:
        usual: riders waiting for each vehicle at which the weight is that of the costs.
        power: exponent of the ratio of that number to the present one; the result is the factor on the weight.
    """

    usual: float = 1.5
    power: float = 0.1


USUAL_URGENCY = UrgencyRule()
"""Chosen on training days of nyc2015, hcmc and ingolstadt: see `training.tuning.transit`."""

AT_LEAST = 0.5
"""Lower bound of the waiting riders in the whole town: by chance there may be none at the moment."""


def urgency(site: TransitSite, readings: Readings, rule: UrgencyRule = USUAL_URGENCY) -> float:
    """The urgency to set in every zone: the logarithm of the factor on a wait's weight, to the base
    `settings.URGENCY_BASE`.

    Riders who were refused count as waiting for `ledger.REFUSED_MIN` minutes, as in the headline.
    """
    refused = readings["refused"].sum() * REFUSED_MIN * 60.0 / site.timing.recent_s
    waiting = max(float(readings["waiting"].sum() + refused), AT_LEAST) / site.vehicles
    urgent = rule.power * np.log(rule.usual / waiting) / np.log(URGENCY_BASE)
    return float(np.float32(urgent))  # as exact as a policy can repeat it
