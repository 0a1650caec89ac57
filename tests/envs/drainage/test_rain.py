"""Rain: what the input says, and storms whose depth is what was drawn."""

from datetime import datetime

import numpy as np
import pytest
from pydantic import ValidationError

from envs import CityloopError, load_scenario
from envs.drainage.rain import (
    chicago,
    file_rain,
    gauge_places_m,
    look_often,
    storm,
    varied,
)
from envs.drainage.scenarios import DEPTHS_MM, LENGTHS_H, Design, DrainageScenario, Idf, Storms, Varied
from envs.drainage.swmm.inp import Inp
from envs.drainage.swmm.times import series_start

PLACES = np.array([[0.0, 0.0], [3000.0, 0.0], [0.0, 4000.0]])


def test_storms_follow_from_their_seed():
    one, again, other = (storm(Storms(), PLACES, 288, 300, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_storms_have_the_depths_that_were_asked_for():
    depths = [
        storm(Storms(depth_mm=12, depth_spread=0.5), PLACES, 400, 300, seed).mean(axis=1).sum() for seed in range(300)
    ]
    assert np.median(depths) == pytest.approx(12, rel=0.15)
    assert np.std(np.log(depths)) == pytest.approx(0.5, rel=0.2)
    assert min(depths) > 0.5 * DEPTHS_MM[0]


def test_storms_are_as_asked_for_up_to_the_ends_of_what_may_be_asked_for():
    for depth_mm in DEPTHS_MM:
        for hours in LENGTHS_H:
            storms = Storms(depth_mm=depth_mm, depth_spread=0, hours=hours, hours_spread=0)
            table = storm(storms, np.zeros((40, 2)), 288, 300, seed=3)
            assert table.sum(axis=0).mean() == pytest.approx(depth_mm, rel=0.1)
            assert np.count_nonzero(table[:, 0]) <= 12 * hours + 1
    for field, value in (("depth_mm", 121), ("depth_mm", 0.9), ("hours", 15), ("hours", 0.3)):
        with pytest.raises(ValidationError, match=field):
            Storms(**{field: value})


def test_nothing_falls_before_or_below_zero():
    table = storm(Storms(dry_hours=(2.0, 2.0)), PLACES, 288, 300, seed=4)
    assert (table >= 0).all()
    assert not table[:24].any()
    assert table.any()


def test_storms_reach_gauges_at_different_times():
    table = storm(Storms(), PLACES, 288, 300, seed=9)
    assert len({int(np.argmax(column > 0)) for column in table.T}) > 1


@pytest.mark.parametrize(
    ("years", "hours", "intensity"),
    [(2, 1, 73.5), (10, 1, 98.5), (100, 1, 149.7), (2, 0.25, 122.5), (10, 0.25, 164.2), (10, 6, 34.30)],
)
def test_the_curve_gives_kuchings_published_intensities(years, hours, intensity):
    assert Idf().intensity_mmh(years, hours) == pytest.approx(intensity, abs=0.06)


def test_a_chicago_storm_has_the_depth_of_its_curve_and_its_peak_where_it_was_drawn():
    design = Design(years=(10, 10), hours=(2, 2), peak=(0.4, 0.4))
    table = chicago(design, 2, 24 * 60, 60, seed=3)
    assert table[:, 0].sum() == pytest.approx(2 * Idf().intensity_mmh(10, 2))
    np.testing.assert_array_equal(table[:, 0], table[:, 1])
    wet = np.flatnonzero(table[:, 0] > 0)
    assert len(wet) in (120, 121)
    assert np.argmax(table[:, 0]) - wet[0] == pytest.approx(0.4 * 120, abs=1)


@pytest.mark.parametrize("minutes", [10, 30, 60])
def test_every_part_around_the_peak_is_as_hard_as_the_curve_says(minutes):
    design = Design(years=(5, 5), hours=(3, 3), peak=(0.5, 0.5))
    table = chicago(design, 1, 24 * 60, 60, seed=1)[:, 0]
    hardest = np.convolve(table, np.ones(minutes), "valid").max()
    assert hardest == pytest.approx(Idf().intensity_mmh(5, minutes / 60) * minutes / 60, rel=0.02)


def test_recorded_rain_is_read_with_its_date():
    scenario = load_scenario("drainage/astlingen-oct2005")
    inp = Inp(scenario.inp)
    start = series_start(inp, "oct2005raingage1")
    assert f"{start:%Y-%m-%d %H:%M}" == "2005-10-19 00:00"
    gauges = ("RG1", "RG2", "RG3", "RG4")
    table = file_rain(inp, gauges, start, scenario.decisions, 300)
    values = [float(row[3]) for row in inp.rows("TIMESERIES") if row[0] == "oct2005raingage1"]
    assert table[:, 0].sum() == pytest.approx(sum(values[: scenario.decisions]))


@pytest.mark.parametrize(
    ("kind", "interval", "values", "wanted"),
    [
        ("INTENSITY", "1:00", [6.0, 12.0], [0.5] * 12 + [1.0] * 12),  # mm/h
        ("VOLUME", "1:00", [6.0, 12.0], [0.5] * 12 + [1.0] * 12),  # mm an interval
        ("CUMULATIVE", "1:00", [6.0, 18.0], [0.5] * 12 + [1.0] * 12),
    ],
)
def test_every_format_of_rain(tmp_path, kind, interval, values, wanted):
    rows = "\n".join(f"T {hour}:00 {value}" for hour, value in enumerate(values))
    path = tmp_path / "a.inp"
    path.write_text(
        f"[OPTIONS]\nFLOW_UNITS CMS\n[RAINGAGES]\nG {kind} {interval} 1.0 TIMESERIES T\n[TIMESERIES]\n{rows}\n"
    )
    inp = Inp(path)
    table = file_rain(inp, ("G",), datetime(2020, 1, 1), 24, 300)
    np.testing.assert_allclose(table[:, 0], wanted)


def table_of(folder, rows, decisions, kind="INTENSITY", interval="1:00"):
    path = folder / "a.inp"
    path.write_text(
        f"[OPTIONS]\nFLOW_UNITS CMS\n[RAINGAGES]\nG {kind} {interval} 0.5 TIMESERIES T\n[TIMESERIES]\n{rows}\n"
    )
    return file_rain(Inp(path), ("G",), datetime(2020, 1, 1), decisions, 300)[:, 0]


def test_a_value_holds_for_the_gauges_interval_and_no_longer(tmp_path):
    table = table_of(tmp_path, "T 0:00 10\nT 5:00 0", 72)
    np.testing.assert_allclose(table, [10 / 12] * 12 + [0] * 60)  # nor does the snow catch factor touch rain


def test_no_rounding_makes_rain_below_zero(tmp_path):
    for seed in range(10):
        values = np.random.default_rng(seed).gamma(0.3, 3.0, 50).round(2)
        rows = "\n".join(f"T {k // 4}:{k % 4 * 15:02d} {value}" for k, value in enumerate(values))
        table = table_of(tmp_path, rows, 300, interval="0:15")
        assert (table >= 0).all()
        assert (varied(table[:, None], Varied(), seed) >= 0).all()


def test_a_row_without_a_date_goes_on_with_the_last(tmp_path):
    table = table_of(tmp_path, "T 1/1/2020 0:00 10\nT 1:00 4\nT 01-02-2020 0:00 6 1:00 0", 25 * 12)
    np.testing.assert_allclose(table[[0, 11, 12, 23, 24]], np.array([10, 10, 4, 4, 0]) / 12)
    assert table[24 * 12 :].sum() == pytest.approx(6)


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CityloopError, match="time series T has a row 'T 0:00 much': correct it"):
        table_of(tmp_path, "T 0:00 much", 1)
    for row in ("T", "T FILE"):
        with pytest.raises(CityloopError, match="time series T has a row without a value: complete it"):
            table_of(tmp_path, row, 1)


def test_a_series_that_begins_at_no_moment_is_named(tmp_path):
    for first in ("2020-01-05 0:00", "01/05/2020 noon", "01/05/2020 1e99"):
        (tmp_path / "a.inp").write_text(f"[OPTIONS]\nFLOW_UNITS CMS\n[TIMESERIES]\nev1 {first} 20\n")
        with pytest.raises(CityloopError, match=f"time series ev1 begins at '{first}': give month/day/year and H:MM"):
            series_start(Inp(tmp_path / "a.inp"), "ev1")


def test_a_months_factor_is_on_all_rain_as_in_swmm(tmp_path):
    """SWMM reads ahead: the second wet value is read as the first begins, in January, and the third in February."""
    rows = "T 1/31/2020 23:00 12\nT 2/1/2020 1:00 12\nT 2/1/2020 3:00 0\nT 2/1/2020 4:00 12\nT 2/1/2020 5:00 0\n"
    months = "[ADJUSTMENTS]\nRAINFALL 2 3 1 1 1 1 1 1 1 1 1 1\n"
    table = table_of(tmp_path, rows + months, 32 * 24 * 12).reshape(-1, 12).sum(axis=1)
    hours = np.flatnonzero(table)
    assert (hours - 30 * 24).tolist() == [23, 25, 28]
    np.testing.assert_allclose(table[hours], [12, 24, 36])
    with pytest.raises(CityloopError, match=r"\[ADJUSTMENTS\] has a row 'RAINFALL 2 3': give twelve numbers"):
        table_of(tmp_path, "T 0:00 1\nT 1:00 0\n[ADJUSTMENTS]\nRAINFALL 2 3\n", 12)


def test_of_a_row_of_a_series_in_a_file_only_the_first_value_counts_as_in_swmm(tmp_path):
    (tmp_path / "rain.dat").write_text("1/1/2020 0:00 6 1/1/2020 1:00 12\n1/1/2020 2:00 24 # 9\n")
    table = table_of(tmp_path, "T FILE rain.dat", 36)
    np.testing.assert_allclose(table, [0.5] * 12 + [0.0] * 12 + [2.0] * 12)


def test_gauges_without_a_place_are_in_the_middle_of_the_others(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text("[OPTIONS]\nFLOW_UNITS CMS\n[SYMBOLS]\nA 100 0\nB 300 400\n")
    np.testing.assert_allclose(gauge_places_m(Inp(path), ("A", "C", "B")), [[100, 0], [200, 200], [300, 400]])


@pytest.mark.parametrize("row", ["G VOLUME 0:05 1.0", "G VOL 0:05 1.0 TIMESERIES T", "G VOLUME 0:05 1.0 FILE a S"])
def test_a_gauge_whose_rain_is_not_understood_is_refused(tmp_path, row):
    path = tmp_path / "a.inp"
    path.write_text(f"[OPTIONS]\nFLOW_UNITS CMS\n[RAINGAGES]\n{row}\n[TIMESERIES]\nT 0:00 1\n")
    with pytest.raises(CityloopError, match=rf"\[RAINGAGES\] has a row '{row}': give name, INTENSITY, VOLUME or"):
        file_rain(Inp(path), ("G",), datetime(2020, 1, 1), 1, 300)


@pytest.mark.parametrize(("unit", "millimetres"), [("MM", 1.0), ("IN", 25.4)])
def test_rain_of_a_station_in_a_file_of_rain(tmp_path, unit, millimetres):
    path, rain = tmp_path / "a.inp", tmp_path / "rain.dat"
    path.write_text(f'[OPTIONS]\nFLOW_UNITS CFS\n[RAINGAGES]\nG INTENSITY 0:15 1.0 FILE "rain.dat" S1 {unit}\n')
    for content, says in (
        (None, "file .*rain.dat of rain cannot be read"),
        ("S2 2020 1 2 0 0 4\n", "no row of station 'S1'"),
        ("15MS1     QPCPHI20200100020020015 00002  2500 00002\n", "no row of station 'S1' .* weather services"),
        ("S1 2020 1 2 0 0\n", "rain.dat, line 1 is 'S1 2020 1 2 0 0': give station"),
        ("S1 2020 13 2 0 0 4\n", "line 1 is"),
    ):
        if content is not None:
            rain.write_text(content)
        with pytest.raises(CityloopError, match=says):
            file_rain(Inp(path), ("G",), datetime(2020, 1, 2), 12, 300)
    rain.write_text("; rain\nS1 2020 1 2 0 15 4\ns1 2020 1 2 0 45 8\nS2 2020 1 2 0 30 99\n")
    table = file_rain(Inp(path), ("G",), datetime(2020, 1, 2), 12, 300)
    np.testing.assert_allclose(table[:, 0], millimetres * np.repeat([0, 4, 0, 8], 3) / 12)
    assert Inp(path).files() == [rain]


def test_an_input_that_ignores_rain_has_none(tmp_path):
    path = tmp_path / "a.inp"
    head = "[OPTIONS]\nFLOW_UNITS CMS\nIGNORE_RAINFALL YES\n"
    path.write_text(f"{head}[RAINGAGES]\nG VOLUME 0:05 1 TIMESERIES T\n[TIMESERIES]\nT 0:00 5\n")
    assert not file_rain(Inp(path), ("G",), datetime(2020, 1, 2), 6, 300).any()


def test_rain_in_a_file_of_its_own_is_rain(tmp_path):
    head = "[OPTIONS]\nFLOW_UNITS CMS\n[RAINGAGES]\nG VOLUME 0:05 1.0 TIMESERIES Rain\n[TIMESERIES]\n"
    inside, outside = tmp_path / "inside.inp", tmp_path / "outside.inp"
    inside.write_text(head + "Rain 01/02/2020 0:05 1.5\nRain 01/02/2020 0:10 2\n")
    outside.write_text(head + 'rain FILE "my rain.dat"\n')
    start = datetime(2020, 1, 2)
    with pytest.raises(CityloopError, match=r"my rain.dat of time series Rain cannot be read"):
        file_rain(Inp(outside), ("G",), start, 6, 300)
    (tmp_path / "my rain.dat").write_text("; a comment\n01/02/2020 0:05 1.5\n01/02/2020 0:10 2 ; wet\n")
    tables = [file_rain(Inp(path), ("G",), start, 6, 300) for path in (inside, outside)]
    np.testing.assert_array_equal(*tables)
    assert tables[0].sum() == pytest.approx(3.5)
    assert series_start(Inp(outside), "rain") == datetime(2020, 1, 2, 0, 5)


def test_other_rain_in_the_file_is_another_scenario(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text("[OPTIONS]\nFLOW_UNITS CMS\n[TIMESERIES]\nrain FILE rain.dat\n")
    hashes = []
    for value in (1, 1, 2):
        (tmp_path / "rain.dat").write_text(f"0:05 {value}\n")
        hashes.append(DrainageScenario(name="a", inp=path).hash)
    assert hashes[0] == hashes[1] != hashes[2]


RECORD = np.zeros((120, 2))
RECORD[30:42] = [[1.0, 2.0]]


def test_varied_rain_is_the_record_without_spread():
    np.testing.assert_allclose(varied(RECORD, Varied(depth_spread=0, hours_spread=0), seed=3), RECORD, atol=1e-12)


def test_varied_rain_is_deeper_by_one_factor_everywhere():
    table = varied(RECORD, Varied(depth_spread=0.5, hours_spread=0), seed=3)
    factor = table.sum() / RECORD.sum()
    assert factor != pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(table, factor * RECORD, atol=1e-12)


def test_slower_rain_is_as_deep_begins_as_before_and_lasts_longer():
    spread = Varied(depth_spread=0, hours_spread=0.3)
    tables = [varied(RECORD, spread, seed) for seed in range(8)]
    lengths = [np.count_nonzero(table[:, 0] > 1e-9) for table in tables]
    assert min(lengths) < 12 < max(lengths)
    for table in tables:
        np.testing.assert_allclose(table.sum(axis=0), RECORD.sum(axis=0), rtol=1e-9)
        assert np.flatnonzero(table.any(axis=1))[0] == 30


@pytest.mark.parametrize(
    ("was", "seconds", "then"),
    [
        ({"WET_STEP": "0:01:00", "DRY_STEP": "0:05"}, 300, ("0:01:00", "0:05")),
        ({"WET_STEP": "0:15:00", "DRY_STEP": "1:00:00"}, 300, ("0:05:00", "0:05:00")),
        ({"WET_STEP": "0:02:00", "DRY_STEP": "0:04:00"}, 300, ("0:01:40", "0:02:30")),
        ({}, 60, ("0:01:00", "0:01:00")),
    ],
)
def test_swmm_looks_at_rain_as_often_as_it_is_told(tmp_path, was, seconds, then):
    path = tmp_path / "a.inp"
    path.write_text("[OPTIONS]\nFLOW_UNITS CMS\n" + "".join(f"{key} {word}\n" for key, word in was.items()))
    inp = Inp(path)
    look_often(inp, datetime(2020, 1, 1, 22, 17), seconds)
    assert tuple(inp.options[key] for key in ("WET_STEP", "DRY_STEP")) == then


@pytest.mark.parametrize("step", ["never", "0:00", "-1:00", "nan"])
def test_a_step_that_is_none_is_named(tmp_path, step):
    (tmp_path / "a.inp").write_text(f"[OPTIONS]\nFLOW_UNITS CMS\nDRY_STEP {step}\n")
    with pytest.raises(CityloopError, match=rf"a\.inp: DRY_STEP is '{step}': give H:MM:SS"):
        look_often(Inp(tmp_path / "a.inp"), datetime(2020, 1, 1), 300)


@pytest.mark.parametrize(
    ("evaporation", "start", "then"),
    [
        ("CONSTANT 3", datetime(2020, 1, 1, 22, 17), "0:05:00"),
        ("MONTHLY 1 2 3 4 5 6 7 8 9 10 11 12", datetime(2020, 1, 1, 22, 15), "0:05:00"),
        ("MONTHLY 1 2 3 4 5 6 7 8 9 10 11 12", datetime(2020, 1, 1, 22, 17), "0:01:00"),
        ("TEMPERATURE", datetime(2020, 1, 1, 0, 0, 20), "0:00:20"),
        ("TIMESERIES warm", datetime(2020, 1, 1), "0:02:30"),
    ],
)
def test_a_step_ends_where_evaporation_changes(tmp_path, evaporation, start, then):
    path = tmp_path / "a.inp"
    series = "warm 01/01/2020 0:00 1\nwarm 01/01/2020 6:02:30 -1\n"
    steps = "WET_STEP 0:05:00\nDRY_STEP 0:05:00\n"
    path.write_text(f"[OPTIONS]\nFLOW_UNITS CMS\n{steps}[EVAPORATION]\n{evaporation}\n[TIMESERIES]\n{series}")
    inp = Inp(path)
    look_often(inp, start, 300)
    assert tuple(inp.options[key] for key in ("WET_STEP", "DRY_STEP")) == (then, then)
