"""What a zone sees, by hand."""

import numpy as np
import pytest

from envs.transit.features import ZONE_FEATURES, TransitFeatures
from envs.transit.readings import cross_check
from envs.transit.targets import scores_of
from tests.envs.transit.small import READ, three_zones

WEST, MID, EAST = range(3)


def seen(zone, site=None, **changed):
    readings = {name: np.array(values, float) for name, values in {**READ, **changed}.items()}
    columns = TransitFeatures(site or three_zones()).encode(readings, np.zeros((3, 0), bool))["zone"]
    return dict(zip(ZONE_FEATURES, columns[zone].tolist(), strict=True))


def test_counts_are_relative_to_the_vehicles_of_a_zone():
    mid = seen(MID)
    assert (mid["idle_veh"], mid["waiting"], mid["requests"]) == (0, 3 / 4, 9 / 4)
    assert mid["mean_requests"] == pytest.approx(15 / 3 / 4)
    assert mid["expected"] == 6 / 4


def test_near_zones_count_by_the_way_to_them():
    site = three_zones()
    assert site.between_s.tolist() == [[0, 120, 240], [120, 0, 120], [240, 120, 0]]
    west = seen(WEST)
    assert west["near_idle_veh"] == pytest.approx((0 * np.exp(-120 / 300) + 1 * np.exp(-240 / 300)) / 4)
    assert west["near_requests"] == pytest.approx((9 * np.exp(-0.4) + 4 * np.exp(-0.8)) / 4)


def test_the_rule_of_practice_is_shown_as_it_acts():
    found = [seen(zone)["proportional"] for zone in range(3)]
    np.testing.assert_allclose(found, scores_of(np.array([2.5, 9.5, 4.5])), rtol=1e-6)
    assert [seen(zone)["foreseen"] for zone in range(3)] == pytest.approx(
        scores_of(np.array([1.5, 6.5, 2.5])), rel=1e-6
    )


def test_where_nothing_is_expected_recent_requests_stand_for_it():
    mid = seen(MID, expected=[np.nan] * 3)
    assert mid["expected_known"] == 0
    assert mid["expected"] == pytest.approx(9 * 600 / 900 / 4)


def test_more_vehicles_than_there_are_are_refused():
    site = three_zones()
    readings = {name: np.array(values, float) for name, values in READ.items()}
    cross_check(site, readings)
    with pytest.raises(Exception, match="the fleet has 12 vehicles"):
        cross_check(site, {**readings, "idle_veh": np.array([9.0, 0.0, 0.0])})
    with pytest.raises(Exception, match=r"refused\[0\] \(zone west\)"):
        cross_check(site, {**readings, "refused": np.array([3.0, 0.0, 0.0])})
    with pytest.raises(Exception, match="no more can be free soon"):
        cross_check(site, {**readings, "soon_veh": np.array([1e5, 0.0, 0.0])})


def test_what_is_expected_is_summed_over_parts_of_slots():
    site = three_zones(usual=((1.0, 0.0, 2.0), (4.0, 0.0, 0.0), (0.0, 8.0, 0.0)), slot_s=300.0)
    np.testing.assert_allclose(site.expected(150.0, 300.0), [0.5 + 2.0, 0.0, 1.0])
    np.testing.assert_allclose(site.expected(600.0, 3000.0), [0.0, 8.0, 0.0])
    assert np.isnan(three_zones().expected(0.0, 600.0)).all()
