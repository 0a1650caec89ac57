"""Evaluation: the JSON contract, the same result from any number of processes, failures that leave nothing behind."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import make_controller
from envs import CityloopError, ControlLoop, get_system, load_scenario
from envs.core.env import make_loop
from training import episodes, plots
from training.episodes import Episode, EpisodePool, EpisodeTask, play, run_episodes
from training.evaluate import evaluate
from training.evaluation import short_names
from training.plots import label

MODULE = import_module("training.evaluate")  # the package's attribute of that name is the function
CONTROLLERS = ["max-pressure", "fixed", "greedy"]


@pytest.fixture(scope="module")
def scenario():
    return load_scenario("intersections/grid2x2", duration_s=120)


@pytest.fixture(scope="module")
def found(scenario, tmp_path_factory):
    told = []
    out = tmp_path_factory.mktemp("evaluate") / "deep" / "out"
    result = evaluate(scenario, CONTROLLERS, seeds=3, processes=2, out=out, on_progress=lambda *news: told.append(news))
    assert told == [(k, 9) for k in range(1, 10)]
    return result


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


def test_json_is_the_contract(found, scenario):
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (content["scenario"], content["hash"], content["kpi"]) == (scenario.ref, scenario.hash, "delay_s")
    assert content["seeds"] == [0, 1, 2]
    assert list(content["controllers"]) == CONTROLLERS
    kpis = set(get_system("intersections").kpis)
    for result in content["controllers"].values():
        assert {"median", "mean", "p90", "worst", "failures", "rows"} <= set(result)
        assert [row["seed"] for row in result["rows"]] == [0, 1, 2]
        assert all(kpis | {"reward", "interventions"} <= set(row) for row in result["rows"])
        delays = [row["delay_s"] for row in result["rows"]]
        assert result["median"] == np.median(delays)
        assert result["worst"] == max(delays)
    assert list(content["paired"]) == CONTROLLERS[1:]
    assert all({"difference", "low", "high"} <= set(pair) for pair in content["paired"].values())
    assert {"python", "sumo", "torch", "commit"} <= set(content["versions"])


def test_void_episodes_are_counted_and_never_averaged_in():
    """A drainage run whose water is not accounted for means nothing: its seed is left out for everybody."""
    loop = make_loop("drainage/theta")
    assert loop.system.headline(loop.scenario) == "objective"
    figures = {("static", 0): (10.0, 0), ("static", 1): (999.0, 1), ("efd", 0): (8.0, 0), ("efd", 1): (1.0, 0)}
    played = [
        Episode(name, seed, {"objective": m3, "invalid": invalid}, 0.0, 0, np.zeros(1), {}, {})
        for (name, seed), (m3, invalid) in figures.items()
    ]
    result = MODULE._evaluation(loop, ["static", "efd"], "test", [0, 1], played)
    assert {name: (r.summary.worst, r.failures) for name, r in result.controllers.items()} == {
        "static": (10.0, 1),
        "efd": (8.0, 0),
    }
    assert result.paired["efd"].difference == 2.0
    assert (list(result.void), result.values("static"), result.values("efd")) == ([1], [10.0], [8.0])
    assert [episode.seed for episode in result.played("static")] == [0], "nor into curves, maps and periods"
    assert list(result.for_card()) == ["test: objective on 1 seed of drainage/theta"]
    (axes,) = plots.headline(result, "").axes
    assert axes.get_title("left").endswith("on 1 test seed")
    assert {text.get_text() for text in axes.texts} == {"10", "8"}
    assert axes.get_xlim() == (0.0, pytest.approx(10.5))
    with pytest.raises(CityloopError, match=r"every seed failed.*static on 1 of 1"):
        MODULE._evaluation(loop, ["static"], "test", [1], played[1:2])


def test_a_controller_of_which_every_episode_is_void_is_left_out_of_the_comparison(caplog):
    loop = make_loop("drainage/theta")
    figures = {("static", 0): (10.0, 0), ("efd", 0): (1.0, 1), ("hold", 0): (8.0, 0)}
    played = [
        Episode(name, seed, {"objective": m3, "invalid": invalid}, 0.0, 0, np.zeros(1), {}, {})
        for (name, seed), (m3, invalid) in figures.items()
    ]
    result = MODULE._evaluation(loop, ["static", "efd", "hold"], "test", [0], played)
    assert (list(result.controllers), list(result.void)) == (["static", "hold"], [])
    assert {episode.controller for episode in result.episodes} == {"static", "hold"}
    assert "left out of the comparison: efd, as every episode is void (invalid" in caplog.text
    with pytest.raises(CityloopError, match=r"every seed failed.*efd on 1 of 1"):  # it is the one that is compared
        MODULE._evaluation(loop, ["efd", "static"], "test", [0], played[:2])


def test_a_drainage_evaluation_draws_levels_settings_and_where_it_overflowed(tmp_path):
    out = tmp_path / "out"
    evaluate("drainage/astlingen", ["efd", "static"], seeds=2, processes=1, out=out)
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures == {
        "controllable_m3",
        "over_time",
        "depth_m",
        "setting",
        "rain_mmh",
        "map_overflow_m3",
        "map_flooded_h",
    }
    with (out / "places.csv").open() as file:
        places = list(csv.DictReader(file))
    with (out / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        mine = [p for p in places if (p["controller"], p["seed"]) == (row["controller"], row["seed"])]
        assert sum(float(p["overflow_m3"]) for p in mine) == pytest.approx(float(row["overflow_m3"]))


def test_difference_is_the_first_less_the_other(found):
    rows = {name: [row["delay_s"] for row in result.rows] for name, result in found.controllers.items()}
    expected = np.median(np.subtract(rows["max-pressure"], rows["fixed"]))
    assert found.paired["fixed"].difference == expected


def test_processes_do_not_change_the_result(found, scenario):
    again = evaluate(scenario, CONTROLLERS, seeds=3, processes=1, save=False)
    assert again.to_json() == found.to_json() | {"out": None}


def test_a_row_is_what_one_loop_gives(found, scenario):
    loop = ControlLoop(get_system("intersections"), scenario)
    try:
        last = loop.episode(make_controller("greedy", loop.site), 2)
    finally:
        loop.close()
    row = found.controllers["greedy"].rows[2]
    assert {key: row[key] for key in last.kpis} == last.kpis


def test_episodes_keep_what_happened_over_time(found, scenario):
    for episode in found.episodes:
        assert len(episode.time_s) == scenario.decisions
        assert set(episode.trace) == {"running_veh", "standing_veh", "backlog_veh"}
        assert episode.drawn["stage"].shape == (scenario.decisions, 4)


def test_what_is_written(found):
    names = {path.name for path in found.out.iterdir()}
    wanted = {"scenario.yaml", "rows.csv", "rows.parquet", "evaluation.json"}
    assert wanted | {"delay_s.png", "over_time.png", "stage.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert json.loads((found.out / "evaluation.json").read_text()) == json.loads(json.dumps(found.to_json()))
    with (found.out / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(found.out / "rows.parquet")
    assert len(rows) == table.num_rows == 9
    assert float(rows[3]["delay_s"]) == table.column("delay_s")[3].as_py()
    assert [path.name for path in found.out.parent.iterdir()] == ["out"]


def test_tensorboard_has_the_medians(found):
    events = EventAccumulator(str(found.out))
    events.Reload()
    tags = events.Tags()
    assert events.Scalars("eval/fixed/delay_s_median")[0].value == pytest.approx(
        found.controllers["fixed"].summary.median
    )
    assert "eval/greedy/stops_median" in tags["scalars"]
    assert {"eval/delay_s", "eval/over_time", "eval/stage"} <= set(tags["images"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"controllers": ["fixed", "wizard"]}, "controller 'wizard' is unknown"),
        ({"controllers": []}, "no controller is given"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": [10_000]}, "seed 10000 is not of the test split"),
        ({"seeds": [1, 1]}, "only once"),
        ({"split": "holdout"}, "split 'holdout' is unknown"),
        ({"regime": "magic"}, "regime is 'magic'"),
    ],
)
def test_bad_input_fails_before_anything_starts(scenario, monkeypatch, changes, words):
    monkeypatch.setattr(MODULE, "run_episodes", lambda *_: pytest.fail("it started"))
    with pytest.raises(CityloopError, match=words):
        evaluate(scenario, **{"controllers": ["fixed"], "seeds": 1, "save": False} | changes)


def test_a_taken_folder_is_refused_before_anything_starts(scenario, tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "run_episodes", lambda *_: pytest.fail("it started"))
    (tmp_path / "precious").write_text("x")
    with pytest.raises(CityloopError, match="exists already"):
        evaluate(scenario, ["fixed"], seeds=1, out=tmp_path)


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


def test_two_evaluations_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "RUNS", tmp_path)
    monkeypatch.setattr(MODULE, "stamp", lambda: "now")
    place = load_scenario("dampers/jansen", duration_s=1.0)
    other = tmp_path / "dampers" / "jansen" / "evaluate" / "now"

    def meanwhile(*arguments):
        found = run_episodes(*arguments)
        other.mkdir(parents=True)
        (other / "rows.csv").touch()
        return found

    monkeypatch.setattr(MODULE, "run_episodes", meanwhile)
    assert evaluate(place, ["passive-on"], seeds=1, processes=1).out == other.with_name("now-2")


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"controllers": "fixed"}, "controllers is 'fixed': give a list"),
        ({"controllers": [Path("nowhere/policy")]}, "policy.json cannot be read"),
        ({"seeds": 1.5}, "seeds is 1.5: give how many, or a list of whole numbers"),
        ({"seeds": "3"}, "seeds is '3': give how many"),
        ({"seeds": True}, "seeds is True: give how many"),
        ({"seeds": [1.5]}, r"seeds is \[1.5\]: give how many"),
        ({"processes": -1}, "processes is -1: give a whole number from 1 on"),
        ({"processes": "2"}, "processes is '2': give a whole number from 1 on"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said_in_a_sentence(given, said):
    with pytest.raises(CityloopError, match=said):
        evaluate("dampers/dyke", **{"controllers": ["fixed"], "seeds": 1, "save": False} | given)


def test_paths_may_be_text_and_seeds_an_array(tmp_path):
    given = load_scenario("dampers/dyke", duration_s=1.0)
    found = evaluate(given, ["passive-on"], seeds=np.arange(2), out=str(tmp_path / "found"))
    assert found.out == tmp_path / "found"
    assert json.dumps(found.to_json()["seeds"]) == "[0, 1]"


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "mine.py"
    call = 'evaluate("dampers/dyke", ["passive-on"], seeds=1, save=False)'
    script.write_text(f"from training import evaluate\n\n{call}\n")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert "its process ended as it started" in said
    assert '`if __name__ == "__main__":`' in said


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


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_evaluation_leaves_nothing(tmp_path, sent):
    command = [sys.executable, "-m", "cityloop", "evaluate", "intersections/grid2x2", "-c", "greedy", "--seeds", "400"]
    command = ["env", "--default-signal=INT", *command]  # a shell that runs the tests in the background has it ignored
    temporary = tmp_path / ("tmp" * 25)  # no room for a socket's path
    temporary.mkdir()
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    try:
        _until(lambda: any(temporary.glob("cityloop-*")))  # an episode runs
        os.kill(process.pid, sent)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == (130 if sent == signal.SIGINT else -sent)
    assert b"Traceback" not in errors
    _until(lambda: not list(temporary.glob("cityloop-*")))
    _until(lambda: not _session(process.pid))
    assert not (tmp_path / "out").exists()


def _until(condition, limit_s=30.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _session(leader):
    """Living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
            if session == str(leader) and state != "Z":
                found.append(stat.parent.name)
    return found


