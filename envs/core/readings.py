"""Sensor readings: a typed schema of named columns in physical units, and arrays that follow it.

A system declares its readings once, as a `Schema`. The same declaration shapes the arrays in training, validates the
body of a request in serving, and gives the JSON schema for clients. This module is independent of any system.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from types import NoneType
from typing import Any, Self

import numpy as np

from envs.core.errors import ReadingError

Readings = dict[str, np.ndarray]
"""Column name → float64 array of shape ``(len(axis),)``, in the unit at the end of the name. NaN: no value."""

Axes = Mapping[str, Sequence[str]]
"""Axis name → the identifiers along it, in the order of the arrays."""


@dataclass(frozen=True)
class Column:
    """One column of readings.

    Args:
        name: field name with its unit, e.g. ``queue_veh``.
        axis: the site's axis along which it runs, e.g. ``lane``.
        low: smallest possible value.
        high: largest possible value.
        doc: measured quantity, for people.
        integer: whether only whole numbers are valid.
        nullable: whether a value may be missing (``null`` in JSON, NaN in arrays).
    """

    name: str
    axis: str
    low: float
    high: float
    doc: str
    integer: bool = False
    nullable: bool = False


class Schema:
    """The columns of a system's readings.

    Args:
        *columns: one per quantity.
        idle: column → its value while nothing happens; default: zero, or the possible value nearest to zero.
        void: columns in which null may also mean that there is nothing to measure, such as the speed of no vehicles.
    """

    def __init__(self, *columns: Column, idle: Mapping[str, float] | None = None, void: Collection[str] = ()):
        self.columns, self.void = columns, frozenset(void)
        self.idle = {c.name: float(np.clip(0.0, c.low, c.high)) for c in columns} | dict(idle or {})
        self._by_name = {column.name: column for column in columns}
        self._spans: dict[tuple[int, ...], _Span] = {}  # by the lengths of the columns: one a site, or fewer

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def validate(self, raw: object, axes: Axes) -> Readings:
        """Turn decoded JSON into arrays.

        Args:
            raw: ``{column: [value, …]}`` with one value per identifier, in the site's order.
            axes: the site's identifiers.

        Returns:
            The readings as float64 arrays.

        Raises:
            ReadingError: for the first field that does not fit, with its value and the remedy.
        """
        if not isinstance(raw, Mapping):
            raise ReadingError("readings", _short(raw), f"give an object with the columns {', '.join(self._by_name)}")
        for name in raw:
            if name not in self._by_name:
                raise ReadingError(
                    f"readings.{name}", _short(raw[name]), f"no such column; there are {', '.join(self._by_name)}"
                )
        quick = self._at_a_glance(raw, axes)
        if quick is not None:
            return quick
        return {column.name: self._column(column, raw, axes[column.axis]) for column in self.columns}

    def _at_a_glance(self, raw: Mapping[str, object], axes: Axes) -> Readings | None:
        """Fast path of `validate`: a few operations on one vector of all values.

        A service validates every tick, and a check value by value costs more than the decision itself.

        Returns:
            The readings if all of them fit; None if the slow path has to find the first error.
        """
        lists = [raw.get(column.name) for column in self.columns]
        counts = tuple(len(axes[column.axis]) for column in self.columns)
        if any(type(values) is not list or len(values) != n for values, n in zip(lists, counts, strict=True)):
            return None
        values: list[Any] = list(chain.from_iterable(lists))  # type: ignore[arg-type]
        kinds = set(map(type, values))
        if not kinds <= {float, int, NoneType}:
            return None
        try:
            flat = np.array(values, dtype=np.float64)
        except OverflowError:  # a whole number beyond float64
            return None
        span = self._spans.get(counts) or self._spans.setdefault(counts, _Span.of(self.columns, counts))
        return span.split(flat) if span.fits(flat, values.count(None) if NoneType in kinds else 0) else None

    def _column(self, column: Column, raw: Mapping[str, object], ids: Sequence[str]) -> np.ndarray:
        field = f"readings.{column.name}"
        if column.name not in raw:
            raise ReadingError(field, None, f"the column is missing; give {len(ids)} values ({column.doc})")
        values = raw[column.name]
        if not isinstance(values, (list, tuple, np.ndarray)):
            raise ReadingError(field, _short(values), f"give a list of {len(ids)} values, one for each {column.axis}")
        if len(values) != len(ids):
            raise ReadingError(
                field, f"{len(values)} values", f"give {len(ids)}, one for each {column.axis}, in the site's order"
            )
        out = np.empty(len(ids))
        for k, value in enumerate(values):
            if value is None and column.nullable:
                out[k] = math.nan
                continue
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not number or not column.low <= value <= column.high or (column.integer and value != int(value)):
                where = f"{field}[{k}] ({column.axis} {ids[k]})"
                raise ReadingError(where, _short(value), _accepted(column))
            out[k] = value
        return out

    def json_schema(self, axes: Axes) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of these readings at one site."""
        properties = {}
        for column in self.columns:
            number: dict[str, Any] = {"type": "integer" if column.integer else "number"}
            number |= {"minimum": column.low, "maximum": column.high}
            n = len(axes[column.axis])
            properties[column.name] = {
                "type": "array",
                "description": f"{column.doc}; one value a {column.axis}",
                "items": {"anyOf": [number, {"type": "null"}]} if column.nullable else number,
                "minItems": n,
                "maxItems": n,
            }
        return {
            "type": "object",
            "properties": properties,
            "required": [column.name for column in self.columns],
            "additionalProperties": False,
        }

    def to_json(self, readings: Readings) -> dict[str, list[float | int | None]]:
        """The readings as plain lists: NaN becomes null, whole-number columns become integers."""
        return {column.name: _plain(readings[column.name], column.integer) for column in self.columns}

    def describe(self) -> list[dict[str, Any]]:
        """The columns as plain data, for bundles and documentation; equal exactly if the schemas are equal."""
        return [vars(column) for column in self.columns]


