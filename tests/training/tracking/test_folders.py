"""Run folders: no partial files, no overwriting, one holder at a time."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from envs import CityloopError, load_scenario
from envs.core.machine.files import write_text
from training.tracking import folders
from training.tracking.folders import RunFolder, free_path, new_folder, staged, tensorboard, versions


@pytest.fixture(scope="module")
def scenario():
    return load_scenario("intersections/grid2x2")


def test_staged_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"

    def fill_half():
        with staged(out) as draft:
            (draft / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill_half()
    assert list(out.parent.iterdir()) == []
    with staged(out) as draft:
        (draft / "whole").write_text("x")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["whole"]
    with pytest.raises(CityloopError, match="exists already"), staged(out):
        pass


def test_the_folder_that_one_is_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path(), tmp_path):
        with pytest.raises(CityloopError, match="the folder that you are in"), staged(path):
            pass
    assert not any(tmp_path.iterdir())


def test_two_runs_of_one_moment_have_folders_of_their_own(tmp_path, monkeypatch):
    """Both find the same name free; the other is there first."""
    found = free_path(tmp_path, "a")

    def late(parent, name):
        monkeypatch.undo()
        found.mkdir()
        (found / "other").touch()
        return found

    monkeypatch.setattr(folders, "free_path", late)
    assert new_folder(tmp_path, "a") == tmp_path / "a-2"
    assert os.listdir(found) == ["other"]


def test_free_path_counts_up(tmp_path):
    assert free_path(tmp_path, "a").name == "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_path(tmp_path, "a").name == "a-3"


def test_run_folder_lies_where_the_design_says(tmp_path, scenario):
    with RunFolder.create([scenario], "mappo", 7, root=tmp_path) as run:
        parts = run.path.relative_to(tmp_path).parts
    assert parts[:3] == ("intersections", "grid2x2", "mappo")
    assert parts[3].endswith("-s7")


def test_a_held_folder_is_refused_until_it_is_let_go(tmp_path, scenario):
    run = RunFolder.create([scenario], "mappo", 0, out=tmp_path / "run")
    with pytest.raises(CityloopError, match=rf"held by another run \(process {os.getpid()}\)"):
        RunFolder.open(run.path)
    run.close()
    run.close()
    RunFolder.open(run.path).close()


@pytest.mark.parametrize("given", [False, True])
def test_what_is_refused_before_it_began_leaves_nothing_but_a_folder_that_was_there(tmp_path, scenario, given):
    path = tmp_path / "run"
    if given:
        path.mkdir()
    with pytest.raises(CityloopError, match="no such plant"), RunFolder.create([scenario], "mappo", 0, out=path):
        raise CityloopError("no such plant")
    assert [path.exists(), *tmp_path.rglob("run/*")] == [given]
    run = RunFolder.create([scenario], "mappo", 0, out=path)
    write_text(path / "config.yaml", "what was done so far stays\n")
    with pytest.raises(CityloopError, match="cut off"), run:
        raise CityloopError("cut off")
    RunFolder.open(path).close()


def test_a_copy_without_its_lock_is_a_run(tmp_path):
    write_text(tmp_path / "config.yaml", "command: cityloop train\n")
    RunFolder.open(tmp_path).close()


def test_the_lock_ends_with_its_process(tmp_path, scenario):
    path = tmp_path / "run"
    RunFolder.create([scenario], "mappo", 0, out=path).close()
    script = f"""
import time
from pathlib import Path
from training.tracking.folders import RunFolder
run = RunFolder.open(Path({str(path)!r}))
print("held", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(CityloopError, match=f"process {child.pid}"):
            RunFolder.open(path)
        child.kill()
    RunFolder.open(path).close()


def test_taken_and_foreign_folders_are_refused(tmp_path, scenario):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CityloopError, match="exists already"):
        RunFolder.create([scenario], "mappo", 0, out=tmp_path)
    with pytest.raises(CityloopError, match="cannot be made"):
        RunFolder.create([scenario], "mappo", 0, out=tmp_path / "file" / "run")
    with pytest.raises(CityloopError, match="no run folder"):
        RunFolder.open(tmp_path)


def test_versions_name_what_decides_a_result(monkeypatch):
    found = versions()
    assert {"python", "cityloop", "torch", "ray", "sumo", "gymnasium", "numpy", "commit"} <= set(found)
    assert all(isinstance(value, str) for value in found.values())
    json.dumps(found)
    monkeypatch.setattr(folders, "PACKAGES", {"nothing": "no-such-distribution"})
    assert versions()["nothing"] == "not installed"


def test_curves_that_find_no_room_are_an_error_of_the_writer_and_no_trace_of_a_thread(tmp_path, monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run(what):
        thread = threading.Thread(target=what)
        thread.start()
        thread.join()

    told = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: told.append(failed.thread))
    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", write)
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="No space left"):
        tensorboard(tmp_path)
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert told == []
    run(write)
    assert len(told) == 1  # what fails elsewhere is still heard
