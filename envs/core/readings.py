"""What sensors say: a typed schema of named columns in physical units, and the arrays that fill it.

A system declares its readings once, as a `Schema`. The same declaration shapes the arrays in training, checks the body
of a request in serving, and prints the JSON schema that a client reads. Nothing here knows any system.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.core.errors import ReadingError

Readings = dict[str, np.ndarray]
"""Column name → array of shape ``(len(axis),)``, float64, in the unit that the name ends with. NaN: no value."""

Axes = Mapping[str, Sequence[str]]
"""Axis name → the identifiers along it, in the order of the arrays."""


@dataclass(frozen=True)
class Column:
    """One column of readings.

    Args:
        name: field name with its unit, e.g. ``queue_veh``.
        axis: the site's axis that it runs along, e.g. ``lane``.
        low: smallest possible value.
        high: largest possible value.
        doc: what is measured, for people.
        integer: whether only whole numbers make sense.
        nullable: whether a sensor may be silent (``null`` in JSON, NaN in arrays).
    """

    name: str
    axis: str
    low: float
    high: float
    doc: str
    integer: bool = False
    nullable: bool = False


class Schema:
    """The columns that a system's readings consist of."""

    def __init__(self, *columns: Column):
        self.columns = columns
        self._by_name = {column.name: column for column in columns}

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def validate(self, raw: object, axes: Axes) -> Readings:
        """Turn decoded JSON into arrays.

        Args:
            raw: ``{column: [value, …]}`` with one value an identifier, in the site's order.
            axes: the site's identifiers.

        Returns:
            The readings as float64 arrays.

        Raises:
            ReadingError: naming the first field that does not fit, its value and the mend.
        """
        if not isinstance(raw, Mapping):
            raise ReadingError("readings", _short(raw), f"give an object with the columns {', '.join(self._by_name)}")
        for name in raw:
            if name not in self._by_name:
                raise ReadingError(
                    f"readings.{name}", _short(raw[name]), f"no such column; there are {', '.join(self._by_name)}"
                )
        return {column.name: self._column(column, raw, axes[column.axis]) for column in self.columns}

    def _column(self, column: Column, raw: Mapping[str, object], ids: Sequence[str]) -> np.ndarray:
        field = f"readings.{column.name}"
        if column.name not in raw:
            raise ReadingError(field, None, f"the column is missing; give {len(ids)} values ({column.doc})")
        values = raw[column.name]
        if not isinstance(values, (list, tuple, np.ndarray)):
            raise ReadingError(field, _short(values), f"give a list of {len(ids)} values, one a {column.axis}")
        if len(values) != len(ids):
            raise ReadingError(
                field, f"{len(values)} values", f"give {len(ids)}, one a {column.axis}, in the site's order"
            )
        quick = _all_fit(column, values)
        if quick is not None:
            return quick
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
        """The columns as plain data, for bundles and documentation; equal exactly when the schemas are."""
        return [vars(column) for column in self.columns]


def _all_fit(column: Column, values: Sequence[object] | np.ndarray) -> np.ndarray | None:
    """The values as an array if all of them fit at a glance; None: look at them one by one.

    A service checks every tick, and a look at each value costs more than the decision itself.
    """
    kinds = set(map(type, values))
    if not kinds <= ({float, int, type(None)} if column.nullable else {float, int}):
        return None
    try:
        out = np.array(values, dtype=np.float64)
    except OverflowError:  # a whole number beyond float64
        return None
    fit = (out >= column.low) & (out <= column.high)
    if column.integer:
        fit &= out == np.floor(out)
    silent = list(values).count(None) if type(None) in kinds else 0
    return out if int(np.count_nonzero(fit)) + silent == len(out) else None


def _plain(values: np.ndarray, integer: bool) -> list[float | int | None]:
    if integer:
        return [int(v) for v in values]
    return [None if math.isnan(v) else v for v in values.tolist()]


def _accepted(column: Column) -> str:
    kind = "a whole number" if column.integer else "a number"
    return f"give {kind} from {column.low:g} to {column.high:g}" + (" or null" if column.nullable else "")


def _short(value: object) -> object:
    text = repr(value)
    return value if len(text) <= 60 else text[:57] + "..."
