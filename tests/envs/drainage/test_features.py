"""What a gate sees, by hand."""

import numpy as np
import pytest

from envs.drainage.features import GATE_FEATURES, INPUTS, DrainageFeatures
from tests.envs.drainage.small import LOWER, PUMP, READ, UPPER, row


def seen(gate, **changed):
    readings = {name: np.array(values) for name, values in {**READ, **changed}.items()}
    site = row()
    columns = DrainageFeatures(site).encode(readings, np.zeros((3, 0), bool))["gate"][gate]
    return dict(zip(GATE_FEATURES, columns.tolist(), strict=True))


def test_own_tank_and_the_one_below():
    upper = seen(UPPER)
    assert (upper["known"], upper["fill"]) == (1, 0.25)
    assert (upper["below_known"], upper["below_fill"]) == (1, 0.5)
    assert upper["mean_fill"] == 0.375
    assert upper["above_mean"] == upper["above_fullest"] / 2 == -0.125


def test_what_leads_here():
    lower = seen(LOWER)
    assert (lower["upstream_fill"], lower["upstream_open"]) == (0.25, 0.5)
    assert lower["below_known"] == lower["below_fill"] == 0


def test_rain_and_forecast_are_those_of_the_own_catchment():
    upper, lower = seen(UPPER), seen(LOWER)
    assert (upper["rain"], upper["rain_all"]) == (0.5, 1.0)
    assert lower["rain"] == pytest.approx((10 * 0.25 + 30 * 0.75) / 20)
    assert [upper[f"forecast_{lead}"] for lead in (15, 30, 60, 120)] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert upper["forecast_known"] == 1


def test_no_forecast_is_no_dry_forecast():
    upper = seen(UPPER, forecast_mm=[np.nan] * 8)
    assert upper["forecast_known"] == upper["forecast_60"] == 0


def test_a_silent_level_says_nothing():
    upper = seen(UPPER, depth_m=[np.nan, 2.0])
    assert upper["known"] == upper["fill"] == upper["above_mean"] == upper["above_fullest"] == 0
    assert upper["mean_fill"] == 0.5


def test_tide_and_pumps():
    assert seen(PUMP, tide_m=[5.0])["tide_above"] == pytest.approx((5.0 - 4.0) / 2)
    assert seen(PUMP)["pump"] == 1
    assert seen(UPPER, tide_m=[5.0])["tide_above"] == 0, "it does not open to the sea"


@pytest.mark.parametrize("name", INPUTS)
def test_columns_that_are_too_short_are_refused(name):
    with pytest.raises(ValueError, match="readings of another number"):
        seen(UPPER, **{name: READ[name][:-1]})
