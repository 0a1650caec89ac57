"""The storeys' monitor: its estimate against a frame of known stiffness, what it hears, and what it says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agents import POLICY, make_controller
from agents.monitors.storeys import (
    SHIPPED,
    StoreyConfig,
    StoreyMonitor,
    StoreyReport,
    Window,
    Windows,
    find_monitor,
)
from agents.monitors.storeys.estimate import estimate
from agents.monitors.storeys.teach import learn, play_windows
from envs.core.errors import CityloopError
from envs.core.registry import load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.mechanics.building import Building
from envs.dampers.mechanics.frame import drift_matrix, zero_order_hold
from envs.dampers.scenarios import DampersScenario
from envs.dampers.site import DampersSite
from tests.envs.dampers.shaken import shear_frame

SCENARIO = load_scenario("dampers/jansen")
assert isinstance(SCENARIO, DampersScenario)
SITE = load_site(SCENARIO)
MASSES, STIFFNESS = (20.0, 15.0, 10.0), (30e3, 20e3, 8e3)
NOISE = {"accel_m_s2": 0.06, "stroke_mm": 0.06, "force_n": (1.2,)}
CONFIG = StoreyConfig(
    name="three", rate_hz=100, masses_kg=MASSES, stiffness_n_m=STIFFNESS, dampers=(2,), band_hz=(1.0, 12.0), **NOISE
)


def shaken(rng: np.random.Generator, noise: float = 0.0, stiffness: Sequence[float] = STIFFNESS) -> Window:
    """Three storeys that an earthquake and the second storey's damper push as they like, in steps of a millisecond."""
    frame = shear_frame(MASSES, stiffness, 0.01)
    fine, each = 30_000, 10
    low = np.hanning(60) / 12  # nothing beyond what a hundred samples a second can tell
    ground = np.convolve(0.3 * rng.standard_normal(fine), low, "same")
    force = np.convolve(6 * rng.standard_normal(fine), low, "same")
    drifts = drift_matrix(3)
    a, b = frame.continuous
    moved, pushed = zero_order_hold(
        a, b @ np.block([[-drifts[1][:, None], np.zeros((3, 1))], [np.zeros((1, 1)), 1.0]]), 1e-3
    )
    of_state, of_force = frame.acceleration
    states = np.zeros((fine, 6))
    for k in range(fine - 1):
        states[k + 1] = moved @ states[k] + pushed @ [force[k], ground[k]]
    accel = states @ of_state.T - np.outer(force, of_force @ drifts[1])
    stroke = states[:, :3] @ drifts[1]
    rows = np.vstack([ground, accel.T, stroke, force])[:, ::each]
    spread = np.array([NOISE["accel_m_s2"]] * 4 + [1e-3 * NOISE["stroke_mm"], NOISE["force_n"][0]])
    rows = rows + noise * spread[:, None] * rng.standard_normal(rows.shape)
    return Window(rows[:4], rows[4:5], rows[5:])


def judged(monitor: StoreyMonitor, motions: int, factor: Sequence[float] = (1.0,)) -> list[StoreyReport]:
    monitor.reset()
    first = SCENARIO.seeds.test.first
    seeds = range(first, first + motions)
    windows = play_windows(SCENARIO, monitor.config, make_controller(POLICY, SITE), list(seeds), factor=factor)
    return [monitor.watch(window) for window in windows]


@pytest.fixture(scope="module")
def monitor() -> StoreyMonitor:
    found = find_monitor(SHIPPED, SITE)
    assert found is not None
    return found


def test_stiffness_is_that_of_the_frame_whatever_the_damper_does() -> None:
    softer = (30e3, 18e3, 7.2e3)
    for stiffness in (STIFFNESS, softer):
        seen = estimate(CONFIG, shaken(np.random.default_rng(1), stiffness=stiffness))
        assert seen.stiffness_n_m == pytest.approx(stiffness, rel=0.004)


def test_noise_moves_it_by_as_much_as_it_says() -> None:
    seen = [estimate(CONFIG, shaken(np.random.default_rng([2, k]), noise=1.0)) for k in range(8)]
    off = np.log([one.stiffness_n_m for one in seen] / np.array(STIFFNESS)) / [one.sigma for one in seen]
    assert 0.4 < np.sqrt((off**2).mean()) < 2.5
    assert np.median([one.misfit for one in seen]) == pytest.approx(1.0, abs=0.2)


def test_a_healthy_building_rings_nothing_and_is_never_called_safe(monitor: StoreyMonitor) -> None:
    reports = judged(monitor, 6)
    assert len(reports) == 6
    assert all(report.heard and report.alarm != "alarm" and report.deaf == "none" for report in reports)
    last = reports[-1]
    assert last.probability is not None
    assert "Probability of a loss of stiffness" in last.recommendation
    assert "small losses go unheard" in last.recommendation
    assert not any("safe" in report.recommendation.lower() for report in reports)


