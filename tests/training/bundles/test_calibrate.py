"""Calibration of a bundle: the model is unchanged, the envelope contains healthy episodes, and the bundle loads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents.envelope import Envelope, read_envelope
from agents.policy import Policy
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from serving.checks import InputChecks
from serving.core.wire import Tick
from tests.serving.bundles import bundle
from training.bundles.calibrate import Noted, _alarms, _all_seeds, _fit, _limits, calibrate

GRID = "intersections/grid2x2"


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Envelope]:
    path = bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    scenario = load_scenario(GRID, duration_s=200.0)
    return path, calibrate(path, [scenario], episodes=2, command="cityloop calibrate tiny")


def test_the_bundle_holds_what_was_found(calibrated: tuple[Path, Envelope]) -> None:
    path, envelope = calibrated
    policy = Policy.load(path)
    assert policy.envelope == envelope
    assert set(envelope.parts) == {"approaches", "stages"}  # what never changes, or has no fixed columns, is left out
    assert "cityloop calibrate tiny" in (path / "CARD.md").read_text()
    assert (path / "envelope.json").stat().st_size < 100_000
    loop = make_loop(GRID)
    assert envelope.knows(loop.site)
    limits = envelope.of(loop.site)
    assert limits.change["count_veh"] >= 1
    assert set(limits.residuals) == {"conserved", "waiting", "occupancy", "speed"}  # exact rules need no learning
    loop.close()


def test_episodes_that_it_was_made_of_raise_no_alarm_of_sensors(calibrated: tuple[Path, Envelope]) -> None:
    path, envelope = calibrated
    scenario = load_scenario(GRID, duration_s=200.0)
    loop, policy = make_loop(scenario), Policy.load(path)
    checks = InputChecks(loop.system, loop.site, envelope)
    loop.reset(scenario.seeds.train.first)
    for k in range(scenario.decisions):
        looked = checks.look(Tick(k, loop.world.time_s, loop.readings), 0.0)
        assert looked.findings == ()
        assert looked.readings is loop.readings
        assert np.isfinite(envelope.distances(loop.observation)).all()
        loop.step(policy.act(loop.readings, loop.observation))
    loop.close()


def test_a_rule_gives_limits_alone(tmp_path: Path) -> None:
    out = tmp_path / "limits.json"
    found = calibrate("max-pressure", [load_scenario(GRID, duration_s=100.0)], episodes=1, out=out)
    assert read_envelope(out.read_bytes(), out) == found
    assert found.parts == {}
    assert found.limits["*"].agent is None


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9])
def test_the_card_states_as_many_episodes_as_are_played(count: int) -> None:
    scenario = load_scenario(GRID)
    fit, limit, _ = _all_seeds(scenario, count)
    place = SimpleNamespace(scenario=scenario, episodes=count, play=lambda seeds, parts: Noted())
    envelope, _ = _fit([place], [fit], (), 0.01, lambda: None)
    said = f"{len(fit)} of training seeds, {len(limit)} of training and validation seeds"
    assert envelope.fitted == {"grid2x2": said}


@pytest.mark.parametrize("level", [1234.8137, -1234.8137, 98765432.1, 0.0])
def test_a_reading_that_never_changes_lies_within_its_limits(level: float) -> None:
    tops = {"low": -level, "high": level, "change": 0.0, "run": 0.0}
    ticks = {name: [np.array([top])] * 8 for name, top in tops.items()} | {"residuals": [np.zeros(0)] * 8}
    seen = Noted(tops=ticks, distances=[(1.0, 0.5)] * 8)
    watch = SimpleNamespace(flat=SimpleNamespace(names=["tide_m"]))
    place = SimpleNamespace(watch=watch, learned=[], ranged=["tide_m"])
    limits = _limits(place, seen, seen, 0.01)  # every tick raised an alarm: distances grew past all bounds
    assert not _alarms(place, seen, limits).any()
    assert limits.low["tide_m"] <= level <= limits.high["tide_m"]


def test_what_cannot_be_calibrated_is_one_sentence(tmp_path: Path) -> None:
    path, grid = bundle(tmp_path / "tiny"), load_scenario(GRID)
    for scenarios, message in (
        ([], "no scenario"),
        ([load_scenario("drainage/estuary")], "for system 'intersections'"),
        ([grid, load_scenario("drainage/estuary")], "is not of system"),
        ([load_scenario("drainage/astlingen-oct2000")], "for tests alone"),
    ):
        with pytest.raises(CityloopError, match=message):
            calibrate(path, scenarios)
    with pytest.raises(CityloopError, match=r"^rate is 2: give"):
        calibrate(path, [grid], rate=2.0)
    with pytest.raises(CityloopError, match=r"^episodes is 0: give"):
        calibrate(path, [grid], episodes=0)


def test_why_every_episode_failed_is_told(tmp_path: Path) -> None:
    harsh = load_scenario("dampers/jansen", duration_s=3.0, motion={"pga_g": 5.0, "pga_spread": 0.0})
    told = r"dampers/jansen: every episode failed \(overloaded: 1 if a storey .*\), .*: make the scenario milder"
    with pytest.raises(CityloopError, match=told):
        calibrate("passive-off", [harsh], episodes=1, out=tmp_path / "limits.json")


def test_what_would_fail_in_the_end_fails_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.bundles.calibrate._Place", lambda *_: pytest.fail("hours may go by"))
    grid, path = load_scenario(GRID), bundle(tmp_path / "tiny")
    with pytest.raises(CityloopError, match=r"validation .*: play fewer episodes"):
        calibrate(path, [grid], episodes=60_000)
    with pytest.raises(CityloopError, match=r"folder .*CARD.md cannot be made or written"):
        calibrate("max-pressure", [grid], episodes=1, out=path / "CARD.md" / "limits.json")
    with pytest.raises(CityloopError, match="tiny is a folder: give a file"):
        calibrate("max-pressure", [grid], episodes=1, out=path)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(CityloopError, match=r"folder of the bundle .* \(one may not write there"):
        calibrate(path, [grid], episodes=1)
