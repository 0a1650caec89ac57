"""Settings of a fleet: promises to riders, shifts and vehicles, disturbances, and the objective.

Parts of `scenarios.TransitScenario`; those of towns and their demand are in `sources.settings`.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from envs.core.frozen import Frozen

SCORE_RANGE = 8.0
"""Logarithm of the ratio of two zones' shares of the idle vehicles, at scores of 1 and 0; see `targets.shares_of`."""

URGENCY_BASE = 4.0
"""Factor on the weight of a wait at an urgency of 1; its inverse at -1, and 1 at 0."""


class Promise(Frozen):
    """The promise to every rider; a request for which it cannot be kept is refused.

    Attributes:
        wait_s: longest wait, from the wanted time to the arrival of the vehicle.
        ride_factor, ride_allowance_s: a ride takes at most this multiple of the direct one, plus the allowance.
        margin_s: reserve for streets that take longer than known: plans shorten the longest wait and the longest ride
            by it.
    """

    wait_s: float = Field(default=600.0, gt=0, le=7200)
    ride_factor: float = Field(default=1.5, ge=1, le=10)
    ride_allowance_s: float = Field(default=300.0, ge=0, le=7200)
    margin_s: float = Field(default=0.0, ge=0, le=7200)

    @model_validator(mode="after")
    def _within(self) -> Promise:
        most_s = min(self.wait_s, self.ride_allowance_s)
        if self.margin_s and self.margin_s >= most_s:
            raise ValueError(
                f"margin_s is {self.margin_s:g}: keep less in hand than wait_s and ride_allowance_s, below {most_s:g}"
            )
        return self

    @property
    def held(self) -> Promise:
        """The promise that plans keep: reduced by the margin."""
        wait_s, allowance_s = self.wait_s - self.margin_s, self.ride_allowance_s - self.margin_s
        return Promise(wait_s=wait_s, ride_factor=self.ride_factor, ride_allowance_s=allowance_s)


class Crew(Frozen):
    """Vehicles of one kind on one shift. They begin at random stops.

    Attributes:
        vehicles: number of vehicles.
        seats: seats of each.
        places: wheelchair places of each.
        begin_s, end_s: the shift; end 0: until the last rider has arrived.
        rest_s, rest_from_s, rest_until_s: the driver's break: its length, and its earliest and latest beginning;
            length 0: no break.
        range_km: range of a full battery; 0: unlimited. See `kernel.charging`.
        kwh_per_km: consumption, from which charging times follow.
        charged: share of its range that a vehicle has when its shift begins, drawn uniformly between the two.
    """

    vehicles: int = Field(default=24, ge=1, le=10_000)
    seats: int = Field(default=6, ge=1, le=200)
    places: int = Field(default=0, ge=0, le=20)
    begin_s: float = Field(default=0.0, ge=0)
    end_s: float = Field(default=0.0, ge=0)
    rest_s: float = Field(default=0.0, ge=0, le=7200)
    rest_from_s: float = Field(default=0.0, ge=0)
    rest_until_s: float = Field(default=0.0, ge=0)
    range_km: float = Field(default=0.0, ge=0, le=2000)
    kwh_per_km: float = Field(default=0.4, gt=0, le=10)
    charged: tuple[float, float] = (1.0, 1.0)

    @model_validator(mode="after")
    def _ordered(self) -> Crew:
        if self.rest_s and not self.begin_s <= self.rest_from_s < self.rest_until_s:
            raise ValueError(
                f"a break begins from {self.rest_from_s:g} to {self.rest_until_s:g}: "
                "give rest_from_s within the shift, and rest_until_s after it"
            )
        if self.rest_s and self.end_s and self.rest_until_s + self.rest_s > self.end_s:
            raise ValueError(f"a break may last until {self.rest_until_s + self.rest_s:g}, the shift {self.end_s:g}")
        if self.end_s and self.end_s <= self.begin_s:
            raise ValueError(f"end_s is {self.end_s:g}: a shift must end after it begins, at {self.begin_s:g}")
        if not 0 < self.charged[0] <= self.charged[1] <= 1:
            raise ValueError(f"charged is {list(self.charged)}: give two shares above 0, the smaller first, up to 1")
        return self


class Timing(Frozen):
    """Intervals and dwell times.

    Attributes:
        decision_s: seconds between two decisions of the zones; requests are answered at once.
        board_s, alight_s: dwell times for a party.
        reassign_s: at every decision, riders whose pick-up is later than this from now may change vehicles; 0: never.
        recent_s: length of the past in which requests count as recent.
        ahead_s: horizon for expected requests, bookings, and vehicles that are soon free.
    """

    decision_s: int = Field(default=60, ge=15, le=3600)
    board_s: float = Field(default=15.0, ge=0, le=600)
    alight_s: float = Field(default=10.0, ge=0, le=600)
    reassign_s: float = Field(default=0.0, ge=0, le=3600)
    recent_s: float = Field(default=900.0, ge=60, le=7200)
    ahead_s: float = Field(default=600.0, ge=60, le=7200)