def test_a_lost_tenth_is_heard_in_its_storey_and_rings_from_the_third_window_on(monitor: StoreyMonitor) -> None:
    reports = judged(monitor, 6, (1.0, 1.0, 1.0, 0.9, 1.0, 1.0))
    assert [report.alarm for report in reports[:3]] == ["watch", "watch", "alarm"]
    last = reports[-1]
    storey = last.storeys[3]
    assert last.alarm == "alarm"
    assert last.location == 4
    assert storey.low is not None
    assert storey.high is not None
    assert storey.low < 0.9 < storey.high
    assert "storey 4" in last.recommendation
    assert "inspect" in last.recommendation


def noise_of(config: StoreyConfig, rng: np.random.Generator) -> Window:
    """A window of a building at rest."""
    accel = config.accel_m_s2 * rng.standard_normal((7, config.samples))
    return Window(
        accel, 1e-5 * rng.standard_normal((2, config.samples)), 0.2 * rng.standard_normal((2, config.samples))
    )


def test_who_hears_nothing_says_so_and_rings_for_that_alone(monitor: StoreyMonitor) -> None:
    monitor.reset()
    silent = noise_of(monitor.config, np.random.default_rng(3))
    silent.accel_m_s2[-1] = np.nan  # every storey needs the roof
    reports = [monitor.watch(silent) for _ in range(3)]
    assert [report.deaf for report in reports] == ["watch", "watch", "alarm"]
    assert all(report.probability is None and report.alarm == "none" for report in reports)
    assert "samples are missing" in reports[-1].recommendation
    assert "cannot hear the building" in reports[-1].recommendation


def test_a_building_at_rest_rings_nothing_and_ends_no_alarm_of_a_deaf_monitor(monitor: StoreyMonitor) -> None:
    """After a minute and a half of calm, sound sensors were to be checked, as long as the calm lasted."""
    monitor.reset()
    rng = np.random.default_rng(3)
    reports = [monitor.watch(noise_of(monitor.config, rng)) for _ in range(6)]
    assert not any(report.heard or report.deaf != "none" or report.alarm != "none" for report in reports)
    assert "moved too little" in reports[-1].recommendation
    assert "If this goes on while it moves" in reports[-1].recommendation
    silent = noise_of(monitor.config, rng)
    silent.accel_m_s2[-1] = np.nan
    deaf = [monitor.watch(silent) for _ in range(3)]
    assert monitor.watch(noise_of(monitor.config, rng)).deaf == "alarm"
    monitor.reset()
    for report in [*reports, *deaf[:2]]:
        monitor.remember(report)
    assert monitor.watch(noise_of(monitor.config, rng)).deaf == "none"
    assert monitor.watch(silent).deaf == "alarm"


@pytest.mark.parametrize("lost", [[], [7]])
def test_readings_that_never_change_are_no_rest(monitor: StoreyMonitor, lost: list[int]) -> None:
    """Nor are they with a tick that did not arrive."""
    monitor.reset()
    rest = noise_of(monitor.config, np.random.default_rng(3))
    dead = Window(*(np.zeros_like(rows) for rows in (rest.accel_m_s2, rest.stroke_m, rest.force_n)))
    for rows in (dead.accel_m_s2, dead.stroke_m, dead.force_n):
        rows[:, lost] = np.nan
    reports = [monitor.watch(dead) for _ in range(3)]
    assert (reports[0].heard, reports[-1].deaf) == (False, "alarm")
    assert "no reading ever changes" in reports[-1].recommendation


def test_lost_samples_silence_the_storeys_that_need_them() -> None:
    window = shaken(np.random.default_rng(4), noise=1.0)
    for row, needs in ((0, [0]), (1, [0]), (3, [0, 1, 2])):
        spoilt = window.accel_m_s2.copy()
        spoilt[row, ::8] = np.nan
        seen = estimate(CONFIG, dataclasses.replace(window, accel_m_s2=spoilt))
        assert np.flatnonzero(seen.missing > CONFIG.missing).tolist() == needs


def test_motions_shorter_than_usual_windows_are_windows_as_they_are(monkeypatch):
    """Or none would ever be full, and what is said of that after all motions is that they were too few."""
    seen: dict[str, int] = {}

    def count(config, windows):
        seen.update(samples=config.samples, windows=sum(one.accel_m_s2.shape[1] == config.samples for one in windows))

    monkeypatch.setattr("agents.monitors.storeys.teach.least_windows", lambda config: 2)
    monkeypatch.setattr(StoreyMonitor, "learn", count)
    learn(SCENARIO.override({"duration_s": 3.004}), motions=2)
    assert seen == {"samples": 300, "windows": 2}


