"""How urgent a wait is: by what a vehicle's time is worth at the moment. Pure.

An insertion weighs a rider's wait against driving, and against the time of others, by costs that stay the same
(`terms.Costs`). What a vehicle's time is worth does not. Where riders come at a rate r and wait for W in the mean,
r W of them wait at a time (Little 1961). If waits go with a negative power a of the number of vehicles V, one vehicle
less adds, for every second that it is missing, a r W / V seconds of waiting: a times the riders who wait for each
vehicle. Where hardly anybody waits, a vehicle may as well be quick, whatever that takes; where many do, or are turned
away, haste for the one is dear to all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core.readings import Readings
from envs.transit.kpis import REFUSED_MIN
from envs.transit.site import TransitSite
from envs.transit.terms import URGENCY_BASE


@dataclass(frozen=True)
class Haste:
    """How the weight of a wait follows from what a vehicle's time is worth.

    Attributes:
        usual: riders who wait for each vehicle where a wait weighs what the costs say.
        power: of the ratio of that number to the present one, which is the factor on the weight.
    """

    usual: float = 1.5
    power: float = 0.1


USUAL = Haste()
"""Chosen on training days of nyc2015, hcmc and ingolstadt: see `training.tuning.transit`."""

AT_LEAST = 0.5
"""Riders who are taken to wait at least, in the whole town: by chance there may be nobody at the moment."""


def urgency(site: TransitSite, readings: Readings, haste: Haste = USUAL) -> float:
    """What zones may set as their urgency: of the factor on a wait's weight the logarithm to the base
    `terms.URGENCY_BASE`.

    Riders who were refused count as waiting for `kpis.REFUSED_MIN` minutes, as in the headline.
    """
    refused = readings["refused"].sum() * REFUSED_MIN * 60.0 / site.timing.recent_s
    waiting = max(float(readings["waiting"].sum() + refused), AT_LEAST) / site.vehicles
    urgent = haste.power * np.log(haste.usual / waiting) / np.log(URGENCY_BASE)
    return float(np.float32(urgent))  # as exact as a policy can repeat it