class Walk(Frozen):
    """Riders who walk to a stop and from one; see `sources.walking`.

    Attributes:
        metres: longest walk at either end, in a straight line; 0: nobody walks, riders ask at stops.
        mps: speed along that straight line; the actual way is longer.
    """

    metres: float = Field(default=0.0, ge=0, le=5000)
    mps: float = Field(default=1.0, gt=0, le=3)


class Breakdowns(Frozen):
    """Vehicle breakdowns; other vehicles take the riders over if they can, see `kernel.breakdowns`.

    Attributes:
        per_veh_h: mean number per hour of a vehicle's shift; 0: none.
        repair_s: time out of service; the dispatcher does not know when a vehicle will be back.
    """

    per_veh_h: float = Field(default=0.0, ge=0, le=10)
    repair_s: float = Field(default=3600.0, gt=0, le=1e6)


class StreetNoise(Frozen):
    """Deviation of actual travel times from those that the dispatcher knows; see `kernel.unforeseen`.

    Attributes:
        spread: standard deviation of a street's time, as a share of the known time, which is the mean; 0: none.
        lasting_s: time over which the deviation's correlation falls to 1/e.
        together: share of its variance that is common to the streets of a zone.
        incidents_h: mean number of incidents per hour in the whole town; 0: none.
        incident_m: radius of an incident, in a straight line to where streets begin.
        incident_factor: factor on the times of those streets.
        incident_s: mean duration of an incident.
    """

    spread: float = Field(default=0.0, ge=0, le=3)
    lasting_s: float = Field(default=600.0, ge=60, le=1e6)
    together: float = Field(default=0.3, ge=0, le=1)
    incidents_h: float = Field(default=0.0, ge=0, le=1000)
    incident_m: float = Field(default=500.0, ge=0, le=100_000)
    incident_factor: float = Field(default=3.0, ge=1, le=100)
    incident_s: float = Field(default=1200.0, gt=0, le=1e6)

    @property
    def known(self) -> bool:
        """Whether actual travel times are those that the dispatcher knows."""
        return self.spread == 0 and self.incidents_h == 0


class Charging(Frozen):
    """Where and when vehicles with limited range charge; see `kernel.charging`.

    Attributes:
        stops: corners that have chargers.
        count: number of chargers if no stops are named: at stands of zones, far from each other.
        places: vehicles that a charger serves at a time.
        kw: power of a place; a battery charges linearly.
        low: share of its range below which a vehicle goes to a charger as soon as its plan allows.
        until: share of its range up to which it charges.
    """

    stops: tuple[str, ...] = ()
    count: int = Field(default=4, ge=1, le=1000)
    places: int = Field(default=4, ge=1, le=1000)
    kw: float = Field(default=50.0, gt=0, le=1000)
    low: float = Field(default=0.3, gt=0, lt=1)
    until: float = Field(default=0.8, gt=0, le=1)

    @model_validator(mode="after")
    def _upwards(self) -> Charging:
        if self.until <= self.low:
            raise ValueError(f"until is {self.until:g}: a vehicle that is low, at {self.low:g}, must charge to more")
        return self


class Costs(Frozen):
    """Cost of an insertion, per second of driving or delay that it adds.

    The defaults were found by `training.tuning.transit` on training days of nyc2015.

    Attributes:
        vehicle: per second of added driving, at free flow.
        wait, ride: per second of the rider's wait and ride.
        others: per second by which another rider arrives later.
    """

    vehicle: float = Field(default=0.3, ge=0, le=100)
    wait: float = Field(default=1.0, ge=0, le=100)
    ride: float = Field(default=0.3, ge=0, le=100)
    others: float = Field(default=0.5, ge=0, le=100)

    @property
    def tuple(self) -> tuple[float, float, float, float]:
        """The weights in the order of `kernel.insertion`."""
        return self.vehicle, self.wait, self.ride, self.others


class Weights(Frozen):
    """The objective of training: costs.

    Attributes:
        wait: a rider's minute of waiting.
        refused: a refused party.
        ride: a rider's minute beyond the direct ride.
        empty: an empty kilometre.
    """

    wait: float = Field(default=1.0, ge=0)
    refused: float = Field(default=30.0, ge=0)
    ride: float = Field(default=0.3, ge=0)
    empty: float = Field(default=0.1, ge=0)
