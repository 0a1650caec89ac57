"""Evaluation: the JSON contract, the same result from any number of processes, failures that leave nothing behind."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import make_controller
from envs import CityloopError, ControlLoop, get_system, load_scenario
from training.episodes import run_episodes
from training.evaluation import evaluate as computing
from training.evaluation.evaluate import evaluate
from training.evaluation.results import UnwrittenError

CONTROLLERS = ["max-pressure", "fixed", "greedy"]


@pytest.fixture(scope="module")
def found(scenario, tmp_path_factory):
    told = []
    out = tmp_path_factory.mktemp("evaluate") / "deep" / "out"
    result = evaluate(scenario, CONTROLLERS, seeds=3, processes=2, out=out, on_progress=lambda *news: told.append(news))
    assert told == [(k, 9) for k in range(1, 10)]
    return result


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
    monkeypatch.setattr(computing, "run_episodes", lambda *_: pytest.fail("it started"))
    with pytest.raises(CityloopError, match=words):
        evaluate(scenario, **{"controllers": ["fixed"], "seeds": 1, "save": False} | changes)


def test_a_taken_folder_is_refused_before_anything_starts(scenario, tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "run_episodes", lambda *_: pytest.fail("it started"))
    (tmp_path / "precious").write_text("x")
    with pytest.raises(CityloopError, match="exists already"):
        evaluate(scenario, ["fixed"], seeds=1, out=tmp_path)


def test_two_evaluations_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "RUNS", tmp_path)
    monkeypatch.setattr(computing, "stamp", lambda: "now")
    place = load_scenario("dampers/jansen", duration_s=1.0)
    other = tmp_path / "dampers" / "jansen" / "evaluate" / "now"

    def meanwhile(*arguments):
        found = run_episodes(*arguments)
        other.mkdir(parents=True)
        (other / "rows.csv").touch()
        return found

    monkeypatch.setattr(computing, "run_episodes", meanwhile)
    assert evaluate(place, ["passive-on"], seeds=1, processes=1).out == other.with_name("now-2")


def test_results_outlive_a_folder_that_was_taken_meanwhile(tmp_path, monkeypatch):
    def meanwhile(*arguments):
        found = run_episodes(*arguments)
        (tmp_path / "out" / "of-another").mkdir(parents=True)
        return found

    monkeypatch.setattr(computing, "run_episodes", meanwhile)
    place = load_scenario("dampers/jansen", duration_s=1.0)
    with pytest.raises(UnwrittenError, match=r"results cannot be written to .*out exists already") as raised:
        evaluate(place, ["passive-on"], seeds=1, processes=1, out=tmp_path / "out")
    assert raised.value.evaluation.controllers["passive-on"].rows
    assert raised.value.evaluation.out is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"controllers": "fixed"}, "controllers is 'fixed': give a list"),
        ({"controllers": ["__main__:Mine"]}, "a notebook or this script defines: put it in a file"),
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
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert "its process ended as it started" in said
    assert '`if __name__ == "__main__":`' in said


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
