"""Simulated riders and drivers of one day, as clients of a booking service over HTTP, and an account of its promises.

Drivers follow their plans in a world of their own: streets, batteries and breaks are computed here, not asked for.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import numpy as np

from envs.core.errors import CityloopError
from envs.transit.kernel.charging import battery
from envs.transit.kernel.travel_times import arrive
from envs.transit.site import TransitSite
from envs.transit.sources.day import Day
from serving.booking.settings import BookingSettings, Vehicle

BEGIN = datetime(2026, 3, 2, 6, 0, tzinfo=timezone(timedelta(hours=7)))
"""Begin of the day."""

LATE_S = 1.5
"""Seconds by which a promise may be passed: times go over the wire to the tenth of a second, once a stop."""

STAND_BY, BREAKS = "stand by", {"begin break": "break-began", "end break": "break-ended"}
"""Actions of drivers beside serving riders and charging, and the reports of breaks."""

LOOK_S = 30.0
"""Seconds between looks of drivers at their plans, which may have changed."""


@dataclass
class Driver:
    """A driver, who follows the plan in a world of its own."""

    node: int
    full_m: float
    left_m: float
    rate: float  # metres gained in a second at a charger
    plan: list[dict[str, Any]] = field(default_factory=list)
    seen_s: float = 0.0  # when it was looked at
    wakes: int = 0
    bound: bool = False  # between two corners, or busy at a stop: not to be disturbed
    plugged_s: float = np.nan
    breaks_s: list[float] = field(default_factory=list)  # when each began or ended
    charges: int = 0
    lowest_m: float = np.inf

    def drive(self, metres: float) -> None:
        """Drive a distance."""
        self.left_m -= metres
        self.lowest_m = min(self.lowest_m, self.left_m)

    def unplug(self, now_s: float) -> None:
        """End charging: the battery has gained since it was plugged in."""
        self.left_m = min(self.full_m, self.left_m + self.rate * (now_s - self.plugged_s))
        self.charges += 1


@dataclass
class Kept:
    """One confirmed booking and its course."""

    rider: int
    latest_s: float
    limit_s: float
    earliest_s: float
    picked_s: float = np.nan
    dropped_s: float = np.nan
    excused: bool = False


class SimulatedDay:
    """Riders and drivers of one day.

    Args:
        site: the site.
        day: its requests.
        settings: the vehicles.
        http: client of the service.
        base: address of the site.
        slower: every street takes up to this share longer than the site says.
        seed: of these delays.
    """

    def __init__(
        self,
        site: TransitSite,
        day: Day,
        settings: BookingSettings,
        http: httpx.Client,
        base: str,
        slower: float,
        seed: int,
    ):
        self.site, self.day, self.http, self.base = site, day, http, base
        self.vehicles, self.slower, self.rng = settings.vehicles, slower, np.random.default_rng([seed, 7])
        self.names = [node.id for node in site.nodes]
        self.nodes = {name: k for k, name in enumerate(self.names)}
        self.kept: dict[str, Kept] = {}
        self.by_rider: dict[int, str] = {}
        self.refused: dict[str, int] = {}
        self.took: list[float] = []
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, str, Any]] = []
        self.drivers = {vehicle.id: self._driver(vehicle, settings.charging.kw) for vehicle in settings.vehicles}

    def _driver(self, vehicle: Vehicle, kw: float) -> Driver:
        left_m, full_m, rate = battery(vehicle.range_km, vehicle.kwh_per_km, vehicle.charged, kw)
        return Driver(self.nodes[vehicle.at], full_m, left_m, rate)

    def run(self, until_s: float, show: Callable[[float], object] = lambda now_s: None) -> dict[str, Any]:
        """Play the day up to a moment, and until the last rider has arrived; returns a summary.

        Args:
            until_s: the moment.
            show: called with the time of the played day.

        Raises:
            CityloopError: if nobody asks for anything by then.
        """
        if not (self.day.known_s < until_s).any():
            raise CityloopError(f"nobody asks for a trip in the first {until_s / 3600:g} hours: play longer")
        for r, known_s in enumerate(self.day.known_s):
            if known_s < until_s:
                self._at(float(known_s), "ask", r)
                if np.isfinite(self.day.cancel_s[r]):
                    self._at(float(self.day.cancel_s[r]), "cancel", r)
        self._at(0.0, "look", until_s)
        started = time.perf_counter()
        while self._agenda:
            now_s, _, what, whom = heapq.heappop(self._agenda)
            show(now_s)
            getattr(self, f"_{what}")(now_s, whom)
        return self._summary(time.perf_counter() - started)

    def _at(self, when_s: float, what: str, whom: Any) -> None:
        heapq.heappush(self._agenda, (when_s, next(self._order), what, whom))

    # -- riders ---------------------------------------------------------------------------------------------------

    def _ask(self, now_s: float, r: int) -> None:
        day = self.day
        ends = {"from": self.names[day.origin[r]], "to": self.names[day.destination[r]]}
        size = {"party": int(day.party[r]), "wheelchairs": int(day.wheelchair[r])}
        when = {"depart": _iso(float(day.earliest_s[r])), "at": _iso(now_s)}
        started = time.perf_counter()
        answer = self.http.post(f"{self.base}/bookings", json={"request_id": f"rider-{r}", **ends, **size, **when})
        self.took.append(time.perf_counter() - started)
        body = answer.json()
        if answer.status_code != 200:
            reason = str(body["error"]["value"])
            self.refused[reason] = self.refused.get(reason, 0) + 1
            return
        latest_s, earliest_s = (_seconds(body["pickup"][name]) for name in ("latest", "earliest"))
        self.kept[body["id"]] = Kept(r, latest_s, body["ride_limit_s"], earliest_s)
        self.by_rider[r] = body["id"]
        self._new_plan(now_s, body["vehicle"])

    def _cancel(self, now_s: float, r: int) -> None:
        booking = self.by_rider.get(r)
        if booking is None or np.isfinite(self.kept[booking].picked_s):
            return
        answer = self.http.delete(f"{self.base}/bookings/{booking}", params={"at": _iso(now_s)})
        if answer.status_code == 200:
            self.kept[booking].excused = True
            self._new_plan(now_s, answer.json()["vehicle"])

    # -- drivers --------------------------------------------------------------------------------------------------

    def _look(self, now_s: float, until_s: float) -> None:
        """Let all drivers look at their plans, as riders may have been reassigned."""
        shown = self._get("vehicles")["vehicles"]
        for row in shown:
            self._take(now_s, row["id"], row["plan"])
        if now_s < until_s or any(stop["do"] != STAND_BY for row in shown for stop in row["plan"]):
            self._at(now_s + LOOK_S, "look", until_s)

    def _new_plan(self, now_s: float, vehicle: str) -> None:
        self._take(now_s, vehicle, self._get(f"vehicles/{vehicle}")["plan"])

    def _take(self, now_s: float, vehicle: str, plan: list[dict[str, Any]]) -> None:
        """Give a driver a plan, which begins at once unless something is under way."""
        driver = self.drivers[vehicle]
        driver.plan, driver.seen_s = plan, now_s
        if not driver.bound:
            self._wake(now_s, vehicle)

    def _wake(self, when_s: float, vehicle: str) -> None:
        driver = self.drivers[vehicle]
        driver.wakes += 1
        self._at(when_s, "drive", (vehicle, driver.wakes))

    def _drive(self, now_s: float, whom: tuple[str, int]) -> None:
        """Next action of a driver at a corner with nothing under way: drive on, or serve the stop here."""
        vehicle, wake = whom
        driver = self.drivers[vehicle]
        if wake != driver.wakes:
            return
        if driver.seen_s < now_s:
            driver.plan, driver.seen_s = self._get(f"vehicles/{vehicle}")["plan"], now_s
        if not driver.plan:
            return
        stop = driver.plan[0]
        target = self.nodes[stop["stop"]]
        if driver.node != target:
            matrices = self.site.matrices
            following = int(matrices.hop[driver.node, target])
            free_s = float(matrices.free_s[driver.node, following]) * (1 + self.slower * self.rng.random())
            there_s = arrive(now_s, free_s, self.day.speed, self.day.slot_s)
            driver.drive(float(matrices.metres[driver.node, following]))
            self._go(there_s, "reach", vehicle, following)
        elif stop["do"] == STAND_BY:
            self._tell(now_s, vehicle, "position", corner=self.names[target])
        elif stop["do"] == "drop off":
            self.kept[stop["booking"]].dropped_s = now_s
            self._go(now_s + self.site.timing.alight_s, "done", vehicle, stop)
        elif stop["do"] == "pass":  # by the second in which the service knows it, too
            self._wake(now_s + 1.0, vehicle)
        elif (then_s := _seconds(stop["not_before"] or stop["expected"])) > now_s:
            self._wake(then_s, vehicle)
        elif stop["do"] == "pick up":
            self.kept[stop["booking"]].picked_s = now_s
            self._go(now_s + self.site.timing.board_s, "done", vehicle, stop)
        elif stop["do"] in BREAKS:
            driver.breaks_s.append(now_s)
            self._tell(now_s, vehicle, BREAKS[stop["do"]])
        else:
            self._charge(now_s, vehicle, stop["do"])

    def _charge(self, now_s: float, vehicle: str, does: str) -> None:
        """Plug in or unplug at a charger."""
        driver = self.drivers[vehicle]
        if does == "unplug":
            driver.unplug(now_s)
            self._tell(now_s, vehicle, "unplugged", charge=driver.left_m / driver.full_m)
        else:
            driver.plugged_s = now_s
            self._tell(now_s, vehicle, "plugged-in")

    def _go(self, when_s: float, what: str, vehicle: str, detail: Any) -> None:
        self.drivers[vehicle].bound = True
        self._at(when_s, what, (vehicle, detail))

    def _reach(self, now_s: float, whom: tuple[str, int]) -> None:
        vehicle, node = whom
        self.drivers[vehicle].node = node
        self._tell(now_s, vehicle, "position", corner=self.names[node])

    def _done(self, now_s: float, whom: tuple[str, dict[str, Any]]) -> None:
        vehicle, stop = whom
        booking = stop["booking"]
        kept = self.kept[booking]
        kind = "alighted" if stop["do"] == "drop off" else "boarded"
        if kind == "boarded" and self.day.absent[kept.rider]:
            kind, kept.excused = "no-show", True
        self._tell(now_s, vehicle, kind, booking=booking)

    def _tell(self, now_s: float, vehicle: str, kind: str, **more: Any) -> None:
        """Report an event, and continue with the returned plan."""
        body = {"request_id": f"{vehicle}-{next(self._order)}", "vehicle": vehicle, "kind": kind, "at": _iso(now_s)}
        answer = self.http.post(f"{self.base}/events", json=body | more)
        if answer.status_code != 200:
            raise CityloopError(f"the service refused what {vehicle} reported: {answer.text}")
        self.drivers[vehicle].bound = False
        self._take(now_s, vehicle, answer.json()["vehicle"]["plan"])

    # -- results ------------------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        return self.http.get(f"{self.base}/{path}").raise_for_status().json()

    def _summary(self, took_s: float) -> dict[str, Any]:
        owed = [kept for kept in self.kept.values() if not kept.excused]
        waits = np.array([kept.picked_s - kept.earliest_s for kept in owed])
        late = [k.picked_s > k.latest_s + LATE_S or k.dropped_s - k.picked_s > k.limit_s + LATE_S for k in owed]
        lost = [not np.isfinite(kept.dropped_s) for kept in owed]
        met = waits[np.isfinite(waits)] if np.isfinite(waits).any() else np.array([np.nan])
        asked_ms = 1000 * np.array(self.took)
        handed = sum(len(self._get(f"bookings/{booking}")["handed_over"]) for booking in self.kept)
        return (
            {
                "asked": len(self.took),
                "booked": len(self.kept),
                "refused": self.refused,
                "withdrawn_or_absent": len(self.kept) - len(owed),
                "carried": len(owed) - sum(lost),
                "promises_broken": sum(map(any, zip(late, lost, strict=True))),
                "wait_mean_min": round(float(met.mean()) / 60, 2),
                "wait_p95_min": round(float(np.percentile(met, 95)) / 60, 2),
                "booking_ms": {
                    q: round(float(np.percentile(asked_ms, p)), 1) for q, p in (("median", 50), ("p99", 99))
                },
                "handed_over": handed,
                "seconds": round(took_s, 1),
            }
            | self._batteries()
            | self._breaks()
        )

    def _breaks(self) -> dict[str, Any]:
        """Summary of drivers' breaks: number of those long enough and begun in time."""
        owed = [vehicle for vehicle in self.vehicles if vehicle.rest_min]
        if not owed:
            return {}
        had = 0
        for vehicle in owed:
            first_s, last_s = (3600.0 * (hour - BEGIN.hour) for hour in vehicle.rest_h)
            begin_s, end_s, *_ = [*self.drivers[vehicle.id].breaks_s, np.nan, np.nan]
            in_time = first_s <= begin_s <= last_s + LATE_S
            had += in_time and end_s - begin_s >= 60.0 * vehicle.rest_min - LATE_S
        return {"breaks": f"{had} of {len(owed)}"}

    def _batteries(self) -> dict[str, Any]:
        """Summary of the batteries of electric vehicles."""
        electric = [driver for driver in self.drivers.values() if np.isfinite(driver.full_m)]
        if not electric:
            return {}
        lowest = [min(driver.lowest_m, driver.left_m) / driver.full_m for driver in electric]
        return {
            "charges": sum(driver.charges for driver in electric),
            "lowest_charge_pct": round(100 * min(lowest), 1),
            "ran_empty": sum(share < 0 for share in lowest),
        }


def _iso(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def _seconds(text: str) -> float:
    return (datetime.fromisoformat(text) - BEGIN).total_seconds()