def consecutive_slices(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Slices of a flat vector that holds parts of the given sizes one after the other, by the parts' names."""
    ends = accumulate(sizes.values())
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


@dataclass(frozen=True)
class _Span:
    """All columns of a site in one vector: the slice of each column, and the valid range of each value.

    Attributes:
        slices: column → its slice of the vector.
        low, high: bounds of every value.
        integer: for every value, whether only a whole number is valid.
        nullable: for every value, whether it may be missing.
    """

    slices: Mapping[str, slice]
    low: np.ndarray
    high: np.ndarray
    integer: np.ndarray
    nullable: np.ndarray

    @classmethod
    def of(cls, columns: Sequence[Column], counts: Sequence[int]) -> Self:
        """The span of columns with the given number of values each."""
        slices = consecutive_slices({column.name: count for column, count in zip(columns, counts, strict=True)})

        def spread(name: str) -> np.ndarray:
            return np.repeat([getattr(column, name) for column in columns], counts)

        return cls(slices, spread("low"), spread("high"), spread("integer"), spread("nullable"))

    def fits(self, flat: np.ndarray, silent: int) -> bool:
        """Whether every value is valid.

        Args:
            flat: all values, NaN where missing.
            silent: number of values that were null.
        """
        fit = (flat >= self.low) & (flat <= self.high) & ((flat == np.floor(flat)) | ~self.integer)
        if silent:
            missing = np.isnan(flat)
            if np.count_nonzero(missing) != silent:  # the other NaNs were sent as such
                return False
            fit |= missing & self.nullable
        return np.count_nonzero(fit) == len(fit)

    def split(self, flat: np.ndarray) -> Readings:
        """The columns, as views of the vector."""
        return {name: flat[where] for name, where in self.slices.items()}


def _plain(values: np.ndarray, integer: bool) -> list[float | int | None]:
    return [None if math.isnan(v) else int(v) if integer else v for v in values.tolist()]


def _accepted(column: Column) -> str:
    kind = "a whole number" if column.integer else "a number"
    return f"give {kind} from {column.low:g} to {column.high:g}" + (" or null" if column.nullable else "")


def _short(value: object) -> object:
    text = repr(value)
    return value if len(text) <= 60 else text[:57] + "..."
