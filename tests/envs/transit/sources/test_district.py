"""The generated district: one map, many days, and what makes them like the pilot's."""

import re

import numpy as np
import pytest

from envs import CityloopError, load_scenario
from envs.transit import network
from envs.transit.matrices import Matrices
from envs.transit.sources import district
from envs.transit.sources.settings import District, Rain

DAY_S = 14 * 3600.0


@pytest.fixture(scope="module")
def site():
    return network.load_site(load_scenario("transit/hcmc"))


def days(site, seeds=range(12), **settings):
    return [district.day(District(**settings), DAY_S, site.matrices, seed) for seed in seeds]


def test_everybody_can_reach_everybody_and_every_zone_has_a_place_to_stand(site):
    assert np.isfinite(site.matrices.free_s).all()
    assert (site.stands >= 0).all()
    assert all(site.nodes[stand].stop and site.nodes[stand].zone == k for k, stand in enumerate(site.stands))


def test_the_map_is_the_seeds_and_no_episodes():
    one, again, other = (district.build(District(seed=seed)).town for seed in (1, 1, 2))
    assert one == again
    assert one.roads != other.roads


def test_every_corner_of_a_large_map_has_a_name_of_its_own():
    town = district.build(District(rows=60, columns=4, zones=(1, 30))).town
    for places in (town.nodes, town.zones):
        names = [place.id for place in places]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Z]+\d+", name) for name in names)
    assert [zone.id for zone in town.zones[24:28]] == ["Y1", "Z1", "AA1", "AB1"]


def test_only_avenues_cross_the_canal(site):
    columns = District().columns
    canal = columns // 3
    crossings = {
        road.start // columns for road in site.roads if (road.start % columns, road.end % columns) == (canal, canal + 1)
    }
    assert crossings == {0, 4, 8, 10}


def test_days_have_as_many_requests_as_was_said(site):
    found = days(site, rain=Rain(bursts=0))
    mean = np.mean([len(day.origin) for day in found])
    assert mean == pytest.approx(120 * 14, rel=0.1)  # the few that lead nowhere aside
    for day in found:
        assert (np.diff(day.known_s) >= 0).all()
        assert (day.known_s <= day.earliest_s).all()
        assert all(site.nodes[k].stop for k in np.unique([day.origin, day.destination]))


def test_what_is_usual_is_the_mean_of_days(site):
    found = days(site, range(40), rain=Rain(bursts=0))
    counts = np.mean([np.bincount(site.zone_of[day.origin], minlength=12) for day in found], axis=0)
    usual = district.usual(District(rain=Rain(bursts=0)), DAY_S).sum(axis=0)
    np.testing.assert_allclose(counts, usual, rtol=0.15, atol=8)


def test_riders_from_the_metro_come_with_trains():
    rng = np.random.default_rng(0)
    times, origins, _ = district._flow(rng, District(), "from the metro", np.full(100, 3.0))
    assert ((times % district.TRAIN_S) <= 60).all()
    assert len(np.unique(origins)) == 3


def test_rain_slows_streets_and_brings_riders(site):
    dry, wet = (days(site, range(6), rain=Rain(bursts=bursts, minutes=300)) for bursts in (0, 8))
    assert np.mean([day.speed.mean() for day in wet]) < 0.95 * np.mean([day.speed.mean() for day in dry])
    assert np.mean([len(day.origin) for day in wet]) > 1.05 * np.mean([len(day.origin) for day in dry])


def test_it_rains_on_every_day_alike():
    wet = [district._rain(np.random.default_rng(seed), District(), 3 * 288) for seed in range(60)]
    share = np.reshape(wet, (-1, 3, 288)).mean(axis=(0, 2))
    assert share.min() > 0.5 * share.max() > 0


def test_peaks_are_slower(site):
    speed = days(site, [0], rain=Rain(bursts=0))[0].speed
    hour = 6 + np.arange(len(speed)) / 12
    assert speed[hour.searchsorted(7.5)] < 0.8 < speed[hour.searchsorted(13)]


def test_zones_have_to_fit():
    with pytest.raises(CityloopError, match="zones are"):
        load_scenario("transit/hcmc", district__zones=[40, 3])
    with pytest.raises(CityloopError, match="speeds are those that a district draws for each day"):
        load_scenario("transit/hcmc", speeds=[1.0, 0.5])


def test_travel_times_are_those_of_the_roads(site):
    rows = np.array([(road.start, road.end, road.seconds, road.metres) for road in site.roads])
    ends = rows[:, 0].astype(int), rows[:, 1].astype(int)
    assert (site.matrices.free_s[ends] <= rows[:, 2] + 1e-9).all()
    again = Matrices(len(site.nodes), *ends, rows[:, 2], rows[:, 3])
    np.testing.assert_array_equal(again.free_s, site.matrices.free_s)
