"""Rainflow against ASTM's table, endurance against EN 1993-1-9's points, and cycles carried between histories."""

import numpy as np
import pytest

from envs.core.errors import CityloopError
from envs.dampers.mechanics.fatigue import FatigueLedger, SNCurve, cycles, relative_damage
from tests.monitors.buildings import rng

ASTM = (-2, 1, -3, 5, -1, 3, -4, 4, -2)
CURVE = SNCurve(category_mpa=71.0)


def test_astm_e1049_table():
    ranges, counts = cycles(ASTM)
    table = {size: counts[ranges == size].sum() for size in np.unique(ranges)}
    assert table == {3: 0.5, 4: 1.5, 6: 0.5, 8: 1.0, 9: 0.5}


def test_the_curve_meets_its_points():
    assert CURVE.life(np.array([71.0])) == pytest.approx(2e6)
    assert CURVE.knee_mpa == pytest.approx(0.737 * 71, rel=1e-3)
    assert CURVE.cutoff_mpa == pytest.approx(0.549 * CURVE.knee_mpa, rel=1e-3)
    assert CURVE.life(np.array([CURVE.knee_mpa])) == pytest.approx(5e6)
    assert CURVE.life(np.array([CURVE.cutoff_mpa])) == pytest.approx(1e8)
    assert CURVE.life(np.array([0.0, 0.999 * CURVE.cutoff_mpa])).tolist() == [np.inf, np.inf]
    steep = np.log(CURVE.life(np.array([2.0]) * CURVE.knee_mpa) / 5e6) / np.log(2)
    flat = np.log(CURVE.life(np.array([0.7]) * CURVE.knee_mpa) / 5e6) / np.log(0.7)
    assert (steep[0], flat[0]) == (pytest.approx(-3), pytest.approx(-5))
    assert SNCurve(category_mpa=71, partial_factor=1.35).life(np.array([71 / 1.35])) == pytest.approx(2e6)


def test_miner_adds_up():
    assert CURVE.damage(np.array([71.0, CURVE.knee_mpa]), np.array([1e6, 1e6])) == pytest.approx(0.5 + 0.2)
    sine = 35.5 * np.sin(np.linspace(0, 2 * np.pi * 100, 20001))
    assert CURVE.damage(*cycles(sine)) == pytest.approx(100 / 2e6, rel=0.01)


def test_a_ledger_finds_cycles_that_span_histories():
    history = 60 * rng(30).standard_normal(3000).cumsum() / 20
    whole, parts = FatigueLedger(CURVE), FatigueLedger(CURVE)
    whole.add(history)
    for part in np.array_split(history, 7):
        parts.add(part)
    assert whole.damage == pytest.approx(CURVE.damage(*cycles(history)))
    assert parts.damage == pytest.approx(whole.damage, rel=0.02)
    apart = sum(CURVE.damage(*cycles(part)) for part in np.array_split(history, 7))
    assert apart < 0.9 * whole.damage
    before = parts.damage
    parts.add([])
    parts.add([history[-1]])
    assert parts.damage == pytest.approx(before)


def test_two_values_are_half_a_cycle():
    assert [part.tolist() for part in cycles([80.0, -280.0])] == [[360.0], [0.5]]
    assert [part.tolist() for part in cycles([80.0])] == [[], []]


@pytest.mark.parametrize("history", [(-320, 240, -200, 280, -240, 120, 320), (0, 0, -240), (80, -280, -320)])
def test_what_is_still_open_counts_however_little_it_is(history):
    """Two turning points may be left of a history: they are half a cycle still."""
    whole, parts = FatigueLedger(CURVE), FatigueLedger(CURVE)
    whole.add(history)
    for value in history:
        parts.add([value])
    assert whole.damage == pytest.approx(CURVE.damage(*cycles(history)))
    assert whole.damage == pytest.approx(parts.damage)
    assert whole.damage > 0


def test_a_gap_is_refused():
    ledger = FatigueLedger(CURVE)
    with pytest.raises(CityloopError, match=r"history\[1\] is nan: fill gaps"):
        ledger.add([0.0, np.nan])
    assert ledger.damage == 0.0


def test_relative_damage_is_miners_sum_but_for_a_constant():
    assert relative_damage(ASTM) == sum(
        count * size**3 for size, count in {3: 0.5, 4: 1.5, 6: 0.5, 8: 1.0, 9: 0.5}.items()
    )
    assert relative_damage(2.0 * np.array(ASTM)) == 8 * relative_damage(ASTM)
    long = np.array(ASTM) * 100.0  # beyond the knee, where the curve's slope is 3
    ratio = CURVE.damage(*cycles(1.5 * long)) / CURVE.damage(*cycles(long))
    assert ratio == pytest.approx(relative_damage(1.5 * long) / relative_damage(long))