@pytest.mark.parametrize(("duration_s", "fewest"), [(40, 598), (100, 200)])
def test_too_few_motions_are_refused_before_any_is_simulated(monkeypatch, duration_s, fewest):
    monkeypatch.setattr("agents.monitors.storeys.teach.play_windows", None)
    with pytest.raises(CityloopError, match=rf"^motions is 12: give {fewest} at least$"):
        learn(SCENARIO.override({"duration_s": duration_s}), motions=12)


def samples(value: float = 0.0) -> dict[str, list[float | None]]:
    return {"ground_m_s2": [value], "accel_m_s2": [value] * 3, "stroke_mm": [1e3 * value], "force_n": [None]}


def test_samples_become_a_window_and_what_is_missing_is_not_made_up() -> None:
    windows = Windows(CONFIG)
    for k in range(3000):
        if k not in (7, 8):
            assert windows.add(50 + k / 100, samples(k)) is None or k == 2999
    # The last sample ended it, so the next begins another.
    assert windows.add(80.0, samples(), begins=True) is None


def test_a_window_has_holes_where_ticks_are_missing_and_ends_with_its_motion() -> None:
    windows = Windows(CONFIG)
    for k in range(1600):
        if k not in (7, 8):
            windows.add(k / 100, samples(k))
    ended = windows.add(0.0, samples(), begins=True)
    assert ended is not None
    assert ended.accel_m_s2.shape == (4, 1600)
    assert np.isnan(ended.accel_m_s2[:, [7, 8]]).all()
    assert ended.stroke_m[0, 9] == 9.0
    assert np.isnan(ended.force_n).all()
    for k in range(1, 1000):
        windows.add(k / 100, samples())
    assert windows.add(20.0, samples()) is None, "half of a window is not enough, and ten seconds are a hole"


def test_a_clock_that_leaps_further_than_integers_go_begins_another_window() -> None:
    windows = Windows(CONFIG)
    for k in range(1600):
        windows.add(k / 100, samples(k))
    ended = windows.add(1e308, samples())
    assert ended is not None
    assert ended.accel_m_s2.shape == (4, 1600)
    for k in range(2999):
        assert windows.add(-1e308 if k == 0 else k / 100, samples()) is None


def test_what_was_learned_is_kept_and_what_does_not_fit_is_refused(monitor: StoreyMonitor, tmp_path: Path) -> None:
    monitor.save(tmp_path / "one.json")
    assert StoreyMonitor.load(tmp_path / "one.json").learned == monitor.learned
    assert find_monitor(str(tmp_path / "one.json"), SITE) is not None
    (tmp_path / "two.json").write_text((tmp_path / "one.json").read_text().replace('"slope"', '"steep"'))
    with pytest.raises(CityloopError, match="slope"):
        StoreyMonitor.load(tmp_path / "two.json")
    with pytest.raises(CityloopError, match=r"none\.json cannot be read"):
        find_monitor(str(tmp_path / "none.json"), SITE)


def test_a_monitor_of_another_building_is_not_taken(monitor: StoreyMonitor, tmp_path: Path) -> None:
    content = SITE.building.model_dump() | {"mass_kg": (30.0,) * 6}
    other = DampersSite(name=SITE.name, timing=SITE.timing, building=Building.model_validate(content))
    assert find_monitor(SHIPPED, other) is None
    monitor.save(tmp_path / "one.json")
    with pytest.raises(CityloopError, match="masses_kg"):
        find_monitor(str(tmp_path / "one.json"), other)


def test_too_few_healthy_windows_are_refused_in_words() -> None:
    with pytest.raises(CityloopError, match="598 are needed"):
        StoreyMonitor.learn(CONFIG, [shaken(np.random.default_rng(5), noise=1.0)])


@pytest.mark.slow
def test_what_it_learned_of_a_frame_it_hears_of_that_frame() -> None:
    config = CONFIG.model_copy(update={"false_alarms": 0.05})
    monitor = StoreyMonitor.learn(config, (shaken(np.random.default_rng([6, k]), noise=1.0) for k in range(124)))
    healthy = [monitor.watch(shaken(np.random.default_rng([7, k]), noise=1.0)) for k in range(20)]
    assert sum(report.unusual for report in healthy) <= 4
    softer = [monitor.watch(shaken(np.random.default_rng([8, k]), 1.0, (30e3, 18e3, 8e3))) for k in range(3)]
    assert softer[-1].alarm == "alarm"
    assert softer[-1].location == 2
