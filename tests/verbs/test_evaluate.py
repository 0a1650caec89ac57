"""`cityloop evaluate` from the shell to its files: the JSON contract, several scenarios, entries on cards."""

import errno
import json
import os
from textwrap import dedent

import pytest
import yaml

from envs import load_scenario
from tests.verbs.calls import GRID, call, command


def test_evaluate_end_to_end(tmp_path, monkeypatch):
    """In a process of its own, as from a cell of a notebook, whose way to draw is not installed here."""
    monkeypatch.setenv("MPLBACKEND", "module://nowhere.backend_inline")
    words = ("evaluate", GRID, "-c", "max-pressure", "-c", "fixed", "--seeds", "2", "--set", "duration_s=60")
    done = command(*words, "--json", cwd=tmp_path)
    content = json.loads(done.stdout)
    assert done.returncode == 0
    assert list(content["controllers"]) == ["max-pressure", "fixed"]
    assert set(content["paired"]) == {"fixed"}
    folder = tmp_path / content["out"]
    assert folder.parent == tmp_path / "runs" / GRID / "evaluate"
    assert json.loads((folder / "evaluation.json").read_text()) == content


def test_evaluate_says_whom_policy_means(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", "drainage/estuary", "-c", "policy", "-c", "efd", "--seeds", "1", "--set", "duration_s=3600")
    assert call(*words, "--json", "out.json") == 0
    assert "'policy' at estuary: static decides, as gates did worse than it here" in capfd.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["policy"].startswith("static decides")


def test_evaluate_json_into_a_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", GRID, "-c", "greedy", "--seeds", "1", "--set", "duration_s=60", "-o", "out")
    assert call(*words, "--json", "out.json") == 0
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["controllers"]["greedy"]["failures"] == 0
    assert "greedy" in capfd.readouterr().out
    assert content["out"] == "out"


def test_evaluate_on_several_scenarios(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", GRID, "--each", "regime=engineer,resco", "-c", "greedy", "-c", "fixed", "--seeds", "1")
    assert call(*words, "--set", "duration_s=60", "-o", "out", "--json", "out.json") == 0
    assert "greedy as a share of the best of the others" in capfd.readouterr().out
    content = json.loads((tmp_path / "out.json").read_text())
    assert [found["label"] for found in content["evaluations"]] == ["grid2x2", "grid2x2-resco"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"grid2x2", "grid2x2-resco"}


def test_what_was_found_is_shown_before_a_later_scenario_fails(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    code = """
        from envs.core.world import Controller

        class Small(Controller):
            name = "small"
            def __init__(self, site):
                if len(site.agents) > 4:
                    raise MemoryError
            def act(self, readings, observation):
                return [0] * 4
    """
    (tmp_path / "mine.py").write_text(dedent(code))
    words = ("evaluate", GRID, "intersections/grid3x3", "-c", "mine.py:Small", "-c", "fixed", "--seeds", "1")
    assert call(*words, "--set", "duration_s=60", "-o", "out") == 2
    told = capfd.readouterr()
    assert "grid2x2: delay_s on 1 test seed" in told.out
    assert "rows, plots and TensorBoard events: out/grid2x2" in told.out
    assert "Error: grid3x3: controller 'mine.py:Small': Small(site) failed: MemoryError" in told.err


@pytest.mark.parametrize("several", [False, True])
def test_results_that_a_full_disk_refuses_are_told(tmp_path, monkeypatch, capfd, several):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{tmp_path}/.out.1.0a/rows.csv")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.evaluation.report._write_tables", full)
    words = ("evaluate", "dampers/dyke", "-c", "passive-on", "--seeds", "1", "--set", "duration_s=1", "-o", "out")
    words += ("--each", "conditions.delay_ms=0,1") * several
    assert call(*words) == 2
    told = capfd.readouterr()
    folder = "out/dyke" if several else "out"
    assert "passive-on" in told.out
    assert "rows, plots" not in told.out
    assert f"Error: results cannot be written to {folder} (No space left on device): make room" in told.err
    assert call(*words, "--json") == 2
    content = json.loads(capfd.readouterr().out)
    (found,) = content["evaluations"] if several else [content]
    assert found["controllers"]["passive-on"]["rows"][0]["seed"] == 0
    assert found["out"] is None
    assert not [path.name for path in tmp_path.rglob("*") if path.name != "out"]


def test_settings_of_a_fleet_are_drawn_against_each_other(tmp_path, monkeypatch, capfd):
    from tests.envs.transit.own import write

    monkeypatch.chdir(tmp_path)
    write(tmp_path, requests="time_s,from,to\n" + "0,a,c\n0,c,a\n" * 4)
    words = ("evaluate", "mine.yaml", "--each", "fleet.vehicles=1,2", "-c", "insertion", "-c", "nearest")
    assert call(*words, "--set", "fleet.seats=1", "--seeds", "1", "-o", "out", "--json", "out.json") == 0
    assert "wait_mean_min against served_pct: out/trade.png" in capfd.readouterr().out
    found = json.loads((tmp_path / "out.json").read_text())["evaluations"]
    served = [each["controllers"]["insertion"]["rows"][0]["served_pct"] for each in found]
    assert served == sorted(served)
    assert served[0] < served[1]
    assert (tmp_path / "out" / "trade.png").stat().st_size > 10_000


def test_evaluate_writes_on_a_card_what_a_bundle_reached(tmp_path, monkeypatch, capfd):
    from tests.serving.bundles import bundle

    monkeypatch.chdir(tmp_path)
    folder = bundle(tmp_path / "tiny")
    words = ("evaluate", GRID, "-c", str(folder), "-c", "fixed", "--seeds", "1", "--each", "duration_s=60", "--card")
    assert call(*words, "--json") == 0
    results = json.loads((folder / "policy.json").read_text())["evaluation"]
    reached = results[f"test: delay_s on 1 seed of {GRID}-duration_s60"]
    assert list(reached) == ["this policy", "fixed"]
    median = json.loads(capfd.readouterr().out)["controllers"]["fixed"]["median"]
    assert reached["fixed"]["median"] == pytest.approx(median, abs=0.01)
    assert f"| fixed | {reached['fixed']['median']:.4g} |" in (folder / "CARD.md").read_text()


def test_no_card_vouches_for_another_place_of_a_name_that_ships(tmp_path, capsys):
    scenario = load_scenario("drainage/estuary").model_dump(mode="json")
    (tmp_path / "theta.yaml").write_text(yaml.safe_dump(scenario | {"name": "theta"}))
    assert call("evaluate", str(tmp_path / "theta.yaml"), "-c", "gates", "-c", "static", "--card") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "theta is the name of another place, which ships: give this one another name" in told


def test_a_card_that_cannot_be_written_is_refused_before_anything_runs(monkeypatch, tmp_path, capsys):
    from envs.core.machine import files
    from tests.serving.bundles import bundle

    folder = bundle(tmp_path / "tiny")
    monkeypatch.setattr(files.os, "access", lambda path, mode: path != tmp_path)
    monkeypatch.setattr("verbs.evaluate._evaluations", lambda *_: pytest.fail("hours go by"))
    assert call("evaluate", GRID, "-c", str(folder), "--card") == 2
    assert "folder of the bundle" in capsys.readouterr().err
