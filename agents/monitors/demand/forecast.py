"""A Gamma–Poisson forecast: the usual profile of the day, a level of today's town, and a level of each zone.

Requests of a zone in a slot are Poisson around (usual mean) × (town's level) × (zone's level). Levels have Gamma priors
of mean one (shapes `Levels.town` and `Levels.zone`); given today's counts so far, older slots weighing less
(`Levels.memory_s`), they are Gamma again. Future counts are then negative binomial. Where nothing has been counted
the levels are one, and the forecast's mean is the usual one: the same-hour mean of the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, ValidationError, model_validator
from scipy.optimize import minimize
from scipy.special import gammaln
from scipy.stats import nbinom

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem

DAY_S = 86_400.0
LEAST = 1e-3
"""Requests of a slot that are always possible, so that nothing has probability zero."""

SMOOTH = 2.0
"""Days of a zone's mean over the whole day that a slot's own mean is drawn towards."""

MOST_DAYS = 24
"""Of the days that it learns from, so many are forecast again and again to find how levels vary."""


class Levels(Frozen):
    """How levels vary and are learned.

    Attributes:
        town, zone: shapes of the priors: a level has the standard deviation 1/√shape.
        memory_s: seconds after which a count is worth 1/e.
        spread: share of the posterior's shape that the forecast keeps; less than one: wider than the model says.
    """

    town: float = Field(default=20.0, gt=0)
    zone: float = Field(default=20.0, gt=0)
    memory_s: float = Field(default=3600.0, gt=0)
    spread: float = Field(default=1.0, gt=0)


class Forecast:
    """Numbers of requests to come, negative binomial.

    Args:
        mean: of each zone, ``(…, N)``.
        shape: likewise; infinity would be Poisson.
    """

    def __init__(self, mean: np.ndarray, shape: np.ndarray):
        self.mean, self.shape = np.maximum(mean, LEAST), shape
        self._law = nbinom(shape, shape / (shape + self.mean))

    def quantile(self, share: float) -> np.ndarray:
        """The least number that is not exceeded with so much probability, from 0 to 1.

        Raises:
            CityloopError: if it is no such share.
        """
        if not 0 <= share <= 1:
            raise CityloopError(f"share is {share:g}: give a probability from 0 to 1, such as 0.9")
        return self._law.ppf(share)

    def beyond(self, count: np.ndarray) -> np.ndarray:
        """Probability of more requests than ``count``."""
        return self._law.sf(count)

    def log_score(self, count: np.ndarray) -> np.ndarray:
        """Minus the log probability of the observed counts: the lower, the better."""
        return log_scores(self.mean, self.shape, count)


def log_scores(mean: np.ndarray, shape: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Minus the log probabilities of counts under negative binomials."""
    both = shape + mean
    found = gammaln(count + shape) - gammaln(shape) - gammaln(count + 1.0)
    return -(found + shape * np.log(shape / both) + count * np.log(mean / both))


def levels_after(
    counted: np.ndarray, usual: np.ndarray, ago_s: np.ndarray, levels: Levels
) -> tuple[np.ndarray, np.ndarray]:
    """What counts say of today's levels.

    Args:
        counted: requests in past slots, NaN where nothing is known, ``(T, N)``.
        usual: usual means there, ``(T, N)``.
        ago_s: how long ago each slot was, ``(T,)``.
        levels: the prior.

    Returns:
        Factor on the usual mean, and shape of what remains uncertain, both ``(N,)``.
    """
    known = np.isfinite(counted)
    worth = np.exp(-ago_s / levels.memory_s)[:, None] * known
    seen, due = (worth * np.where(known, counted, 0.0)).sum(axis=0), (worth * usual).sum(axis=0)
    town = (levels.town + seen.sum()) / (levels.town + due.sum())
    shape = levels.zone + seen
    zone = shape / (levels.zone + town * due)
    whole = 1.0 / (1.0 / shape + 1.0 / (levels.town + seen.sum()))
    return town * zone, levels.spread * whole


