"""Episodes played in other processes: one that fails, and a process that dies or falls silent, is told of by name."""

import multiprocessing
import os
import sys
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from agents import make_controller
from envs import CityloopError, ControlLoop, load_scenario
from envs.core.env import make_loop
from envs.dampers.world import DampersWorld
from training import episodes
from training.episodes import EpisodePool, EpisodeTask, play, run_episodes


class Stuck:
    """One street has green for ever."""

    name, program = "stuck", None

    def reset(self):
        pass

    def act(self, readings, observation):
        return np.zeros(len(observation["action_mask"]), dtype=np.int64)


@pytest.mark.parametrize(("seed", "decisions"), [(100_000, 57), (0, 60)])
def test_a_training_episode_that_locks_is_charged_for_the_rest_of_its_time(seed, decisions):
    loop = make_loop("intersections/grid2x2", regime="resco")
    try:
        found = episodes.play(loop, Stuck(), EpisodeTask("stuck", seed), lambda: None)
        loop.reset(seed)
        rewards = [float(loop.step(np.zeros(4, dtype=np.int64)).reward.mean()) for _ in range(decisions)]
    finally:
        loop.close()
    assert len(found.time_s) == decisions
    assert found.reward == pytest.approx(sum(rewards) + (60 - decisions) * rewards[-1])


def test_a_failing_episode_names_controller_and_seed(scenario, tmp_path):
    broken = tmp_path / "broken.rou.xml"
    broken.write_text('<routes><trip id="a" depart="0" from="no" to="where"/></routes>')
    lost = scenario.override({"routes": [str(broken)]})
    with pytest.raises(CityloopError, match="controller 'greedy' with seed 5"):
        run_episodes(lost, [EpisodeTask("greedy", 5)], processes=1)
    assert multiprocessing.active_children() == []


def break_down(name, site):
    raise ValueError(f"{name} cannot be built")


def test_a_controller_that_cannot_be_made_says_why(scenario):
    said = pytest.raises(CityloopError, match="'x' with seed 0 failed: ValueError: x cannot be built")
    with closing(episodes.EpisodePool([scenario], 1, break_down)) as pool, said:
        pool.run([EpisodeTask("x", 0)])


def make_and_note(name, site):
    with Path(name).open("a") as file:
        file.write("made\n")
    return make_controller("fixed", site)


def test_a_controller_is_made_once_though_every_episode_has_a_process_of_its_own(tmp_path):
    """Its file changes as it is made: what is then played is what was made."""
    scenario = load_scenario("dampers/jansen", duration_s=0.1)
    name = str(tmp_path / "made")
    with closing(episodes.EpisodePool([scenario], 1, make_and_note)) as pool:
        pool.run([EpisodeTask(name, 0)])
    assert Path(name).read_text() == "made\n"


def lose_its_server():
    raise ConnectionResetError("its server closed the connection")


ENDS = {
    "resets": (lose_its_server, "failed: ConnectionResetError: its server closed the connection"),
    "exits": (sys.exit, "failed: SystemExit"),
    "ends": (lambda: os._exit(0), r"its process ended \(exit code 0\)"),
}


def make_one_that_ends(name, site):
    controller = make_controller("fixed", site)
    controller.act = lambda readings, observation: ENDS[name][0]()
    return controller


@pytest.mark.parametrize("name", ENDS)
def test_a_controller_that_ends_its_process_is_told_at_once(name):
    scenario = load_scenario("dampers/jansen", duration_s=0.1)
    said = pytest.raises(CityloopError, match=f"'{name}' with seed 0.* {ENDS[name][1]}")
    with closing(episodes.EpisodePool([scenario], 1, make_one_that_ends)) as pool, said:
        pool.run([EpisodeTask(name, 0)])


def refuse_to_close(loop):
    raise RuntimeError("it will not close")


def make_and_spoil(name, site):
    ControlLoop.close = refuse_to_close  # in the worker alone
    return make_controller(name, site)


def test_a_simulator_that_cannot_be_closed_costs_no_further_episode():
    scenario = load_scenario("dampers/jansen", duration_s=0.1)
    with closing(episodes.EpisodePool([scenario], 1, make_and_spoil)) as pool:
        assert [episode.seed for episode in pool.run([EpisodeTask("fixed", 0), EpisodeTask("fixed", 1)])] == [0, 1]


