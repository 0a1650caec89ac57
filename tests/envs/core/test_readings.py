"""Readings from JSON: the fast path accepts exactly what the check value by value accepts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.core.errors import ReadingError
from envs.core.readings import Column, Schema

SCHEMA = Schema(
    Column("depth_m", "tank", 0, 5, "depth", nullable=True),
    Column("stage", "junction", 0, 3, "stage", integer=True),
    Column("age_s", "junction", 0, 60, "age"),
)
AXES = {"tank": ("T1", "T2", "T3"), "junction": ("J1",)}
FIT = {"depth_m": [0, 2.5, 5.0], "stage": [3], "age_s": [0.25]}


@pytest.mark.parametrize("depths", [[0, 2.5, 5.0], [None, 1, 2.0], [None, None, None], (0.0, 1.0, None)])
def test_what_fits_is_taken(depths: list[float | None]) -> None:
    readings = SCHEMA.validate(FIT | {"depth_m": depths}, AXES)
    assert list(readings) == ["depth_m", "stage", "age_s"]
    assert [None if math.isnan(v) else v for v in readings["depth_m"]] == list(depths)
    assert (readings["stage"], readings["age_s"]) == (3.0, 0.25)
    assert all(values.dtype == np.float64 and values.flags.c_contiguous for values in readings.values())


@pytest.mark.parametrize(
    ("column", "values", "field"),
    [
        ("depth_m", [0, 5.1, -1], "readings.depth_m[1] (tank T2)"),
        ("depth_m", [True, 1, 1], "readings.depth_m[0] (tank T1)"),
        ("depth_m", [None, 1, math.nan], "readings.depth_m[2] (tank T3)"),
        ("depth_m", [1, 1, math.inf], "readings.depth_m[2] (tank T3)"),
        ("depth_m", [1, "1", 1], "readings.depth_m[1] (tank T2)"),
        ("depth_m", [1, 10**400, 1], "readings.depth_m[1] (tank T2)"),
        ("depth_m", [1, 1], "readings.depth_m"),
        ("depth_m", "111", "readings.depth_m"),
        ("stage", [1.5], "readings.stage[0] (junction J1)"),
        ("stage", [None], "readings.stage[0] (junction J1)"),
        ("age_s", [None], "readings.age_s[0] (junction J1)"),
    ],
)
def test_the_first_value_that_does_not_fit_is_named(column: str, values: object, field: str) -> None:
    with pytest.raises(ReadingError) as error:
        SCHEMA.validate(FIT | {column: values}, AXES)
    assert error.value.field == field


def test_sites_of_other_sizes_and_axes_without_identifiers_fit_too() -> None:
    assert len(SCHEMA.validate(FIT, AXES)["depth_m"]) == 3
    assert len(SCHEMA.validate(FIT | {"depth_m": []}, AXES | {"tank": ()})["depth_m"]) == 0


def test_arrays_become_lists_that_are_read_back_alike_and_a_silent_counter_is_null():
    schema = Schema(
        Column("depth_m", "tank", 0, 5, "depth", nullable=True),
        Column("count_veh", "tank", 0, 9, "count", integer=True, nullable=True),
    )
    readings = {"depth_m": np.array([0.5, math.nan, 1.0]), "count_veh": np.array([math.nan, 2.0, 0.0])}
    plain = schema.to_json(readings)
    assert plain == {"depth_m": [0.5, None, 1.0], "count_veh": [None, 2, 0]}
    assert isinstance(plain["count_veh"][1], int)
    back = schema.validate(plain, AXES)
    assert all(np.array_equal(back[name], values, equal_nan=True) for name, values in readings.items())
