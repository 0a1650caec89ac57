"""Statistics of a site's readings, tick by tick: changes of values, constant runs, and disagreements.

The same statistics serve to learn limits from healthy episodes (`training.bundles.calibrate`) and to check readings
against them in service (`serving.checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from envs.core.consistency import Flat, Plausible
from envs.core.readings import Readings
from envs.core.site import Site
from envs.core.system import System


@dataclass(frozen=True)
class Seen:
    """Statistics of one tick. Arrays run along all readings of the site, see `envs.core.consistency.Flat`.

    Attributes:
        readings: the readings.
        time_s: the plant's clock, in seconds.
        values: the readings as one vector; NaN: missing.
        scaled: the values divided by the columns' scales.
        change: scaled difference from the last trusted value, per usual interval since then; 0: there is none.
        run: number of ticks for which the value has been constant while not at rest.
        residuals: rule → deviation of the readings; NaN: unknown.
    """

    readings: Readings
    time_s: float
    values: np.ndarray
    scaled: np.ndarray
    change: np.ndarray
    run: np.ndarray
    residuals: Mapping[str, np.ndarray]


class Watch:
    """Watch of one site's readings. After every `see`, call `keep` with the values to trust.

    Args:
        system: the site's system.
        site: the site.

    Attributes:
        flat: positions of readings in the vectors.
        consistency: invariants of the readings.
    """

    def __init__(self, system: System, site: Site):
        self.flat = Flat(system.readings, site)
        self.consistency = system.consistency(site)
        plausible = self.consistency.plausible
        self._per_scale = 1.0 / self._spread(plausible, "scale", 1.0)
        self._jumps = self._per_scale * self._spread(plausible, "jumps", True)
        self._moves = self._spread(plausible, "moves", True).astype(bool)
        self._low, self._high = (self._spread(plausible, name, 0.0) for name in ("rest_low", "rest_high"))
        self.imputable = self._spread(plausible, "imputable", True).astype(bool)
        self.reset()

    def _spread(self, plausible: Mapping[str, Plausible], name: str, default: float) -> np.ndarray:
        return self.flat.spread({column: getattr(each, name) for column, each in plausible.items()}, float(default))

    def reset(self) -> None:
        """Forget the episode."""
        self._before: Readings | None = None
        self._before_s = 0.0
        self._last = np.full(self.flat.size, np.nan)
        self._good = np.full(self.flat.size, np.nan)
        self._good_s = np.zeros(self.flat.size)
        self._run = np.zeros(self.flat.size)

    @property
    def good(self) -> np.ndarray:
        """Last trusted value of every reading; NaN: there was none."""
        return self._good

    @property
    def started(self) -> bool:
        """Whether there was a tick before."""
        return self._before is not None

    @property
    def time_s(self) -> float:
        """The plant's clock at the last tick."""
        return self._before_s

    def see(self, readings: Readings, time_s: float) -> Seen:
        """Statistics of a tick; it changes no state except for the lengths of constant runs."""
        values = self.flat.pack(readings)
        same = values == self._last
        same &= self._moves
        same &= (values > self._low) & (values < self._high)
        self._run = (self._run + 1.0) * same
        self._last = values
        steps = np.maximum((time_s - self._good_s) / self.consistency.interval_s, 1.0)
        change = np.fmax(np.abs(values - self._good) * self._jumps / steps, 0.0)  # NaN becomes 0
        residuals = self.consistency.residuals(self._before, readings, time_s - self._before_s)
        return Seen(readings, time_s, values, values * self._per_scale, change, self._run, residuals)

    def keep(self, seen: Seen, readings: Readings, trusted: np.ndarray | None = None) -> None:
        """Remember a tick.

        Args:
            seen: result of `see`.
            readings: the readings, with doubtful values replaced.
            trusted: mask of the values with which later ones are compared; None: all that are not missing.
        """
        heard = ~np.isnan(seen.values)
        if trusted is not None:
            heard &= trusted
        np.copyto(self._good, seen.values, where=heard)
        np.copyto(self._good_s, seen.time_s, where=heard)
        self._before, self._before_s = readings, seen.time_s
