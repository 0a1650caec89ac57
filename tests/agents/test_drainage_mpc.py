"""Looking ahead is looking at SWMM: branches equal the plant, and the best of the plans is carried out."""

import signal
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents import make_controller
from agents.baselines import drainage_branch, drainage_mpc
from agents.baselines.drainage_branch import Branch, Outcome, Run
from agents.baselines.drainage_mpc import ModelPredictive, Search
from envs import CityloopError
from envs.core.env import make_loop
from tests.envs.drainage.small import NETWORK, READ, row


@pytest.fixture(scope="module")
def played():
    """Ten hours of a storm under static settings: the rain, the site, and what overflowed in each half."""
    loop = make_loop("drainage/astlingen", duration_s=36_000)
    overflow = []
    try:
        loop.reset(0)
        static = loop.readings["setting"][:, None].copy()
        done = False
        while not done:
            done = loop.step(static).done
            overflow.append(loop.world.truth["controllable_m3"])
        rain = loop.world.rain_mm * 12
    finally:
        loop.close()
    return loop.site, np.repeat(static.T, len(rain), axis=0), rain, np.array(overflow)


def test_a_branch_is_what_happens_to_the_plant(played, tmp_path):
    site, settings, rain, overflow = played
    branch = Branch(site)
    try:
        whole = branch.run([Run(None, None, settings, rain)])[0]
        first = branch.run([Run(None, None, settings[:60], rain[:60], save=tmp_path / "half.hsf")])[0]
        second = branch.run([Run(tmp_path / "half.hsf", first.time, settings[60:], rain[60:])])[0]
    finally:
        branch.close()
    assert overflow.sum() > 1000
    assert whole.overflow_m3 == pytest.approx(overflow.sum(), rel=1e-6)
    assert first.overflow_m3 == pytest.approx(overflow[:60].sum(), rel=1e-6)
    assert second.overflow_m3 == pytest.approx(overflow[60:].sum(), rel=0.02, abs=5)  # hot starts are not exact
    assert whole.time == second.time


def test_a_forecast_that_falls_with_the_lead_time_makes_no_rain_below_zero():
    mine = SimpleNamespace(_site=row(), _lengths=(3, 21), _decision_min=5)
    said = np.array([1.0, 2.0, 2.0 - 1e-15, 8.0, 3.0, 6.0, 4.0, 4.0])
    rates = ModelPredictive._rain_ahead(mine, {"forecast_mm": said})
    assert rates.shape == (24, 2)
    assert (rates >= 0).all()
    assert rates[:3] == pytest.approx(np.array([[4.0, 12.0]] * 3))


def test_without_the_input_there_is_no_looking_ahead():
    with pytest.raises(CityloopError, match="looking ahead needs it"):
        Branch(row())


def test_rain_that_swmm_works_out_beforehand_is_not_looked_ahead_with(tmp_path):
    """A model that is told the rain would miss it, and every plan would seem to cost nothing."""
    text = NETWORK + "[HYDROGRAPHS]\nU R\nU ALL SHORT 0.4 0.5 1.0 0 0 0\n[RDII]\nJ U 20\n"
    (tmp_path / "own.inp").write_text(text)
    with pytest.raises(CityloopError, match=r"own.inp has \[RDII\], .*looking ahead would miss it"):
        Branch(row().model_copy(update={"input": str(tmp_path / "own.inp")}))


def test_a_model_begins_when_the_episode_does(tmp_path):
    """Here at noon, when more comes by the hour's pattern, while the input begins at midnight."""
    hours = ["D HOURLY " + " ".join(["0"] * 12), "D " + " ".join(["3"] * 12)]
    rows = ["EV1 08/15/2011 13:00 0", "EV1 08/15/2011 13:30 20", "EV1 08/15/2011 13:45 0"]
    text = f"{NETWORK}\n[DWF]\nT FLOW 0.1 D\n[PATTERNS]\n{chr(10).join(hours)}\n[TIMESERIES]\n{chr(10).join(rows)}\n"
    (tmp_path / "own.inp").write_text(text)
    (tmp_path / "own.yaml").write_text("system: drainage\ninp: own.inp\nseries: EV\nduration_s: 7200\n")
    loop = make_loop(str(tmp_path / "own.yaml"))
    try:
        controller = ModelPredictive(loop.site, Search(population=4, elite=2, rounds=1))
        loop.reset(0)
        for _ in range(4):
            loop.step(controller.act(loop.readings, loop.observation))
        assert loop.site.start == datetime(2011, 8, 15, 13)
        assert controller._time - loop.site.start == timedelta(minutes=15)
        controller.close()
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("blow", "says"), [(signal.SIGSTOP, "does not answer"), (signal.SIGKILL, "the process that looks ahead has ended")]
)
def test_a_process_that_hangs_or_dies_is_noticed_and_leaves_nothing(played, monkeypatch, blow, says):
    site, settings, rain, _ = played
    branch = Branch(site)
    task = Run(None, None, settings[:2], rain[:2])
    branch.run([task])
    monkeypatch.setattr(drainage_branch, "ANSWER_S", 0.1)
    branch._process.send_signal(blow)
    with pytest.raises(CityloopError, match=says):
        branch.run([task])
    branch.close()
    assert branch._process.returncode == -signal.SIGKILL


