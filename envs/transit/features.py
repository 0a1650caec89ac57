"""Readings → features of a zone: its vehicles and riders, those near it, and the whole service.

All zones have the same features, so one policy fits any number of zones and vehicles. Numbers of vehicles and riders
are relative to the mean number of vehicles per zone; all other scales are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Observation
from envs.transit.site import TransitSite
from envs.transit.targets import NOTHING, PSEUDO_REQUESTS, available, demand_weights, scores_of, standby
from envs.transit.urgency import urgency

COUNTED = (
    *("idle_veh", "inbound_veh", "soon_veh", "busy_veh", "aboard", "coming"),
    *("waiting", "booked", "requests", "refused"),
)
"""Readings that count vehicles, parties or requests of a zone."""

NEAR = ("idle_veh", "soon_veh", "waiting", "requests", "expected")
"""Readings that are also summed over the other zones, weighted by nearness."""

ZONE_FEATURES = (
    *COUNTED,
    "expected",
    "expected_known",
    *(f"near_{name}" for name in NEAR),
    *(f"mean_{name}" for name in ("idle_veh", "soon_veh", "busy_veh", "waiting", "requests", "refused", "expected")),
    "proportional",
    "foreseen",
    "hold",
    "standby",
    "urgency",
    "speed",
)
"""Columns of the part ``zone``. ``mean_…``: over all zones. The four before ``urgency`` are scores (`targets`): of
shares in proportion to recent requests, to expected requests, to present vehicles, and to vehicles after the moves of
`standby`. ``urgency`` is the rule's (`urgency`), the same in all zones."""

STATE_FEATURES = ("idle_veh", "soon_veh", "waiting", "requests", "expected", "aboard")
"""Columns of a central critic's state, a row a zone."""

NEAR_S = 300.0
"""Seconds of driving over which a zone's weight among the near ones falls to 1/e."""

LARGEST = 10.0
"""Bound of the absolute value of a feature."""


class TransitFeatures:
    """Encodes the readings of a site.

    Parts of the observation:
        zone ``(N, 30)``: columns `ZONE_FEATURES`.
    """

    def __init__(self, site: TransitSite):
        self.site = site
        n = len(site.zones)
        self.shapes: Mapping[str, tuple[int, ...]] = {"zone": (len(ZONE_FEATURES),)}
        self.state_shape = (n, len(STATE_FEATURES))
        self._scale = max(site.vehicles / n, 1.0)
        weights = np.exp(-np.minimum(site.between_s, 1e6) / NEAR_S)
        np.fill_diagonal(weights, 0.0)
        self._near = weights

    def encode(self, readings: Readings, mask: np.ndarray) -> Observation:
        """The observation of all zones; see the class."""
        return {"zone": self._columns(readings)}

    def _columns(self, readings: Readings) -> np.ndarray:
        counts = {name: readings[name] / self._scale for name in COUNTED}
        known = np.isfinite(readings["expected"])
        timing = self.site.timing
        recent = readings["requests"] * (timing.ahead_s / timing.recent_s)  # used where no forecast is given
        expected = np.where(known, readings["expected"], recent)
        counts["expected"] = expected / self._scale
        columns = [
            *(counts[name] for name in (*COUNTED, "expected")),
            known.astype(np.float64),
            *(self._near @ counts[name] for name in NEAR),
        ]
        for name in ("idle_veh", "soon_veh", "busy_veh", "waiting", "requests", "refused", "expected"):
            columns.append(np.full(len(known), counts[name].mean()))
        columns += [
            scores_of(demand_weights(readings)),
            scores_of(expected + PSEUDO_REQUESTS),
            scores_of(available(readings) + NOTHING),
            scores_of(standby(self.site, readings) + NOTHING),
            np.full(len(known), urgency(self.site, readings)),
            np.full(len(known), float(readings["speed"][0])),
        ]
        return np.clip(np.stack(columns, axis=1), -LARGEST, LARGEST).astype(np.float32)

    def state(self, readings: Readings) -> np.ndarray:
        """Input of a central critic, float32 ``(N, 6)``: columns `STATE_FEATURES`."""
        columns = self._columns(readings)
        return columns[:, [ZONE_FEATURES.index(name) for name in STATE_FEATURES]]
