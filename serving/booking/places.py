"""Places and times: stop names and points to network nodes, wall-clock times to the kernel's seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from envs.transit.matrices import leads_on, there_and_back
from envs.transit.site import TransitSite
from serving.core.refusals import Refused, Unprocessable

DAY_S = 86_400.0


class Unfit(Unprocessable):
    """A request that does not fit the site or the time."""


class Unknown(Refused):
    """A booking or vehicle that is not known."""

    status = 404


class Places:
    """A site's corners by name, and its stops by position.

    Args:
        site: the site.
        walk_m: longest walk to a stop, in metres.
    """

    def __init__(self, site: TransitSite, walk_m: float):
        self.site, self.walk_m = site, walk_m
        self._index = {node.id: k for k, node in enumerate(site.nodes)}
        self._at = np.array([(node.x_m, node.y_m) for node in site.nodes])
        self._wide_m = max(np.hypot(*np.ptp(self._at, axis=0)), 1000.0)
        stops = np.array([node.stop for node in site.nodes])
        open_ = stops & there_and_back(np.isfinite(site.matrices.free_s), stops)
        self._stops = np.flatnonzero(open_ if open_.any() else stops)
        self._around: dict[int, np.ndarray] = {}

    def node(self, name: str, field: str) -> int:
        """A corner by name.

        Raises:
            Unfit: if there is none.
        """
        if name not in self._index:
            raise Unfit(field, name, "no corner of this site: its scene labels them, or give a place as x_m and y_m")
        return self._index[name]

    def nearest(self, x_m: float, y_m: float, among: np.ndarray) -> int:
        """The corner nearest to a point, among those given, bool ``(nodes,)``.

        Raises:
            Unfit: if the point is farther from every corner than the network is wide.
        """
        away = np.hypot(*(self._at - (x_m, y_m)).T)
        if away.min() > self._wide_m:
            near = "give metres, as the site's scene has them"
            raise Unfit("x_m, y_m", [x_m, y_m], f"it is {away.min() / 1000:.0f} km from the nearest corner: {near}")
        return int(np.where(among, away, np.inf).argmin())

    def around(self, node: int) -> np.ndarray:
        """Corners in the streets of a vehicle that is stationed at a node, without dead ends; bool ``(nodes,)``."""
        if node not in self._around:
            joined = np.isfinite(self.site.matrices.free_s)
            self._around[node] = leads_on(joined[:, joined[node]])
        return self._around[node]

    def stop(self, x_m: float, y_m: float, field: str) -> tuple[int, float]:
        """The nearest stop to a point, among those that vehicles can reach and leave again, and the metres to it.

        Raises:
            Unfit: if it is too far to walk.
        """
        away = np.hypot(*(self._at[self._stops] - (x_m, y_m)).T)
        k = int(away.argmin())
        if away[k] > self.walk_m:
            raise Unfit(
                field,
                [x_m, y_m],
                f"the nearest stop is {away[k]:.0f} m away, more than {self.walk_m:g}: walk there",
            )
        return int(self._stops[k]), float(away[k])

    def end(self, given: str | tuple[float, float], field: str) -> tuple[int, float]:
        """Stop and walk for one end of a trip.

        Raises:
            Unfit: if there is no such corner, or no stop near enough.
        """
        if isinstance(given, str):
            node = self.node(given, field)
            if self.site.nodes[node].stop:
                return node, 0.0
            return self.stop(float(self._at[node, 0]), float(self._at[node, 1]), field)
        return self.stop(given[0], given[1], field)


class Calendar:
    """The kernel's seconds: from the midnight before a moment, in the site's timezone.

    Args:
        timezone: name of the zone.
        now: a moment, in seconds since 1970.
    """

    def __init__(self, timezone: str, now: float):
        self.zone = ZoneInfo(timezone)
        self.day = datetime.fromtimestamp(now, self.zone).date()
        self._midnight = self.hour(0, 0.0, absolute=True)

    def date(self, days: int) -> date:
        """The day so many days on."""
        return self.day + timedelta(days=days)

    def hour(self, days: int, hour: float, absolute: bool = False) -> float:
        """A time of a day by its clocks, so many days on: in the kernel's seconds, or in seconds since 1970."""
        day = self.date(days)
        # Not so many hours after midnight: on the days when clocks are changed it would be another time.
        moment = (datetime(day.year, day.month, day.day, tzinfo=self.zone) + timedelta(hours=hour)).timestamp()
        return moment if absolute else moment - self._midnight

    def span(self, days: int, first: float, last: float) -> tuple[float, float]:
        """From one time of a day to another, so many days on. A time that clocks leave out is later by what they do,
        and may then be past the end of the span, which has no length.
        """
        begin_s = self.hour(days, first)
        return begin_s, max(begin_s, self.hour(days, last))

    def by_clock(self, parts: Sequence[float], days: int) -> tuple[np.ndarray, float]:
        """Values of equal parts of a day, by its clocks, over so many days from midnight on: ``(K,)``, and how many
        seconds each of these holds. Where clocks are changed meanwhile, they are of parts of half an hour or less.
        """
        if self.hour(days, 0.0) == days * DAY_S:
            return np.tile(np.array(parts), days), DAY_S / len(parts)
        fine = math.lcm(len(parts), 48)
        length_s = DAY_S / fine
        moments = (self.to_time((k + 0.5) * length_s) for k in range(days * fine))
        clocks = [datetime.fromtimestamp(moment, self.zone) for moment in moments]
        shares = [(60 * clock.hour + clock.minute + clock.second / 60) / 1440 for clock in clocks]
        return np.array([parts[int(share * len(parts))] for share in shares]), length_s

    def service_day(self, hour: float, now: float) -> tuple[str, float]:
        """The day of the service, for days that begin at a given hour, and the seconds since its begin."""
        day = 0 if self.hour(0, hour, absolute=True) <= now else -1
        return self.date(day).isoformat(), now - self.hour(day, hour, absolute=True)

    def holds(self, now: float) -> bool:
        """Whether a moment lies on this calendar's day."""
        return datetime.fromtimestamp(now, self.zone).date() == self.day

    def to_s(self, moment: float) -> float:
        """Seconds since 1970 → the kernel's."""
        return moment - self._midnight

    def to_time(self, seconds: float) -> float:
        """The kernel's seconds → since 1970."""
        return seconds + self._midnight

    def iso(self, moment: float | None) -> str | None:
        """Seconds since 1970 → ISO 8601, to the tenth of a second; None for none."""
        if moment is None or not math.isfinite(moment):
            return None
        return datetime.fromtimestamp(round(moment, 1), self.zone).isoformat(timespec="milliseconds")
