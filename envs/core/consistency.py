"""What readings of a site cannot be, given those before: how columns may move, and what must agree with what.

A system declares this beside its `Schema`, in its ``consistency.py``: physics and bookkeeping that need a site and
readings, nothing else. Limits that physics gives stand here; those that only healthy sensors can tell (how far a value
moves in an interval, how long it stays the same) are learned, see `agents.envelope`. Nothing here judges: `residuals`
says how far readings are from what must hold, and whoever watches compares that with a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from envs.core.readings import Readings, Schema
from envs.core.site import Site


@dataclass(frozen=True)
class Plausible:
    """How a column moves. Arrays have one value an identifier, in the site's order; a number stands for all.

    Attributes:
        scale: what values are divided by before they are compared with what was learned, maybe at other sites.
        jumps: whether a sudden change says that the sensor is wrong.
        moves: whether a healthy sensor never stays the same for long, unless it rests.
        rest_low, rest_high: it rests at or below, at or above.
        imputable: whether another value may stand in for a doubtful one; never so for what actuators report of
            themselves, as guards rely on it.
    """

    scale: float | np.ndarray = 1.0
    jumps: bool = True
    moves: bool | np.ndarray = True
    rest_low: float | np.ndarray = -np.inf
    rest_high: float | np.ndarray = np.inf
    imputable: bool = True


@dataclass(frozen=True)
class Rule:
    """Something that holds between the readings of healthy sensors.

    Attributes:
        axis: whose identifiers the residuals run along; empty: one number for the site as a whole.
        doc: what holds, for people: completes "readings contradict each other: …".
        blames: column → for every residual the index of the value that is in doubt where it is too large, -1: none.
        limit: how large a residual may be; infinite: only healthy readings can tell.
    """

    axis: str
    doc: str
    blames: Mapping[str, np.ndarray] = field(default_factory=dict)
    limit: float = np.inf


class Consistency(Protocol):
    """What one site's readings must be like. Pure.

    Attributes:
        interval_s: usual time between two ticks.
        plausible: column → how it moves; all columns of the schema.
        rules: name → rule.
        concerns: axis → which agents rely on which of its identifiers, bool ``(N, len(axis))``.
    """

    @property
    def interval_s(self) -> float: ...  # noqa: D102 - see the class, as of all four

    @property
    def plausible(self) -> Mapping[str, Plausible]: ...  # noqa: D102

    @property
    def rules(self) -> Mapping[str, Rule]: ...  # noqa: D102

    @property
    def concerns(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102

    def residuals(self, before: Readings | None, now: Readings, seconds: float) -> Mapping[str, np.ndarray]:
        """How far readings are from each rule: name → ``(len(axis),)`` or ``(1,)``, 0 where it holds; NaN: unknown.

        Args:
            before: the readings of the tick before; None: there was none, and rules over time are left out.
            now: the readings.
            seconds: between the two.
        """
        ...


class Flat:
    """All columns of a site's readings as one vector, so that a look at every value is a few operations.

    Args:
        schema: the columns.
        site: the site.

    Attributes:
        slices: column → where it lies.
        starts: where each column begins, int64 ``(columns,)``; columns without identifiers have no start.
        names: the columns that have one.
        column: column of every value, as an index into the schema's columns.
        size: number of values.
    """

    def __init__(self, schema: Schema, site: Site):
        self.columns = schema.columns
        counts = [len(site.axes[column.axis]) for column in self.columns]
        ends = np.cumsum(counts)
        self.size = int(ends[-1])
        self.slices = {c.name: slice(int(e) - n, int(e)) for c, e, n in zip(self.columns, ends, counts, strict=True)}
        self.names = tuple(c.name for c, n in zip(self.columns, counts, strict=True) if n)
        self.starts = np.array([self.slices[name].start for name in self.names])
        self.column = np.repeat(np.arange(len(counts)), counts)
        self.ids = [site.axes[column.axis] for column in self.columns]

    def pack(self, readings: Readings) -> np.ndarray:
        """The readings as one vector, float64 ``(size,)``."""
        return np.concatenate([readings[column.name] for column in self.columns], dtype=np.float64)

    def spread(self, value: Mapping[str, float | np.ndarray | bool], default: float | bool) -> np.ndarray:
        """One value a reading, from one (or an array) a column."""
        out = np.full(self.size, default)
        for name, each in value.items():
            out[self.slices[name]] = each
        return out

    def most(self, values: np.ndarray) -> np.ndarray:
        """The largest of every column in `names`."""
        return np.maximum.reduceat(values, self.starts)

    def where(self, k: int) -> tuple[str, int, str]:
        """Column, index within it, and ``axis identifier`` of a value."""
        column = self.columns[self.column[k]]
        index = k - self.slices[column.name].start
        return column.name, index, f"{column.axis} {self.ids[self.column[k]][index]}"
