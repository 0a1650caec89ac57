"""Motions from seeds and from files: alike for a seed, of the peak or spectrum asked for, read without guessing."""

import numpy as np
import pytest

from envs import CityloopError
from envs.dampers.assembly import load_site
from envs.dampers.mechanics.frame import modal_response
from envs.dampers.motions.motion import (
    SOILS,
    Motion,
    Spectrum,
    Wind,
    clough_penzien,
    davenport,
    draw,
    envelope,
    facade_n_s_m,
    gusts,
    near_field,
)
from envs.dampers.motions.records import offset_of, read_record
from envs.dampers.motions.spectrum import G, design_spectrum, match, spectrum
from envs.dampers.scenarios import DampersScenario
from tests.data import EL_CENTRO, needs_el_centro
from tests.envs.dampers.shaken import shear_frame

KINDS = ("stochastic", "pulse", "basin", "harmonic")


@pytest.mark.parametrize("kind", KINDS)
def test_a_motion_follows_from_its_seed_and_starts_at_rest(kind):
    motion = Motion(kind=kind, pga_g=0.2, pga_spread=0.0)
    first, again, other = (draw(motion, 20.0, 0.005, 0.7, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first[0] == pytest.approx(0, abs=1e-12)
    assert abs(first).max() == pytest.approx(0.2 * G)
    assert (first == other).all() == (kind == "harmonic")


def test_peaks_are_lognormal_within_their_range():
    motion = Motion(pga_g=0.1, pga_spread=0.5, pga_range_g=(0.06, 0.15))
    peaks = np.array([abs(draw(motion, 5.0, 0.01, 0.7, seed)).max() / G for seed in range(300)])
    assert peaks.min() >= 0.06 - 1e-9
    assert peaks.max() <= 0.15 + 1e-9
    assert np.median(peaks) == pytest.approx(0.1, rel=0.1)


def test_soil_filters_have_the_published_shape():
    """Power of long noise against the closed form of Clough and Penzien, band by band."""
    dt_s, soil = 0.01, SOILS["medium"]
    shaken = clough_penzien(np.random.default_rng(0).normal(size=2**18), soil, dt_s)
    power = abs(np.fft.rfft(shaken)) ** 2 * dt_s
    w = 2 * np.pi * np.fft.rfftfreq(2**18, dt_s)
    wg, zg, wf, zf = soil
    with np.errstate(divide="ignore", invalid="ignore"):
        kanai = (1 + 4 * zg**2 * (w / wg) ** 2) / ((1 - (w / wg) ** 2) ** 2 + 4 * zg**2 * (w / wg) ** 2)
        cut = (w / wf) ** 4 / ((1 - (w / wf) ** 2) ** 2 + 4 * zf**2 * (w / wf) ** 2)
    theory = kanai * cut * power.sum() / (kanai * cut).sum()
    for low, high in ((1, 3), (5, 8), (8, 12), (15, 25)):
        band = (w > low) & (w < high)
        assert power[band].mean() == pytest.approx(theory[band].mean(), rel=0.1)


def test_gusts_have_davenports_spectrum():
    """Power of long noise against the closed form, band by band; all of it makes up 6 κ U²."""
    wind, dt_s = Wind(speed_m_s=30.0), 0.05
    blown = gusts(wind, np.arange(2**19) * dt_s, np.random.default_rng(0))
    frequencies = np.fft.rfftfreq(len(blown), dt_s)
    power = 2 * dt_s / len(blown) * abs(np.fft.rfft(blown)) ** 2
    for low, high in ((0.002, 0.01), (0.01, 0.1), (0.1, 1.0), (1.0, 5.0)):
        band = (frequencies > low) & (frequencies < high)
        assert power[band].mean() == pytest.approx(davenport(wind, frequencies[band]).mean(), rel=0.15)
    assert blown.var() == pytest.approx(6 * 0.005 * 30.0**2, rel=0.1)


def test_a_gust_pushes_as_the_mean_wind_and_the_facade_have_it():
    wind = Wind(speed_m_s=20.0, width_m=12.0, drag=1.2, profile=0.25)
    push = facade_n_s_m(wind, 4.0, 5)
    assert push[1] == pytest.approx(1.25 * 1.2 * 12.0 * 4.0 * 20.0 * 0.8**0.25)
    assert (np.diff(push) > 0).all()


def test_wind_follows_from_its_seed_and_begins_calm():
    first, again, other = (draw(Motion(kind="wind"), 20.0, 0.01, 0.7, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first[0] == 0.0
    assert (first != other).any()
    with pytest.raises(ValueError, match="spectrum is of the ground's motion"):
        Motion(kind="wind", spectrum=Spectrum(sds_g=0.5, sd1_g=0.3))


def test_envelope_and_pulse():
    times = np.arange(0, 20, 0.01)
    shape = envelope(times, 2.0, 10.0, 0.3)
    np.testing.assert_allclose(shape[[100, 500, 1500]], [0.25, 1.0, np.exp(-0.3 * 5)])
    pulse = near_field(times, 5.0, 1.0, 2.0, 0.0)
    assert pulse[(times < 4) | (times > 6)].any() == np.False_
    assert abs(pulse.sum() * 0.01) < 1e-3  # the ground stands still after it


@pytest.mark.parametrize("seed", [0, 1])
def test_a_motion_matched_to_a_spectrum_follows_it(seed):
    target = Spectrum(sds_g=0.5, sd1_g=0.3, low_s=0.15, high_s=2.0)
    matched = draw(Motion(spectrum=target), 20.0, 0.01, 0.7, seed)
    periods = np.geomspace(0.15, 2.0, 40)
    ratio = spectrum(matched, 0.01, periods) / design_spectrum(periods, 0.5, 0.3)
    assert abs(ratio - 1).mean() < 0.05
    assert ratio.min() >= 0.9 - 1e-9


def test_design_spectrum_at_its_corners():
    np.testing.assert_allclose(
        design_spectrum(np.array([0.0, 0.12, 0.6, 1.0, 2.0]), 0.5, 0.3) / G, [0.2, 0.5, 0.5, 0.3, 0.15]
    )


def test_spectrum_of_a_sine_is_the_steady_amplification():
    times = np.arange(0, 60, 0.01)
    found = spectrum(np.sin(2 * np.pi * times), 0.01, np.array([1.0]))[0]
    assert found == pytest.approx(1 / (2 * 0.05), rel=0.02)  # resonance at 5 % damping


@pytest.mark.parametrize(("dt_s", "period_s"), [(0.01, 0.1), (0.01, 3.0), (0.05, 0.2)])
def test_a_spectrum_is_of_the_frame_with_one_storey(dt_s, period_s):
    ground = np.random.default_rng(0).normal(size=1000)  # whose first sample is not zero, either
    fine = max(1, round(10 * dt_s / period_s))
    samples = np.interp(np.arange(999 * fine + 1) / fine, np.arange(1000), ground)
    omega2 = (2 * np.pi / period_s) ** 2
    x, _ = modal_response(shear_frame([1.0], [omega2], 0.05), samples, dt_s / fine)
    assert spectrum(ground, dt_s, np.array([period_s]))[0] == pytest.approx(omega2 * abs(x).max(), rel=1e-9)


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_at2_of_both_ages(tmp_path):
    body = "\n".join(["PEER", "El Centro", "ACCELERATION IN G", "{}", " .1 -.2 .3", " .4 .5"])
    for head in ("NPTS=   5, DT=   .0100 SEC", "   5   0.0100   NPTS, DT"):
        values, dt_s = read_record(write(tmp_path, "a.AT2", body.format(head)))
        np.testing.assert_allclose(values / G, [0.1, -0.2, 0.3, 0.4, 0.5])
        assert dt_s == 0.01


@pytest.mark.parametrize("name", ["a.AT2", "a.csv"])
def test_a_record_may_end_as_files_of_dos_do(tmp_path, name):
    body = "PEER\nHoliday\nACCELERATION IN G\nNPTS= 2, DT= .01\n.1 -.2" if name == "a.AT2" else "0,.1\n.01,-.2"
    values, _ = read_record(write(tmp_path, name, f"{body}\n\x1a\n"))
    np.testing.assert_allclose(values / G, [0.1, -0.2])


def test_accelerations_are_in_the_unit_that_is_named(tmp_path):
    body = "PEER\nHoliday\nACCELERATION TIME SERIES IN UNITS OF {}\nNPTS= 2, DT= .01\n 10 -20\n"
    for unit, said in (("cm/s2", "CM/S/S"), ("cm/s2", "CM/SEC^2"), ("m/s2", "M/S2"), ("cm/s2", "nothing")):
        values, _ = read_record(write(tmp_path, "a.AT2", body.format(said)), unit)
        np.testing.assert_allclose(values, np.array([10.0, -20.0]) * {"cm/s2": 0.01, "m/s2": 1.0}[unit])
    with pytest.raises(CityloopError, match=r"in g, and motion\.unit is m/s2: set it to g"):
        read_record(write(tmp_path, "a.AT2", body.format("G")), "m/s2")


def test_two_columns_with_a_header_and_uneven_steps(tmp_path):
    values, dt_s = read_record(write(tmp_path, "a.csv", "time,acc\n0,0\n1,10\n2,20\n4,40\n"), "cm/s2")
    np.testing.assert_allclose(values, [0, 0.1, 0.2, 0.3, 0.4])
    assert dt_s == 1.0


@pytest.mark.parametrize(("hertz", "decimals"), [(128, 3), (128, 6), (256, 3), (100, 2)])
def test_rounded_times_leave_samples_as_they_are(tmp_path, hertz, decimals):
    own = np.random.default_rng(1).standard_normal(3000).round(4)
    rows = "".join(f"{k / hertz:.{decimals}f} {value}\n" for k, value in enumerate(own))
    values, dt_s = read_record(write(tmp_path, "a.txt", rows))
    np.testing.assert_allclose(values / G, own)
    assert dt_s == pytest.approx(1 / hertz, rel=1e-4)


@pytest.mark.parametrize("steps", [(0.01, 0.02), (0.007, 0.013), (0.005, 0.005, 0.01), (0.02, 0.01, 0.02)])
def test_uneven_steps_leave_peaks_as_high(tmp_path, steps):
    own = np.random.default_rng(1).standard_normal(600).round(4)
    times = np.append(0.0, np.resize(steps, 599).cumsum())
    rows = "".join(f"{time:.3f} {value}\n" for time, value in zip(times, own, strict=True))
    values, dt_s = read_record(write(tmp_path, "a.txt", rows))
    assert abs(values).max() / G == pytest.approx(abs(own).max(), rel=0.03)
    assert dt_s * (len(values) - 1) == pytest.approx(times[-1], abs=0.001)


@pytest.mark.parametrize("head", [b"\xef\xbb\xbf", "Gebäude\n".encode("latin-1"), "Gebäude\n".encode()])
def test_no_sample_is_lost_to_a_mark_or_a_header_of_any_kind(tmp_path, head):
    (tmp_path / "a.txt").write_bytes(head + b"0 .5\n1 1\n2 2\n")
    np.testing.assert_allclose(read_record(tmp_path / "a.txt")[0] / G, [0.5, 1, 2])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("row", ["{},{}", '"{}","{}"', '"{}"\t"{}"', '"{}" ; "{}"'])
def test_spreadsheets_may_quote_and_encode_as_they_like(tmp_path, encoding, row):
    lines = [row.format("time, s", "acc (g)"), *(row.format(k / 100, k / 10) for k in range(4))]
    (tmp_path / "a.csv").write_bytes("\r\n".join(lines).encode(encoding))
    values, dt_s = read_record(tmp_path / "a.csv")
    np.testing.assert_allclose(values / G, [0, 0.1, 0.2, 0.3])
    assert dt_s == pytest.approx(0.01)


@pytest.mark.parametrize("content", ["0,0\n1,1\n".encode("utf-16-le"), "0,0\n".encode("utf-32"), b"PK\x03\x04\x14\0"])
def test_what_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(CityloopError, match=r"a\.csv is no text, or .*: save it as UTF-8"):
        read_record(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.AT2", "x\ny\nz\nnothing\n1 2\n", "line 4 is 'nothing'"),
        ("a.AT2", "x\ny\nz\nNPTS= 2, DT= .0.1\n1 2\n", "line 4 is 'NPTS= 2, DT= .0.1'"),
        ("a.AT2", "x\ny\nz\nNPTS= 2, DT= 1.0D-02\n1 2\n", "line 4 is 'NPTS= 2, DT= 1.0D-02'"),
        ("a.AT2", "x\ny\nz\n2 1.0d-02 NPTS, DT\n1 2\n", "line 4 is '2 1.0d-02 NPTS, DT'"),
        ("a.AT2", "x\ny\nz\nNPTS= 2, DT= 5 MSEC\n1 2\n", "steps of 5 s: give times in seconds"),
        ("a.AT2", "x\ny\nz\nNPTS= 9, DT= .01\n1 2\n", "has 2 finite values, its head says 9"),
        ("a.AT2", "x\ny\nz\nNPTS= 2, DT= .01\n1 2 3\n", "has 3 finite values, its head says 2"),
        ("a.txt", "x\ny\nz\nNPTS= 9, DT= .01\n1 2\n", "has 2 finite values, its head says 9"),
        ("a.AT2", "x\ny\nz\nNPTS= 3, DT= .01\n1 nan 2\n", "has 2 finite values, its head says 3"),
        ("a.AT2", "x\ny\nz\nNPTS= 2, DT= .01\n1 two\n", "no number"),
        ("a.csv", "0,0\n1,1\nbroken\n", "line 3 is 'broken'"),
        ("a.csv", "0,0\n0,1\n", "line 2 is '0,1', after a time of 0: give times that rise"),
        ("a.txt", "11800 .005\n.005 .1\n.01 .2\n", "line 2 is '.005 .1', after a time of 11800"),
        ("a.csv", "0,0\n5,1\n10,2\n", "steps of 5 s: give times in seconds"),
        ("a.EW", "Scale Factor      2000(gal)/8388608\n-18205 -17995 -17836\n", "a K-NET or KiK-net file"),
        ("a.v1", "Uncorrected Accelerogram Data   Processed: 07/06/19, CGS\n1 2 3\n", "a CSMIP file"),
        ("a.v2c", "Corrected acceleration   (Format v01.20 with 13 text lines)\n1 2 3\n", "a COSMOS file"),
        ("a.smc", "2 CORRECTED ACCELEROGRAM  \n*\n2555b\n2011 08 23 1751\n", "an SMC file: give an AT2"),
        ("a.csv", "0,0\n1,1\ninf,0\n", "line 3 is 'inf,0': give numbers"),
        ("a.csv", "nothing\n", "0 rows of numbers"),
        ("a.csv", "".join(f"{k},{k / 100},0.1\n" for k in range(12)), "second column that only rises"),
        ("a.csv", "time [s],acceleration [m/s^2]\n0,0\n1,1\n", "in m/s2, and motion.unit is g: set it to m/s2"),
        ("a.csv", "t;a (cm/sec2)\n0;0\n1;1\n", "in cm/s2, and motion.unit is g"),
        ("a.csv", "time (s), a (m s-2)\n0,0\n1,1\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "t;a (cm·s⁻²)\n0;0\n1;1\n", "in cm/s2, and motion.unit is g"),
        ("a.txt", "t v a\n0 0 0\n.01 .1 .2\n.02 .1 .2\n", "line 2 has a third number: give time"),
        ("a.AT2", "x\ny\nVELOCITY TIME SERIES IN UNITS OF CM/S\nNPTS= 2, DT= .01\n1 2\n", "holds a velocity"),
        ("a.AT2", "x\ny\nACCELERATION IN UNITS OF CM/S/S\nNPTS= 2, DT= .01\n1 2\n", "set it to cm/s2"),
        ("a.csv", "time (s),acceleration (mm/s2)\n0,0\n1,3\n", "in mm/s…: give accelerations in g, m/s2, cm/s2"),
        ("a.csv", "t,a (ft/s^2)\n0,0\n1,3\n", "in ft/s…"),
        ("a.csv", "t,a (in/s2)\n0,0\n1,3\n", "in in/s…"),
        ("a.csv", "t,a (mg)\n0,0\n1,3\n", "in mg…"),
        ("a.csv", "t,a [%g]\n0,0\n1,3\n", "in %g…"),
        ("a.csv", "t,a (m/s**2)\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "t,acceleration in meters/sec^2\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "time_s,accel_m_s2\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "time,acc_cms2\n0,0\n1,3\n", "in cm/s2, and motion.unit is g"),
        ("a.csv", "time,acc_gal\n0,0\n1,3\n", "in cm/s2, and motion.unit is g"),
        ("a.csv", "Time,Acc_m/s^2\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "time,acc_cm/s2\n0,0\n1,3\n", "in cm/s2, and motion.unit is g"),
        ("a.csv", "t,a (m / s^2)\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "t,a (m/(s^2))\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "t,acc_mps2\n0,0\n1,3\n", "in m/s2, and motion.unit is g"),
        ("a.csv", "t,acc_mg\n0,0\n1,3\n", "in mg…"),
        ("a.csv", "t,a (µm/s2)\n0,0\n1,3\n", "in µm/s…"),
        ("a.csv", "t,v (cm/s)\n0,0\n1,3\n", "in cm/s…"),
        ("a.csv", "t,vel_cm_s\n0,0\n1,3\n", "holds a velocity: give the file of accelerations"),
        ("a.csv", "Surin\ntime (s);displacement\n0;0\n1;3\n", "holds a displacement: give the file of accelerations"),
        ("a.csv", "0,0\n.1,1\n.2,1\n.3,1\n1.3,1\n1.4,1\n", "a gap of 1 s after 0.3 s"),
        ("a.csv", "0,0\n1,294\n", "peaks at 294 g: correct motion.unit"),
        ("a.csv", "0,0\n1,0\n", "never moves"),
    ],
)
def test_files_that_are_no_records_say_so(tmp_path, name, text, says):
    with pytest.raises(CityloopError, match=says):
        read_record(write(tmp_path, name, text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "0,0\n1,-999\n2,-999.0\n3,5\n"),
        ("a.csv", "0,0\n1,3\n1.9,-9.99E+02\n2.7,3\n3.1,-999\n"),  # uneven steps
        ("a.AT2", "a\nb\nc\nNPTS= 4, DT= .01\n0 3\n-999. -.999E+03\n"),
    ],
)
def test_a_mark_of_a_missing_value_is_no_acceleration(tmp_path, name, text):
    with pytest.raises(CityloopError, match="holds -999 2 times, which stands for missing values"):
        read_record(write(tmp_path, name, text), "cm/s2")


def test_a_column_named_by_its_unit_is_not_taken_for_another(tmp_path):
    with pytest.raises(CityloopError, match=r"in g, and motion\.unit is m/s2: set it to g"):
        read_record(write(tmp_path, "a.csv", "time_ms,acc_g\n0,0\n1,1\n"), "m/s2")


@pytest.mark.parametrize(
    "head",
    [
        "peak vel 35 mm/s, acceleration in units of g",
        "MG STATION, in g",
        "acceleration in g, scaled to 40 %g",
        "final velocity (cm/s) 0.1\ntime,acc (g)",
        "no residual displacement\ntime,motion [g]",
    ],
)
def test_a_head_that_names_the_unit_may_name_others_of_other_things(tmp_path, head):
    values, _ = read_record(write(tmp_path, "a.csv", f"{head}\n0,0\n1,1\n"))
    assert values[-1] == pytest.approx(G)


@needs_el_centro
def test_an_offset_of_a_record_is_told_and_no_motion_of_ours_seems_to_have_one():
    recorded, dt_s = read_record(EL_CENTRO)
    assert "8.26 m/s" in offset_of(recorded + 0.027 * G, dt_s)
    assert offset_of(np.ones(100), 0.01)
    assert offset_of(recorded, dt_s) is None
    motions = (draw(Motion(kind=kind), 30.0, 0.01, 0.7, seed) for kind in KINDS for seed in range(20))
    assert not any(offset_of(motion, 0.01) for motion in motions)


def test_a_scenario_warns_of_a_record_with_an_offset(tmp_path, caplog):
    sine = np.sin(2 * np.pi * np.arange(1000) / 100)
    for name, offset in (("fine.csv", 0.0), ("off.csv", 0.1)):
        rows = "".join(f"{k / 100},{value}\n" for k, value in enumerate(0.2 * sine + offset))
        motion = {"kind": "record", "record": write(tmp_path, name, rows)}
        load_site(DampersScenario(name="mine", building="jansen", motion=motion, duration_s=1.0))
    (warning,) = (record.message for record in caplog.records)
    assert "off.csv: integrated, the ground ends at 9.8 m/s" in warning
    assert "correct its baseline" in warning


@needs_el_centro
def test_a_record_is_scaled_sped_up_and_ends_in_silence():
    motion = Motion(kind="record", record=EL_CENTRO, speed=5.0, scaled=True, pga_g=0.1)
    shaken = draw(motion, 10.0, 0.001, 0.2, 0)
    assert abs(shaken).max() == pytest.approx(0.1 * G, rel=1e-3)
    assert not shaken[7000:].any()


@needs_el_centro
def test_the_record_moves_a_published_oscillator():
    values, dt_s = read_record(EL_CENTRO)
    x, _ = modal_response(shear_frame([1.0], [(2 * np.pi / 0.5) ** 2], 0.02), values, dt_s)
    assert abs(x).max() == pytest.approx(0.0679400697, rel=1e-3)


def test_a_matched_motion_keeps_its_length_and_begins_and_ends_at_zero():
    matched = match(np.random.default_rng(0).normal(size=1000), 0.01, 0.5, 0.3, 0.2, 1.0)
    assert len(matched) == 1000
    assert abs(matched[[0, -1]]).max() < 1e-3 * abs(matched).max()


@pytest.mark.parametrize("kind", ["stochastic", "pulse", "basin"])
def test_a_matched_motion_is_nowhere_far_below_the_spectrum(kind):
    """Between the periods at which it is matched it fell to 0.79."""
    periods = np.geomspace(0.1, 3.0, 300)
    motion = Motion(kind=kind, spectrum=Spectrum(sds_g=0.5, sd1_g=0.3))
    for seed in range(3):
        ratio = spectrum(draw(motion, 20.0, 0.005, 0.5, seed), 0.005, periods) / design_spectrum(periods, 0.5, 0.3)
        assert ratio.min() > 0.899
