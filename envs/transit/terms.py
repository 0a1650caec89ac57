"""On what terms a fleet works: what riders are promised, who drives when, what befalls it, and what is wanted.

Parts of `scenarios.TransitScenario`; which town they hold in, `sources` says.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from envs.core.frozen import Frozen

SCORE_RANGE = 8.0
"""Logarithm of the ratio of two zones' shares of the idle vehicles, at scores of 1 and 0; see `targets.shares_of`."""

URGENCY_BASE = 4.0
"""Factor on the weight of a wait at an urgency of 1; its inverse at -1, and 1 at 0."""


class Promise(Frozen):
    """What every rider is promised, or is refused.

    Attributes:
        wait_s: from the wanted time until the vehicle is there, at most.
        ride_factor, ride_allowance_s: a ride takes at most this multiple of the direct one, plus so much.
        margin_s: what of both plans keep in hand, for streets that take longer than known: whatever is planned is
            to be so much sooner than promised, and a ride so much shorter.
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
        """What plans are held to: the promise, less what is kept in hand."""
        wait_s, allowance_s = self.wait_s - self.margin_s, self.ride_allowance_s - self.margin_s
        return Promise(wait_s=wait_s, ride_factor=self.ride_factor, ride_allowance_s=allowance_s)


class Crew(Frozen):
    """Vehicles of one kind on one shift. They begin at random stops.

    Attributes:
        vehicles: how many.
        seats: of each.
        places: of each, for wheelchairs.
        begin_s, end_s: of the shift; end 0: works on until the last rider is there.
        rest_s, rest_from_s, rest_until_s: the driver's break: how long, and when it begins at the earliest and latest;
            0 s: none.
        range_km: how far a full battery lasts; 0: there is nothing to be heeded. See `kernel.charging`.
        kwh_per_km: what that takes, which says how long charging takes.
        charged: share of its range that a vehicle has when its shift begins, drawn evenly between these two.
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
    """When things happen.

    Attributes:
        decision_s: seconds between two decisions of the zones; requests are answered at once.
        board_s, alight_s: how long a vehicle stands for a party.
        reassign_s: at every decision, who is to be picked up later than this from now may be given to another vehicle;
            0: nobody ever is.
        recent_s: requests of so many past seconds are counted as recent.
        ahead_s: what is expected, booked, or soon free, is counted for so many seconds to come.
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
        metres: at either end at most, as the crow flies; 0: nobody walks, riders are where they ask from.
        mps: how fast, along that line: the way is longer.
    """

    metres: float = Field(default=0.0, ge=0, le=5000)
    mps: float = Field(default=1.0, gt=0, le=3)


class Breakdowns(Frozen):
    """Vehicles that break down. Others take over whom they can; see `kernel.breakdowns`.

    Attributes:
        per_veh_h: mean number in an hour of a vehicle's shift; 0: none.
        repair_s: how long a vehicle is out of service; the dispatcher does not know when it will be back.
    """

    per_veh_h: float = Field(default=0.0, ge=0, le=10)
    repair_s: float = Field(default=3600.0, gt=0, le=1e6)


class Streets(Frozen):
    """How much longer, or less long, streets take than the dispatcher knows; see `kernel.unforeseen`.

    Attributes:
        spread: standard deviation of the time that a street takes, as a share of what is known, which is the mean; 0:
            it is just as known.
        lasting_s: how long that lasts: over so many seconds its correlation falls to 1/e.
        together: share of its variance that is common to the streets of a zone.
        incidents_h: mean number of incidents an hour, somewhere in the town; 0: none.
        incident_m: how far one reaches, to where streets begin, as the crow flies.
        incident_factor: so many times as long those streets take.
        incident_s: until it is over, in the mean.
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
        """Whether streets take just as long as the dispatcher knows."""
        return self.spread == 0 and self.incidents_h == 0


class Charging(Frozen):
    """Where and when vehicles with a range charge; see `kernel.charging`.

    Attributes:
        stops: corners that have chargers.
        count: where none are named, so many stands of zones, far from each other.
        places: at each, for one vehicle at a time.
        kw: of a place; a battery charges evenly.
        low: who has less than this share of its range goes there as soon as its plan allows.
        until: share at which it has charged enough.
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
    """What an insertion costs, for each second of delay or driving that it adds.

    The defaults were found by `training.tuning.transit` on training days of nyc2015.

    Attributes:
        vehicle: of added driving, at free flow.
        wait, ride: of the rider.
        others: by which others arrive later.
    """

    vehicle: float = Field(default=0.3, ge=0, le=100)
    wait: float = Field(default=1.0, ge=0, le=100)
    ride: float = Field(default=0.3, ge=0, le=100)
    others: float = Field(default=0.5, ge=0, le=100)

    @property
    def tuple(self) -> tuple[float, float, float, float]:
        """In the kernel's order."""
        return self.vehicle, self.wait, self.ride, self.others


class Weights(Frozen):
    """What is wanted, for training: what each thing costs.

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
