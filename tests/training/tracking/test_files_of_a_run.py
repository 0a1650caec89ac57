"""Files of a run after a full disk, a power cut or a manual change: the run resumes, or one sentence says why not."""

import csv
import errno
import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from envs import CityloopError, load_scenario
from envs.core.machine.files import read_json, write_json, write_text
from training.backprop import Backprop
from training.evolution import Evolution
from training.run import Run, critic_alone
from training.settings import Settings
from training.start import MODULE, read_start
from training.tracking.config import describe
from training.tracking.journal import Journal
from training.tracking.stored import hashes_of, stored_scenario, trained_on
from training.train import _begun, _resume_hint, train
from training.weights import Start, write_weights


@pytest.mark.parametrize("given", [None, "elsewhere"])
def test_a_full_disk_is_named_by_the_run_that_lies_there(tmp_path, given):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([] if given is None else [given]))
    with pytest.raises(OSError, match="No space left") as raised, _resume_hint(tmp_path):
        raise full
    assert raised.value.filename == (given or str(tmp_path))
    assert not hasattr(raised.value, "__notes__")
    write_text(tmp_path / "checkpoints" / "latest", "000007")
    with pytest.raises(OSError, match="No space left"), _resume_hint(tmp_path):
        raise full
    assert full.__notes__ == [f"go on: cityloop train --resume {tmp_path}"]


@pytest.mark.parametrize("kind", [Backprop, Evolution])
def test_a_checkpoint_that_finds_no_room_says_so(tmp_path, monkeypatch, kind):
    """What torch raises of it is no OSError, and says nothing of a disk."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    learner, network = object.__new__(kind), torch.nn.Linear(1, 1)
    learner._network = learner._averaged = network
    learner._optimizer = torch.optim.Adam(network.parameters())
    learner._plants, learner._point, learner._updates, learner._scale = [], network.weight, 1, network.weight
    with pytest.raises(OSError, match=r"No space left .*learner.pt"):
        learner.save(tmp_path / "000007")


def test_a_checkpoint_is_on_the_disk_before_anything_points_to_it(tmp_path, monkeypatch):
    """A power cut may come at any moment: what was not synchronised may be empty then."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))

    def save(folder):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "weights").write_text("x")

    run = object.__new__(Run)
    run.folder, run.iteration, run.elapsed_s, run._alone = tmp_path, 7, 1.0, 0
    run.learner, run.validator = SimpleNamespace(save=save), SimpleNamespace(state=dict)
    run.save()
    places = [Path(name).relative_to(tmp_path / "checkpoints").as_posix() for name in synced]
    pointed = next(k for k, place in enumerate(places) if place.startswith(".latest"))
    assert {"000007/deep/weights", "000007/deep", "000007"} <= set(places[:pointed])
    assert any(place.startswith("000007/.progress") for place in places[:pointed])


def test_a_curve_whose_last_line_was_cut_off_goes_on(tmp_path):
    journal = Journal(tmp_path, "toys", "score", ["a"])
    journal.write({"x": 1.0}, 1, 10, 0.5)
    journal.write({"x": 2.0}, 12, 120, 0.9)
    journal.close()
    text = (tmp_path / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(text[: text.rindex("12,120") + 1])
    again = Journal(tmp_path, "toys", "score", ["a"], at=(1, 10))
    again.write({"x": 3.0}, 2, 20, 0.6)
    again.close()
    with (tmp_path / "metrics.csv").open() as file:
        rows = [(row["iteration"], row["value"]) for row in csv.DictReader(file)]
    assert rows == [("1", "1"), ("2", "3")]


def test_a_checkpoint_that_is_not_whole_is_one_sentence(tmp_path):
    """A copy that is broken off, or a disk that fails, leaves files without their end."""
    (tmp_path / "checkpoints" / "000007").mkdir(parents=True)
    (tmp_path / "checkpoints" / "latest").write_text("000007")
    (tmp_path / "checkpoints" / "000007" / "learner.pt").write_bytes(b"PK")
    run = object.__new__(Run)
    run.folder = tmp_path
    run.learner = SimpleNamespace(restore=lambda folder: torch.load(folder / "learner.pt"))
    with pytest.raises(CityloopError, match=r"checkpoints/000007 cannot be read .* altered or cut off; begin a new"):
        run.resume()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_weights_that_are_not_whole_are_one_sentence(tmp_path, content):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "weights.npz").write_bytes(content)
    (tmp_path / "best" / "best.json").write_text('{"iteration": 1, "agent_steps": 1, "validation": {}}')
    with pytest.raises(CityloopError, match=r"weights.npz holds no weights .* altered or cut off; choose another"):
        read_start(tmp_path)


