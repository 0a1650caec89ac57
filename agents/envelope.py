"""What a policy has seen: statistics of healthy episodes, kept in its bundle, that new readings are held against.

Two things are kept. *Limits* of what single sensors do at calibrated sites (how far a value moves in an interval, how
long it stays the same, how far columns disagree), and a *distance* of observations from those that the policy knows:
Mahalanobis, by part of the observation, on a shrunk covariance of all rows of all agents. A row is an agent's, or an
approach's of an agent's; rows of one part are alike, so the number of agents may differ from site to site. Features
that never change within an episode are the site's, not the readings', and are left out.

Thresholds are such that healthy episodes that were not used for the fit raise a stated share of false alarms a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem
from envs.core.site import Site
from envs.core.world import Observation

ANYWHERE = "*"
"""Stands for every site that was not calibrated: the widest limits of all that were."""

SHRINK = 0.02
"""Share of a covariance that is replaced by its diagonal, and of a diagonal by one: no direction is impossible."""

LEAST_SPREAD = 0.02
"""Features are made to be of the order of one; a spread below this counts as this."""

MAX_BYTES = 1 << 20
"""Longest envelope that is read."""


class Limits(Frozen):
    """What healthy sensors of a site stay within.

    Attributes:
        low, high: column → least and most, on its own scale.
        change: column → largest change in a usual interval, on its own scale.
        run: column → most ticks that a value stays the same although it does not rest.
        residuals: rule → largest residual.
        agent: largest distance of one agent; None: nobody knows.
        mean: largest mean distance of all agents; None: nobody knows.
    """

    low: dict[str, float] = Field(default_factory=dict)
    high: dict[str, float] = Field(default_factory=dict)
    change: dict[str, float] = Field(default_factory=dict)
    run: dict[str, float] = Field(default_factory=dict)
    residuals: dict[str, float] = Field(default_factory=dict)
    agent: float | None = Field(default=None, gt=0)
    mean: float | None = Field(default=None, gt=0)


class Part(Frozen):
    """How rows of one part of an observation lie.

    Attributes:
        features: which of the part's columns count.
        centre: their medians.
        whiten: ``(features, features)``: rows, less the centre, times this have unit spread in every direction.
        usual: root mean square of such rows that one in a thousand exceeds.
    """

    features: tuple[int, ...]
    centre: tuple[float, ...]
    whiten: tuple[tuple[float, ...], ...]
    usual: float = Field(gt=0)


class Envelope(Frozen):
    """What a policy has seen.

    Attributes:
        format: version of this layout.
        rate: share of healthy ticks that may raise an alarm.
        fitted: scenario → episodes that it was fitted on, in words.
        measured: share of ticks of other healthy episodes that did, by scenario.
        parts: part of the observation → how its rows lie; empty: only sensors' limits are known.
        limits: site, by `site_key` → limits; `ANYWHERE`: all other sites.
    """

    format: int = Field(default=1, ge=1, le=1)
    rate: float = Field(gt=0, lt=1)
    fitted: dict[str, str]
    measured: dict[str, float] = Field(default_factory=dict)
    parts: dict[str, Part]
    limits: dict[str, Limits]

    @model_validator(mode="after")
    def _known_anywhere(self) -> Self:
        if ANYWHERE not in self.limits:
            raise ValueError(f"limits have none for {ANYWHERE!r}, all other sites: add them, or calibrate again")
        return self

    def of(self, site: Site) -> Limits:
        """The limits at a site."""
        return self.limits.get(site_key(site), self.limits[ANYWHERE])

    def knows(self, site: Site) -> bool:
        """Whether it was calibrated at a site."""
        return site_key(site) in self.limits

    @cached_property
    def _matrices(self) -> dict[str, tuple[np.ndarray | slice, np.ndarray, np.ndarray]]:
        found = {}
        for name, part in self.parts.items():
            whiten = np.array(part.whiten) / (part.usual * np.sqrt(len(part.features)))
            features = np.array(part.features)
            every = np.array_equal(features, np.arange(len(features)))
            shift = np.array(part.centre) @ whiten
            pick: np.ndarray | slice = slice(0, len(features)) if every else features
            found[name] = (pick, whiten.astype(np.float32), shift.astype(np.float32))
        return found

    def distances(self, observation: Observation) -> np.ndarray:
        """How far every agent's observation is from what is known, ``(N,)``: 1 is what one row in a thousand exceeds.

        The farthest row of an agent counts. Rows that are zero throughout stand for what is not there.
        """
        worst: np.ndarray | None = None
        for name, (features, whiten, shift) in self._matrices.items():
            part = observation[name]
            rows = part.reshape(-1, part.shape[-1])
            far = rows[:, features] @ whiten
            far -= shift
            squares = np.einsum("ij,ij->i", far, far)
            if part.ndim > 2:
                squares *= rows.any(axis=1)
                squares = squares.reshape(len(part), -1).max(axis=1)
            worst = squares if worst is None else np.maximum(worst, squares)
        assert worst is not None
        return np.sqrt(worst)


def site_key(site: Site) -> str:
    """A hash of a site, whatever it is called."""
    return site.model_copy(update={"name": ""}).hash


def fit_part(rows: np.ndarray, varies: np.ndarray) -> Part | None:
    """How rows lie.

    Args:
        rows: float ``(rows, columns)``, those of things that are there.
        varies: which columns change within an episode, bool ``(columns,)``.
    """
    features = np.flatnonzero(varies)
    if not len(features) or len(rows) < 2:
        return None
    data = rows[:, features].astype(np.float64)
    centre = np.median(data, axis=0)
    away = data - centre
    spread = np.maximum(np.sqrt((away**2).mean(axis=0)), LEAST_SPREAD)
    scaled = away / spread
    covariance = scaled.T @ scaled / len(scaled)
    n = len(features)
    covariance = (1 - SHRINK) * covariance + SHRINK * np.eye(n)
    values, vectors = np.linalg.eigh(covariance)
    whiten = (vectors / np.sqrt(values)) / spread[:, None]
    far = np.sqrt(((away @ whiten) ** 2).mean(axis=1))
    usual = max(float(np.quantile(far, 0.999)), 1e-3)
    return Part(
        features=tuple(features.tolist()),
        centre=tuple(np.round(centre, 6).tolist()),
        whiten=tuple(tuple(float(f"{value:.6g}") for value in row) for row in whiten),
        usual=float(f"{usual:.6g}"),
    )


def widest(limits: Mapping[str, Limits]) -> Limits:
    """The widest of several sites' limits."""
    every = list(limits.values())

    def most(name: str) -> dict[str, float]:
        tables = [getattr(each, name) for each in every]
        keys = dict.fromkeys(key for table in tables for key in table)
        choose = min if name == "low" else max
        return {key: choose(table[key] for table in tables if key in table) for key in keys}

    tables = {name: most(name) for name in ("low", "high", "change", "run", "residuals")}
    agents, means = [each.agent for each in every if each.agent], [each.mean for each in every if each.mean]
    return Limits(**tables, agent=max(agents, default=None), mean=max(means, default=None))


def read_envelope(content: bytes, where: str | Path) -> Envelope:
    """An envelope from JSON.

    Raises:
        CityloopError: naming the place and the first field that does not fit.
    """
    if len(content) > MAX_BYTES:
        raise CityloopError(f"{where} has {len(content)} bytes, an envelope {MAX_BYTES} at most: calibrate it again")
    try:
        return Envelope.model_validate_json(content)
    except ValidationError as error:
        raise CityloopError(f"{where}: {first_problem(error)}") from None
