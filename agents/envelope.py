"""Envelope of a policy: statistics of healthy episodes in its bundle, with which new readings are compared.

It has two parts. *Limits* of single sensors at calibrated sites: range, largest change in an interval, longest constant
run, largest disagreement between columns. And a *distance* of observations from the known ones: the Mahalanobis
distance, by part of the observation, with a shrunk covariance of all rows of all agents. A row belongs to an agent, or
to an approach of an agent; rows of one part are alike, so the number of agents may differ from site to site. Features
that never change within an episode belong to the site, not to the readings, and are left out.

Thresholds are set so that healthy episodes that were not used for the fit raise a stated share of false alarms a tick.
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
"""Key for all sites that were not calibrated; it has the widest limits of the calibrated ones."""

SHRINK = 0.02
"""Fraction of a covariance that is replaced by its diagonal, and of a diagonal by one, so that none is singular."""

LEAST_SPREAD = 0.02
"""Lower bound of a feature's spread; features are scaled to the order of one."""

MAX_BYTES = 1 << 20
"""Largest file that is read as an envelope, in bytes."""


class Limits(Frozen):
    """Limits of healthy sensors at a site.

    Attributes:
        low, high: column → least and largest value, on its own scale.
        change: column → largest change in a usual interval, on its own scale.
        run: column → most ticks for which a value stays constant while not at rest.
        residuals: rule → largest residual.
        agent: largest distance of one agent; None: unknown.
        mean: largest mean distance of all agents; None: unknown.
    """

    low: dict[str, float] = Field(default_factory=dict)
    high: dict[str, float] = Field(default_factory=dict)
    change: dict[str, float] = Field(default_factory=dict)
    run: dict[str, float] = Field(default_factory=dict)
    residuals: dict[str, float] = Field(default_factory=dict)
    agent: float | None = Field(default=None, gt=0)
    mean: float | None = Field(default=None, gt=0)


class Part(Frozen):
    """Distribution of the rows of one part of an observation.

    Attributes:
        features: indices of the columns that are used.
        centre: their medians.
        whiten: matrix ``(features, features)``; centred rows times this have unit spread in every direction.
        usual: root mean square of such rows that one row in a thousand exceeds.
    """

    features: tuple[int, ...]
    centre: tuple[float, ...]
    whiten: tuple[tuple[float, ...], ...]
    usual: float = Field(gt=0)


class Envelope(Frozen):
    """The envelope.

    Attributes:
        format: version of this layout.
        rate: share of healthy ticks that may raise an alarm.
        fitted: scenario → episodes of the fit, in words.
        measured: scenario → share of ticks in other healthy episodes that raised an alarm.
        parts: part of the observation → distribution of its rows; empty: only limits of sensors are known.
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
        """Limits at a site."""
        return self.limits.get(site_key(site), self.limits[ANYWHERE])

    def knows(self, site: Site) -> bool:
        """Whether the envelope was calibrated at a site."""
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
        """Distance of every agent's observation from the known ones, ``(N,)``; one row in a thousand exceeds 1.

        The largest distance over an agent's rows is used. Rows of zeros are padding.
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
    """Hash of a site that does not depend on its name."""
    return site.model_copy(update={"name": ""}).hash


def fit_part(rows: np.ndarray, varies: np.ndarray) -> Part | None:
    """Distribution of rows.

    Args:
        rows: float ``(rows, columns)``, without padding.
        varies: mask of columns that change within an episode, bool ``(columns,)``.
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
    """The widest limits of several sites."""
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
        CityloopError: for the first field that does not fit, with its place.
    """
    if len(content) > MAX_BYTES:
        raise CityloopError(f"{where} has {len(content)} bytes, an envelope {MAX_BYTES} at most: calibrate it again")
    try:
        return Envelope.model_validate_json(content)
    except ValidationError as error:
        raise CityloopError(f"{where}: {first_problem(error)}") from None