class DemandForecast(Frozen):
    """A forecast that has learned from past days.

    Attributes:
        zones: their names.
        slot_s: length of a slot.
        usual: mean requests of every zone in each slot of a day.
        levels: how days differ from it.
        days: how many were learned from.
    """

    zones: tuple[str, ...]
    slot_s: float = Field(gt=0)
    usual: tuple[tuple[float, ...], ...] = Field(min_length=1)
    levels: Levels = Levels()
    days: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(len(row) != len(self.zones) or min(row) < 0 for row in self.usual):
            raise ValueError(
                f"usual does not hold {len(self.zones)} numbers of 0 or more for every slot: learn it again"
            )
        return self

    @classmethod
    def learn(
        cls, zones: Sequence[str], counts: np.ndarray, slot_s: float, ahead: Sequence[int] = (3, 12)
    ) -> DemandForecast:
        """Learn the profile, and by maximum likelihood how levels vary.

        Args:
            zones: names, ``N`` of them.
            counts: requests of past days, ``(days, slots, N)``; NaN where unknown.
            slot_s: length of a slot.
            ahead: for forecasts over so many slots.

        Raises:
            CityloopError: if that is too little to learn from.
        """
        counts = _numbers(counts)
        if counts.ndim != 3 or counts.shape[0] < 2 or counts.shape[2] != len(zones) or not counts.size:
            raise CityloopError(f"counts have shape {counts.shape}: give (days, slots, {len(zones)}), two days or more")
        silent = [zone for zone, known in zip(zones, np.isfinite(counts).any(axis=(0, 1)), strict=True) if not known]
        if silent:
            raise CityloopError(
                f"counts of zone {silent[0]!r} are unknown on all days: give days that tell, or leave it out"
            )
        usual = profile(counts)
        try:
            start = cls(zones=tuple(zones), slot_s=slot_s, usual=_rows(usual), days=len(counts))
        except ValidationError as error:
            raise CityloopError(f"forecast: {first_problem(error)}") from None

        def loss(logs: np.ndarray) -> float:
            town, zone, memory_s, spread = np.exp(np.clip(logs, -3.0, 12.0))
            levels = Levels(town=town, zone=zone, memory_s=memory_s, spread=spread)
            return start._score(counts, usual, ahead, levels)

        found = minimize(loss, np.log([20.0, 20.0, 3600.0, 1.0]), method="Nelder-Mead", options={"maxfev": 120})
        town, zone, memory_s, spread = (round(float(x), 4) for x in np.exp(np.clip(found.x, -3.0, 12.0)))
        levels = Levels(town=town, zone=zone, memory_s=memory_s, spread=spread)
        return start.model_copy(update={"levels": levels})

    def _score(self, counts: np.ndarray, usual: np.ndarray, ahead: Sequence[int], levels: Levels) -> float:
        means, shapes, came = [], [], []
        days_known = np.isfinite(counts).sum(axis=0)
        for day in counts[:: max(1, len(counts) // MOST_DAYS)]:
            known = np.isfinite(day)
            count = np.where(known, day, 0.0)
            # as `profile` would have it without the day
            others = usual + np.where(known, usual - count, 0.0) / (np.maximum(days_known - 1, 0) + SMOOTH)
            others = np.maximum(others, LEAST)
            due = np.where(known, others, 0.0)
            for slots in ahead:
                for now in range(1, len(day) - slots + 1, slots):
                    factor, shape = self._levels(day[:now], others, levels)
                    told = known[now : now + slots].any(axis=0)
                    means.append((factor * due[now : now + slots].sum(axis=0))[told])
                    shapes.append(shape[told])
                    came.append(count[now : now + slots].sum(axis=0)[told])
        if not sum(map(len, came)):
            return 0.0
        return float(log_scores(*map(np.concatenate, (means, shapes, came))).mean())

    def _levels(self, counted: np.ndarray, usual: np.ndarray, levels: Levels) -> tuple[np.ndarray, np.ndarray]:
        ago_s = self.slot_s * np.arange(len(counted) - 1, -1, -1.0)
        return levels_after(counted, usual[: len(counted)], ago_s, levels)

    def forecast(self, counted: np.ndarray, seconds: float) -> Forecast:
        """What is to come in so many seconds from now on.

        Where days are 24 h long another follows; else service ends with the day, and nothing comes after it.

        Args:
            counted: requests of today's slots up to now, ``(slots so far, N)``; NaN where unknown, none: no counts.
            seconds: horizon, designed for 900 to 3600; a day at most.

        Raises:
            CityloopError: if there are more slots, or other zones, than were learned, or seconds are not as said.
        """
        usual, counted = np.array(self.usual), _numbers(counted)
        if counted.ndim != 2 or counted.shape[1] != usual.shape[1] or len(counted) > len(usual):
            raise CityloopError(
                f"counts have shape {counted.shape}: give (slots so far, {usual.shape[1]} zones), "
                f"{len(usual)} slots at most"
            )
        if not 0 < seconds <= DAY_S:
            raise CityloopError(f"seconds is {seconds:g}: give more than 0, and {DAY_S:g} at most")
        factor, shape = self._levels(counted, np.maximum(usual, LEAST), self.levels)
        ahead = np.concatenate([usual, usual]) if len(usual) * self.slot_s == DAY_S else usual
        fallen = np.concatenate([np.zeros((1, usual.shape[1])), np.cumsum(ahead, axis=0)])
        ends = np.clip([len(counted), len(counted) + seconds / self.slot_s], 0.0, len(ahead))
        both = [[np.interp(end, np.arange(len(fallen)), column) for column in fallen.T] for end in ends]
        return Forecast(factor * np.subtract(both[1], both[0]), shape)

    def save(self, path: Path) -> None:
        """Write it as plain JSON."""
        self.to_file(path)

    @classmethod
    def load(cls, path: Path) -> DemandForecast:
        """Read what `save` wrote.

        Raises:
            CityloopError: if it is something else.
        """
        return cls.from_file(path, "forecast", "learn it again")


def profile(counts: np.ndarray) -> np.ndarray:
    """Mean requests by slot and zone, ``(slots, N)``, a little towards each zone's mean over the day."""
    known = np.isfinite(counts)
    whole = np.where(known, counts, 0.0).sum(axis=(0, 1)) / np.maximum(known.sum(axis=(0, 1)), 1)
    return (np.where(known, counts, 0.0).sum(axis=0) + SMOOTH * whole) / (known.sum(axis=0) + SMOOTH)


def _numbers(counts: np.ndarray) -> np.ndarray:
    """Counts as floats.

    Raises:
        CityloopError: if they are none.
    """
    try:
        values = np.asarray(counts, dtype=float)
    except (TypeError, ValueError):
        raise CityloopError("counts are no table of numbers: give as many for every slot, NaN where unknown") from None
    if (values < 0).any():
        raise CityloopError(f"counts hold {values[values < 0][0]:g}: give 0 or more, or NaN where unknown")
    return values


def _rows(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 5) for value in row) for row in table)
