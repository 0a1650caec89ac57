"""Invariants of a site's readings over time: how columns may change, and which values must agree with each other.

A system declares them beside its `Schema`, in its ``consistency.py``, from physics and bookkeeping that need only a
site and readings. Limits that follow from physics are declared here. Limits that need data of healthy sensors (largest
change in an interval, longest constant run) are learned, see `agents.envelope`. This module does not judge:
`residuals` gives the deviation of readings from each rule, and the caller compares it with a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from envs.core.readings import Readings, Schema, consecutive_slices
from envs.core.site import Site


@dataclass(frozen=True)
class Plausible:
    """Plausible behaviour of a column. Arrays hold one value per identifier, in the site's order; a number is for all.

    Attributes:
        scale: divisor of values before they are compared with learned limits, which may come from other sites.
        jumps: whether a sudden change indicates a faulty sensor.
        moves: whether the value of a healthy sensor never stays constant for long, except at rest.
        rest_low, rest_high: the sensor is at rest at or below the one, and at or above the other.
        imputable: whether a doubtful value may be replaced by an estimate. It is false for values that actuators report
            about themselves, because guards rely on them.
    """

    scale: float | np.ndarray = 1.0
    jumps: bool = True
    moves: bool | np.ndarray = True
    rest_low: float | np.ndarray = -np.inf
    rest_high: float | np.ndarray = np.inf
    imputable: bool = True


@dataclass(frozen=True)
class Rule:
    """A relation between readings that holds while the sensors are healthy.

    Attributes:
        axis: axis along which the residuals run; empty: one residual for the whole site.
        doc: the relation in words; completes "readings contradict each other: …".
        blames: column → for every residual, index of the value that is in doubt if the residual is too large; -1: none.
        limit: largest allowed residual; infinite: the limit is learned from healthy readings.
        only_reported: whether a violation is only reported unless settings say otherwise, as events that readings do
            not show may cause it.
    """

    axis: str
    doc: str
    blames: Mapping[str, np.ndarray] = field(default_factory=dict)
    limit: float = np.inf
    only_reported: bool = False


class Consistency(Protocol):
    """The invariants of one site's readings. Pure.

    Attributes:
        interval_s: usual time between two ticks, in seconds.
        plausible: column → its plausible behaviour, for all columns of the schema.
        rules: name → rule.
        concerns: axis → which agents depend on which of its identifiers, bool ``(N, len(axis))``.
    """

    @property
    def interval_s(self) -> float: ...  # noqa: D102 - the class docstring describes all four properties

    @property
    def plausible(self) -> Mapping[str, Plausible]: ...  # noqa: D102

    @property
    def rules(self) -> Mapping[str, Rule]: ...  # noqa: D102

    @property
    def concerns(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102

    def residuals(self, before: Readings | None, now: Readings, seconds: float) -> Mapping[str, np.ndarray]:
        """Deviation from each rule: name → ``(len(axis),)`` or ``(1,)``; 0 where the rule holds, NaN where unknown.

        Args:
            before: readings of the previous tick; None: there was none, and rules over time are omitted.
            now: readings of this tick.
            seconds: time between the two ticks.
        """
        ...


class Flat:
    """All columns of a site's readings as one vector, so that checks of all values take few array operations.

    Args:
        schema: the columns.
        site: the site.

    Attributes:
        slices: column → its slice of the vector.
        starts: start of each column, int64 ``(columns,)``; columns without identifiers are omitted.
        names: names of the columns in `starts`.
        column: for every value, the index of its column in the schema.
        size: number of values.
    """

    def __init__(self, schema: Schema, site: Site):
        self.columns = schema.columns
        self.ids = [site.axes[column.axis] for column in self.columns]
        counts = {column.name: len(ids) for column, ids in zip(self.columns, self.ids, strict=True)}
        self.size, self.slices = sum(counts.values()), consecutive_slices(counts)
        self.names = tuple(name for name, count in counts.items() if count)
        self.starts = np.array([self.slices[name].start for name in self.names])
        self.column = np.repeat(np.arange(len(counts)), list(counts.values()))

    def pack(self, readings: Readings) -> np.ndarray:
        """The readings as one vector, float64 ``(size,)``."""
        return np.concatenate([readings[column.name] for column in self.columns], dtype=np.float64)

    def spread(self, value: Mapping[str, float | np.ndarray | bool], default: float | bool) -> np.ndarray:
        """One value per reading ``(size,)``, from a number or an array per column.

        Args:
            value: column → its number or array.
            default: value of all other columns.
        """
        out = np.full(self.size, default)
        for name, each in value.items():
            out[self.slices[name]] = each
        return out

    def most(self, values: np.ndarray) -> np.ndarray:
        """Largest value of every column in `names`, ``(len(names),)``."""
        return np.maximum.reduceat(values, self.starts)

    def where(self, k: int) -> tuple[str, int, str]:
        """Column, index within the column, and ``axis identifier`` of the value at index ``k`` of the vector."""
        column = self.columns[self.column[k]]
        index = k - self.slices[column.name].start
        return column.name, index, f"{column.axis} {self.ids[self.column[k]][index]}"