def test_facts_that_were_altered_are_one_sentence(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "weights.npz").touch()
    (tmp_path / "best" / "best.json").write_text('{"iteration": 1, "validation": {}}')
    with pytest.raises(CityloopError, match=r"best.json lacks 'agent_steps': it was altered; choose another"):
        read_start(tmp_path)


def test_a_run_that_cannot_go_on_is_let_go_of(tmp_path):
    (tmp_path / "run.lock").touch()
    (tmp_path / "config.yaml").write_text("command: cityloop train\n")
    for _ in range(2):
        with pytest.raises(CityloopError, match="was cut off, or made by another version"):
            train(resume=tmp_path)


def test_a_config_that_lacks_its_budget_is_one_sentence_and_lets_go(tmp_path):
    (tmp_path / "run.lock").touch()
    begun = {"command": "x", "settings": {}, "scenarios": [load_scenario("dampers/dyke").model_dump(mode="json")]}
    for budget in ({}, {"budget": None}, {"budget": {"minutes": 1.0}}):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(begun | budget))
        with pytest.raises(CityloopError, match="was cut off, or made by another version"):
            train(resume=tmp_path)


def test_a_checkpoint_removes_those_before_it_and_what_a_killed_process_left(tmp_path):
    places = tmp_path / "checkpoints"
    (places / "000006").mkdir(parents=True)
    (places / ".latest.1234.0a1b2c3d.tmp").touch()
    learner = SimpleNamespace(save=lambda folder: folder.mkdir())
    validator = SimpleNamespace(state=dict)
    run = SimpleNamespace(folder=tmp_path, iteration=7, elapsed_s=1.0, _alone=0, learner=learner, validator=validator)
    Run.save(run)
    assert sorted(path.name for path in places.iterdir()) == ["000007", "latest"]


