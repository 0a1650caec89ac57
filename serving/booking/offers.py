"""Offers for a trip and the advantages of each; or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from envs.transit.live.offers import Offer, Trip
from serving.booking import views
from serving.booking.roster import Roster

STEP_S, STEPS = 300.0, 12
"""Where nothing is possible at the time asked for, later ones are tried: so many steps of so many seconds."""


class NoOffer(Exception):
    """No vehicle can serve a trip.

    Attributes:
        reason: its code.
        mend: a possible alternative.
    """

    def __init__(self, reason: str, mend: str):
        super().__init__(mend)
        self.reason, self.mend = reason, mend

    @property
    def body(self) -> Any:
        """The refusal as an answer."""
        return {"error": {"field": "trip", "value": self.reason, "mend": self.mend}}


def offers_of(roster: Roster, way: Trip, walks: views.Walks, now_s: float, count: int) -> Any:
    """A quote; see `wire.Quote`."""

    def shown(found: Offer, reasons: list[str]) -> Any:
        return views.offer(roster, found, way.origin, way.destination, walks, reasons)

    every = roster.live.all(way, now_s)
    if every:
        chosen = _chosen(every, count)
        offers = [shown(found, reasons) for found, reasons in chosen]
        return {"offers": offers, "refused": None, "later": []}
    later, delay_s = soonest(roster, way, now_s)
    why = why_not(roster, way, now_s, None, later)
    found = [] if later is None else [shown(later, [f"the first within every promise, {delay_s / 60:.0f} min later"])]
    return {"offers": [], "refused": {"reason": why.reason, "mend": why.mend}, "later": found}


def _chosen(every: list[Offer], count: int) -> list[tuple[Offer, list[str]]]:
    """The cheapest, the soonest and the quickest offer, then further cheap ones, each with its advantages."""
    best: dict[int, list[str]] = {}
    traits = [
        ("cheapest for everybody together", lambda offer: offer.cost),
        ("soonest pick-up", lambda offer: offer.begin_s),
        ("earliest arrival", lambda offer: offer.arrive_s),
        ("shortest ride", lambda offer: offer.arrive_s - offer.begin_s),
        ("least added driving", lambda offer: offer.driving_s),
    ]
    for words, trait in traits:
        best.setdefault(int(np.argmin([trait(offer) for offer in every])), []).append(words)
    order = [*best, *(k for k in range(len(every)) if k not in best)]
    chosen = sorted(order[:count])
    return [(every[k], [*best.get(k, []), *_more(every[k])]) for k in chosen]


def _more(offer: Offer) -> list[str]:
    """Further advantages of an offer."""
    words = ["nobody shares the ride" if offer.shared == 0 else f"shared with {offer.shared} on the way"]
    words.append("nobody arrives later" if offer.others == 0 else f"{offer.others} arrive later, within their promises")
    return words


def soonest(roster: Roster, way: Trip, now_s: float, among: Sequence[int] | None = None) -> tuple[Offer | None, float]:
    """The first later time, in steps, at which a trip can be served, by some duties if they are named; and by how
    much it is later.
    """
    for step in range(1, STEPS + 1):
        found = roster.live.best(replace(way, earliest_s=way.earliest_s + step * STEP_S), now_s, among)
        if found is not None:
            return found, step * STEP_S
    return None, 0.0


def why_not(roster: Roster, way: Trip, now_s: float, vehicle: str | None, later: Offer | None = None) -> NoOffer:
    """Reason why no vehicle, or not the requested one, can serve a trip."""
    fleet, calendar = roster.live.fleet, roster.calendar
    mine = np.array([vehicle is None or one.id == vehicle for one in roster.vehicles])
    large = mine & (fleet.room[:, 0] >= way.party) & (fleet.room[:, 1] >= way.wheelchairs)
    subject = "no vehicle" if vehicle is None else f"vehicle {vehicle}"
    fails, works, serves, can = (
        ("has", "works", "is", "can") if vehicle is None else ("has fewer than", "does not work", "is not", "cannot")
    )
    large_one = "no vehicle that is large enough" if vehicle is None else subject
    if not large.any():
        needs = _count(way.party, "seat")
        if way.wheelchairs:
            needs += f" and {_count(way.wheelchairs, 'wheelchair place')}"
        return NoOffer("too_large", f"{subject} {fails} {needs}: split the party")
    latest_s = way.earliest_s + roster.site.promise.wait_s
    working = large & (fleet.shift_s[:, 0] <= latest_s) & (fleet.shift_s[:, 1] > way.earliest_s)
    if not working.any():
        begins = fleet.shift_s[large & (fleet.shift_s[:, 0] > way.earliest_s), 0]
        when = calendar.iso(calendar.to_time(float(begins.min()))) if len(begins) else None
        mend = f"ask for {when} or later" if when else "ask for another day"
        return NoOffer("off_duty", f"{large_one} {works} then: {mend}")
    if not np.isfinite(fleet.at_s[working]).any():
        return NoOffer("out_of_service", f"{large_one} {serves} in service now: ask again later")
    among = None if vehicle is None else roster.rows_of[vehicle]
    if later is None:
        later, _ = soonest(roster, way, now_s, among)
    until = calendar.iso(calendar.to_time(latest_s))
    reason, able = "too_late", f"{subject} {can} pick up by {until} within all promises"
    if roster.live.ranged and roster.live.best_if_charged(way, now_s, among) is not None:
        one = f"{subject} that can pick up by {until} has" if vehicle is None else f"{subject} has not"
        reason, able = "no_charge", f"{one} enough charge for the trip"
    if later is None:
        minutes = STEP_S * STEPS / 60
        return NoOffer(reason, f"{able}, nor in the next {minutes:.0f} minutes: ask for another time")
    return NoOffer(reason, f"{able}: set out at {calendar.iso(calendar.to_time(later.earliest_s))} instead")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")