def test_labels():
    assert label("standing_veh") == "standing (vehicles)"
    assert label("delay_s") == "delay (s)"
    assert label("wait_min") == "wait (min)"
    assert label("served_pct") == "served (%)"
    assert label("stops") == "stops"


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["runs/x/policy", "max-pressure"], ["policy", "max-pressure"]),
        (["A/policy", "B/policy"], ["A/policy", "B/policy"]),
        (["policy", "A/policy", "/B/A/policy"], ["policy", "A/policy", "B/A/policy"]),
        (["x/A/1/policy", "x/B/1/policy", "x/B/2/policy"], ["A/1/policy", "B/1/policy", "2/policy"]),
        (["d1/mine.py:X", "d2/mine.py:X", "d2/mine.py:Y"], ["d1/mine.py:X", "d2/mine.py:X", "mine.py:Y"]),
        (["A/policy", "./A/policy"], ["A/policy", "./A/policy"]),
    ],
)
def test_a_path_is_called_by_as_much_of_its_end_as_tells_it_apart(names, called):
    assert short_names(names) == dict(zip(names, called, strict=True))


def test_two_controllers_of_one_name_are_two_in_every_picture_and_tag(tmp_path, monkeypatch):
    """Both bundles of two runs are called ``policy``."""
    monkeypatch.chdir(tmp_path)
    for folder, rule in (("d1", "passive-off"), ("d2", "passive-on")):
        Path(folder).mkdir()
        text = f"from agents import make_controller\n\n\ndef X(site):\n    return make_controller({rule!r}, site)\n"
        Path(folder, "mine.py").write_text(text)
    names = ["d1/mine.py:X", "d2/mine.py:X"]
    found = evaluate(load_scenario("dampers/dyke", duration_s=2.0), names, seeds=1, out=tmp_path / "out")
    scalars = set(EventAccumulator(str(found.out)).Reload().Tags()["scalars"])
    assert {f"eval/{name}/failures" for name in names} <= scalars
    drawn = [text.get_text() for text in plots.headline(found, "").axes[0].get_yticklabels()]
    assert drawn == names