def test_a_checkpoint_that_is_not_whole_leaves_the_policy_to_begin_with(tmp_path, caplog):
    """As `--resume` advises: a new critic learns first."""
    write_weights(tmp_path / "best" / "weights.npz", torch.nn.Linear(1, 1))
    write_json(tmp_path / "best" / "best.json", {"iteration": 1, "agent_steps": 7, "validation": {}})
    write_text(tmp_path / "config.yaml", "command: cityloop train\nscenarios: []\n")
    write_text(tmp_path / "checkpoints" / "latest", "000007")
    file = tmp_path / "checkpoints" / "000007" / MODULE
    file.parent.mkdir(parents=True)
    whole = pickle.dumps({"critic.weight": np.zeros(9), "returns.mean": np.zeros(1)})
    for content in (b"", whole[: len(whole) // 2], pickle.dumps([1])):
        file.write_bytes(content)
        start = read_start(tmp_path)
        assert (start.decisions, start.critic, start.returns) == (7, {}, {})
        assert "module_state.pkl cannot be read" in caplog.messages[-1]
    file.write_bytes(whole)
    assert list(read_start(tmp_path).critic) == ["weight"]
    assert len(caplog.messages) == 3


def test_what_a_policy_was_trained_on_is_known_when_its_files_are_gone(tmp_path):
    scenario = load_scenario("intersections/cologne1").model_copy(update={"name": "mine"})
    describe(tmp_path, "stages", [scenario], Settings(), {}, "cityloop train")
    file = tmp_path / "config.yaml"
    write_text(file, file.read_text().replace(str(scenario.net), "/gone/mine.net.xml"))
    write_weights(tmp_path / "best" / "weights.npz", torch.nn.Linear(1, 1))
    write_json(tmp_path / "best" / "best.json", {"iteration": 1, "agent_steps": 7, "validation": {}})
    assert read_start(tmp_path).scenarios == {"intersections/mine": scenario.hash}


def test_a_run_whose_files_have_changed_says_so(tmp_path, caplog):
    """Its rules and its best policy were measured on what was there before, and its card tells of that."""
    shipped = load_scenario("intersections/cologne1")
    net = Path(shutil.copy(shipped.net, tmp_path / "mine.net.xml"))
    scenario = shipped.model_copy(update={"name": "mine", "net": net})
    describe(tmp_path, "stages", [scenario], Settings(), {"minutes": 1.0, "iterations": None}, "cityloop train")
    begun = {"intersections/mine": scenario.hash}
    _begun(tmp_path)
    assert caplog.messages == []
    net.write_text(net.read_text() + "<!-- another lane -->")
    content, _, scenarios = _begun(tmp_path)
    assert caplog.messages[0].startswith("intersections/mine has other settings or files than when ")
    assert hashes_of(content, scenarios) == begun != trained_on(scenarios)


@pytest.mark.parametrize("ref", ["intersections/cologne1", "drainage/theta", "transit/ingolstadt"])
def test_files_that_ship_are_found_in_another_environment(ref):
    """A run that was copied, or whose Python was renewed, names them where they were."""
    scenario = load_scenario(ref).override({"description": "mine"})
    text = json.dumps(scenario.model_dump(mode="json"))
    for path in scenario.files():
        text = text.replace(str(Path(*path.parts[:-3])), "/gone/lib/python3.9/site-packages")
    assert "/gone/" in text
    assert stored_scenario(json.loads(text), "runs/mine") == scenario


def test_a_file_of_ones_own_that_is_gone_is_named_with_its_key():
    plain = load_scenario("intersections/cologne1").model_dump(mode="json")
    for moved, name in (({"net": "/gone/other.net.xml"}, "cologne1"), ({"net": "/gone/mine.net.xml"}, "mine")):
        with pytest.raises(CityloopError, match=rf"^runs/mine/config.yaml: net of scenario {name} is /gone/.* missing"):
            stored_scenario(plain | moved | {"name": name}, "runs/mine")
    with pytest.raises(CityloopError, match=r"^runs/mine: .*duration_s"):
        stored_scenario(plain | {"duration_s": -1}, "runs/mine")


@pytest.mark.parametrize(("kept", "alone"), [({"alone": 12}, 12), ({}, 0)])
def test_updates_of_the_critic_alone_are_no_lack_of_success_after_a_kill_either(tmp_path, monkeypatch, kept, alone):
    begun = object.__new__(Run)
    begun.folder, begun.iteration, begun.elapsed_s, begun._alone = tmp_path, 6, 1.0, 12
    begun.learner = SimpleNamespace(save=lambda folder: folder.mkdir(parents=True))
    begun.validator = SimpleNamespace(state=dict)
    begun.save()
    progress = tmp_path / "checkpoints" / "000006" / "progress.json"
    content = read_json(progress)
    write_json(progress, {key: value for key, value in content.items() if key != "alone"} | kept)
    run = object.__new__(Run)
    run.folder, run.settings, run.budget = tmp_path, Settings(patience=2), {"iterations": 16, "minutes": None}
    run.learner = SimpleNamespace(restore=lambda folder: None)
    run.validator = SimpleNamespace(restore=lambda state: None, stale=6)
    monkeypatch.setattr(Run, "_journal", lambda run, at: None)
    monkeypatch.setattr(Run, "_agent_steps", 0)
    run.resume()
    assert run._alone == alone
    assert run.fraction() == (6 / 16 if alone else 1.0)


@pytest.mark.parametrize(
    ("algorithm", "critic", "alone"), [("mappo", {}, 12), ("mappo", {"w": 1}, 0), ("backprop", {}, 0)]
)
def test_only_a_critic_that_begins_anew_learns_alone(tmp_path, algorithm, critic, alone):
    start = Start(tmp_path, {}, 0, "", critic=critic)
    assert critic_alone(start, Settings(algorithm=algorithm, critic_first=12)) == alone