def test_a_process_that_died_is_made_anew_with_the_next_episode():
    """The fallback decided for good."""
    loop = make_loop("drainage/theta", duration_s=1800)
    controller = ModelPredictive(loop.site, Search(population=4, elite=2, rounds=1))

    def decide():
        loop.step(controller.act(loop.readings, loop.observation))

    try:
        loop.reset(0)
        decide()
        controller._branch._process.kill()
        with pytest.raises(CityloopError, match="the process that looks ahead has ended"):
            decide()
        loop.reset(1)
        controller.reset()
        for _ in range(2):
            decide()
        assert controller._time is not None
    finally:
        controller.close()
        loop.close()


def interrupted(*_):
    raise KeyboardInterrupt


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next(played, monkeypatch):
    """As where a cell of a notebook is interrupted, and run again."""
    site, settings, rain, _ = played
    branch = Branch(site)
    task = Run(None, None, settings[:2], rain[:2])
    branch.run([task])
    with monkeypatch.context() as patched:
        patched.setattr(drainage_branch, "_receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            branch.run([task])
    with pytest.raises(CityloopError, match="the process that looks ahead has ended"):
        branch.run([task, task])
    branch.close()


def test_a_process_never_hears_of_ctrl_c_from_its_first_moment_on(played):
    """It would print a trace while it imports."""
    branch = Branch(played[0])
    status = Path(f"/proc/{branch._process.pid}/status").read_text()
    branch.close()
    blocked = next(line for line in status.splitlines() if "SigBlk" in line)
    assert int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1)


class Imagined:
    """A branch in which overflow is the distance of the lower gate from a setting that nobody told the controller."""

    ended = False

    def __init__(self, site):
        self.folder, self.runs = SimpleNamespace(name="/nowhere"), 0

    def run(self, runs):
        self.runs += len(runs)
        return [Outcome(None, 1000 * float(np.abs(run.settings[:, 1] - 0.83).mean()), 0.0) for run in runs]

    def close(self):
        pass


@pytest.fixture
def controller(monkeypatch):
    monkeypatch.setattr(drainage_mpc, "Branch", Imagined)
    return ModelPredictive(row())


def reading(**changed):
    return {name: np.array(values, dtype=float) for name, values in {**READ, **changed}.items()}


def test_plan_after_plan_comes_nearer_to_what_overflows_least(controller):
    away = []
    for _ in range(13):  # five plans, three decisions each
        away.append(abs(controller.act(reading(), {})[1, 0] - 0.83))
    assert away[0] < abs(0.4 - 0.83), "already the first is better than the static setting"
    assert away[-1] < 0.06


def test_between_plans_nothing_is_computed_but_the_model_follows(controller):
    first = controller.act(reading(), {})
    before = controller._branch.runs
    second = controller.act(reading(setting=first[:, 0]), {})
    assert controller._branch.runs == before + 1
    np.testing.assert_array_equal(first, second)


def test_dry_weather_keeps_the_static_settings(controller):
    quiet = reading(depth_m=[0.01, 0.01], rain_mmh=[0, 0], forecast_mm=[0] * 8)
    np.testing.assert_array_equal(controller.act(quiet, {})[:, 0], [0.5, 0.4, 1.0])
    assert controller._branch.runs == 0


def test_rain_ahead_is_the_forecast_or_what_falls_now(controller):
    ahead = controller._rain_ahead(reading())
    assert ahead.shape == (36, 2)
    assert ahead[:24, 0].sum() / 12 == pytest.approx(8.0), "all of two hours' forecast"
    assert not ahead[24:].any()
    np.testing.assert_array_equal(controller._rain_ahead(reading(forecast_mm=[np.nan] * 8))[5], [10, 30])


@pytest.mark.slow
def test_it_beats_equal_filling_in_a_storm_that_leaves_room():
    loop = make_loop("drainage/astlingen")
    try:
        found = {name: loop.episode(make_controller(name, loop.site), 0).kpis for name in ("mpc", "efd")}
    finally:
        loop.close()
    assert found["mpc"]["controllable_m3"] < 0.9 * found["efd"]["controllable_m3"]
    assert found["mpc"]["movement"] < 0.1 * found["efd"]["movement"]