def make_and_answer_in_a_closure(name, site):
    DampersWorld.places = lambda self: defaultdict(lambda: {}, {"east": {"drift_mm": 1.0}})  # in the worker alone
    return make_controller(name, site)


def test_what_cannot_be_sent_is_told_and_not_waited_for():
    scenario = load_scenario("dampers/jansen", duration_s=0.1)
    said = pytest.raises(CityloopError, match=r"'fixed' with seed 0 failed: .*make_and_answer_in_a_closure")
    with closing(episodes.EpisodePool([scenario], 1, make_and_answer_in_a_closure)) as pool, said:
        pool.run([EpisodeTask("fixed", 0)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_indicator_that_is_no_number_is_refused_by_name(monkeypatch, value):
    """Nothing can be compared with it, and no JSON holds it."""
    with closing(make_loop("dampers/dyke", duration_s=1.0)) as loop:
        real = loop.world.kpis
        monkeypatch.setattr(loop.world, "kpis", lambda: real() | {"score": value})
        controller = make_controller("fixed", loop.site)
        with pytest.raises(
            CityloopError, match=f"^dampers/dyke: indicator 'score' is {value}, with which nothing compares"
        ):
            play(loop, controller, EpisodeTask("fixed", loop.scenario.seeds.test.first), lambda: None)


def test_a_reward_that_is_no_number_is_refused_by_name():
    """Such weights are taken, and a whole evaluation would be lost as its JSON is written."""
    with closing(make_loop("drainage/estuary", weights__overflow=1e308)) as loop:
        controller = make_controller("static", loop.site)
        said = pytest.raises(CityloopError, match=r"^drainage/estuary: the reward is -inf at \d+ s, .*overflow is not")
        with said, np.errstate(over="ignore"):
            play(loop, controller, EpisodeTask("static", 0), lambda: None)


def test_a_worker_that_dies_is_noticed(scenario, monkeypatch):
    def murder(done, _):
        if done == 1:
            multiprocessing.active_children()[0].kill()

    tasks = [EpisodeTask("greedy", seed) for seed in range(40)]
    with pytest.raises(CityloopError, match=r"its process was killed \(SIGKILL\); is there enough memory"):
        run_episodes(scenario, tasks, processes=1, on_progress=murder)
    assert multiprocessing.active_children() == []


def test_a_worker_that_died_before_it_was_asked_is_noticed(scenario):
    with closing(episodes.EpisodePool([scenario], 1)) as pool:
        process = pool._workers[0].process
        process.kill()
        process.join()
        with pytest.raises(CityloopError, match=r"its process was killed \(SIGKILL\)"):
            pool.run([EpisodeTask("greedy", 0)])


def test_a_silent_worker_is_taken_for_dead(scenario, monkeypatch):
    monkeypatch.setattr(episodes, "STALL_S", -1.0)
    monkeypatch.setattr(episodes, "BEAT_S", 0.01)
    with pytest.raises(CityloopError, match="no sign of life"):
        run_episodes(scenario, [EpisodeTask("greedy", 0)], processes=1)
    assert multiprocessing.active_children() == []


def test_who_was_stopped_for_long_does_not_take_others_for_dead(scenario, monkeypatch):
    """Ctrl-Z stops all processes alike, and clocks go on."""
    asked, clock, wait = 0, time.monotonic, episodes.wait

    def stopped(pipes, timeout):
        nonlocal asked
        asked += 1
        if asked == 1:
            monkeypatch.setattr(episodes.time, "monotonic", lambda: clock() + 10 * episodes.STALL_S)
            return []
        return wait(pipes, timeout)

    monkeypatch.setattr(episodes, "wait", stopped)
    (episode,) = run_episodes(scenario, [EpisodeTask("greedy", 0)], processes=1)
    assert episode.kpis
    assert asked > 1


def test_a_file_that_takes_anothers_place_is_another_controller(scenario, tmp_path):
    file = tmp_path / "name.txt"
    with closing(EpisodePool([scenario], 1, _named)) as pool:
        played = []
        for name in ("greedy", "fixed"):
            file.write_text(name)
            played += pool.run([EpisodeTask(str(file), 0)])
    assert played[0].kpis != played[1].kpis


def _named(path, site):
    return make_controller(Path(path).read_text(), site)
