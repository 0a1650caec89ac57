"""A bundle decides exactly as the policy that was trained."""

import logging
import os
import shutil

import numpy as np
import pytest
import torch
import yaml

from agents import make_controller
from agents.card import PolicyCard
from agents.networks import NETWORKS
from agents.policy import Policy
from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.core.machine.files import read_json, write_json
from training import validate
from training.actions import ActionCodec
from training.bundles.calibrate import _Place as Place
from training.bundles.export import export, largest_difference, random_parts
from training.evolution import SCALE
from training.evolution import _disturbed as disturbed
from training.settings import Settings
from training.tracking.config import describe
from training.validate import NetworkController, Validator, kept
from training.validate import _controller as validated
from training.weights import write_weights

SCENARIO = "intersections/cologne1"


def run_of(folder, network):
    """A run's folder as the trainer leaves it, with random weights, its policy, and a loop."""
    loop = make_loop(SCENARIO)
    torch.manual_seed(3)
    policy = NETWORKS[network](loop.layout.shapes, outputs=loop.layout.shapes["action_mask"][0], width=32)
    budget = {"minutes": 1.0, "iterations": None}
    describe(folder, network, [loop.scenario], Settings(width=32), budget, "cityloop train intersections/cologne1")
    facts = {"iteration": 20, "agent_steps": 10, "validation": {"cologne1": {"delay_s": 1.0}}}
    for place, name in (("best", "best.json"), ("candidates/000020", "facts.json")):
        write_weights(folder / place / "weights.npz", policy)
        write_json(folder / place / name, facts)
    return folder, policy, loop


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("stages"), "stages")


@pytest.fixture(scope="module")
def exported(run):
    """The run's bundle, made once, as that takes seconds."""
    return export(run[0], name="mine")


def test_export_equals_policy_on_thousands_of_observations(run, exported):
    _, policy, loop = run
    assert largest_difference(policy, Policy.load(exported), loop.layout.shapes, probes=300) < 1e-4


def test_export_of_a_network_without_stages_equals_the_policy(tmp_path):
    folder, policy, loop = run_of(tmp_path, "flat")
    assert largest_difference(policy, Policy.load(export(folder)), loop.layout.shapes, probes=300) < 1e-4


def test_a_policy_with_large_logits_is_exported(tmp_path):
    """Rounding grows with the logits, so an absolute limit refused such a policy."""
    folder, policy, _ = run_of(tmp_path, "stages")
    with torch.no_grad():
        policy.prior *= 1000.0
    for place in ("best", "candidates/000020"):
        write_weights(folder / place / "weights.npz", policy)
    assert Policy.load(export(folder)).card.system == "intersections"


def test_export_makes_the_same_decisions(run, exported):
    _, policy, loop = run
    bundle = Policy.load(exported)
    rng = np.random.default_rng(5)
    for _ in range(200):
        parts = random_parts(policy, loop.layout.shapes, rng)
        with torch.no_grad():
            logits = policy({name: torch.from_numpy(part) for name, part in parts.items()}).numpy()
        wanted = logits.argmax(axis=1)
        # A tie within rounding may fall either way.
        ties = np.abs(np.take_along_axis(logits, bundle.act({}, parts)[:, None], 1)[:, 0] - logits.max(axis=1)) < 1e-4
        assert ((bundle.act({}, parts) == wanted) | ties).all()


@pytest.mark.parametrize(
    ("ref", "network", "last", "width"),
    [("drainage/astlingen", "gates", "more", 1), ("transit/hcmc", "zones", "correction", 2)],
)
def test_settings_are_exported_as_settings(tmp_path, ref, network, last, width):
    """A gate's or a zone's policy gives numbers: the bundle asks for the very settings that validation asked for."""
    loop = make_loop(ref, duration_s=7200)
    torch.manual_seed(3)
    policy = NETWORKS[network](loop.layout.shapes, width=32)
    torch.nn.init.normal_(getattr(policy, last).weight, std=0.5)
    describe(tmp_path, network, [loop.scenario], Settings(width=32), {"minutes": 1.0, "iterations": None}, "x")
    write_weights(tmp_path / "best" / "weights.npz", policy)
    facts = {"iteration": 1, "agent_steps": 1, "validation": {loop.scenario.label: {loop.system.kpi: 1.0}}}
    write_json(tmp_path / "best" / "best.json", facts)
    bundle = Policy.load(export(tmp_path), loop.scenario.system)
    trained = NetworkController(policy, ActionCodec(loop.action_space), "trained")
    try:
        loop.reset(0)
        for _ in range(10):
            asked = bundle.act(loop.readings, loop.observation)
            assert asked.shape == (len(loop.site.agents), width)
            np.testing.assert_allclose(asked, trained.act(loop.readings, loop.observation), atol=1e-5)
            loop.step(asked)
        assert len(np.unique(asked.round(3))) > 1
    finally:
        loop.close()


def test_card_says_where_it_comes_from(run, exported):
    *_, loop = run
    text = (exported / "CARD.md").read_text()
    assert "cityloop train intersections/cologne1\n" in text
    assert loop.scenario.hash in text


def test_card_says_on_what_the_run_began_whatever_its_files_are_now(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["hashes"] = dict.fromkeys(config["hashes"], "0123456789abcdef")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    card = PolicyCard.from_file(export(folder) / "policy.json", "card")
    assert set(card.training.scenarios.values()) == {"0123456789abcdef"}


def test_another_kept_policy_can_be_exported(run, tmp_path):
    folder = run[0]
    kept = sorted(int(path.name) for path in (folder / "candidates").iterdir())
    card = (export(folder, tmp_path / "one", update=kept[0]) / "CARD.md").read_text()
    assert f"cityloop export RUN --update {kept[0]}\n" in card
    with pytest.raises(CityloopError, match=f"kept no policy of update 99999: choose {kept[0]}"):
        export(folder, tmp_path / "none", update=99_999)


def test_a_name_that_cannot_be_one_is_refused(run, tmp_path):
    folder, *_ = run
    with pytest.raises(CityloopError, match="--name is 'my policy': use letters"):
        export(folder, tmp_path / "bundle", name="my policy")


def test_a_target_that_cannot_be_one_is_refused_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr("training.bundles.export.to_onnx", None)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CityloopError, match="is not a policy bundle and is not overwritten"):
        export(run[0], tmp_path)
    with pytest.raises(CityloopError, match="cannot be made or written"):
        export(run[0], "/dev/null/new")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CityloopError, match="is the folder that you are in"):
        export(run[0], ".")


def test_run_without_policy_is_refused(tmp_path):
    with pytest.raises(CityloopError, match=r"no validated policy.*train it longer"):
        export(tmp_path)


def test_whoever_plays_a_policy_asks_for_what_close_signals_settle(run, exported):
    """Validation, evolution and calibration, on a map with such signals, as the bundle that ships does there."""
    folder, policy, _ = run
    weights = folder / "best" / "weights.npz"
    np.save(weights.with_name(SCALE), np.zeros(sum(p.numel() for p in policy.parameters()), np.float32))
    scenario = load_scenario("intersections/town7")
    loop = make_loop(scenario)
    players = [
        validated("stages", 32, str(weights), loop.site),
        disturbed("stages", 32, f"{weights}#20#1#0.0", loop.site),
        Place(scenario, Policy.load(exported), 1).policy,
    ]
    ships, unsettled = make_controller(exported, loop.site), Policy.load(exported)
    rng, changed = np.random.default_rng(6), 0
    shape = {name: len(labels) for name, labels in loop.site.axes.items()}
    for _ in range(50):
        readings = {c.name: rng.integers(0, 2, shape[c.axis]).astype(float) for c in loop.system.readings.columns}
        readings |= {"clearing_s": np.zeros(shape["junction"]), "green_s": np.full(shape["junction"], 30.0)}
        observation = loop.features.encode(readings, loop.guard.mask(readings))
        asked = ships.act(readings, observation)
        changed += (asked != unsettled.act(readings, observation)).any()
        for player in players:
            assert player.act(readings, observation).tolist() == asked.tolist()
    assert changed


def test_a_bundle_that_is_replaced_is_told_of(run, exported, tmp_path, caplog, monkeypatch):
    def told():
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    model = (exported / "policy.onnx").read_bytes()
    monkeypatch.setattr("training.bundles.export.to_onnx", lambda *_: model)  # as it would be; that takes seconds
    bundle = export(run[0], tmp_path / "mine")
    assert not told()
    (bundle / "signature.json").touch()
    export(run[0], bundle)
    assert told() == [
        f"{bundle} was signed, and what is there now is not: sign it with `cityloop sign`",
        f"an older bundle in {bundle} was replaced, with what its card told of it",
    ]


@pytest.fixture
def validator(tmp_path):
    """One with two candidates, whose weights tell which of them they are; the first is the best so far."""
    validator = Validator([load_scenario(SCENARIO)], Settings(), "flat", tmp_path)
    for update in (20, 40):
        layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(layer.weight, update)
        write_weights(tmp_path / "candidates" / f"{update:06d}" / "weights.npz", layer)
        facts = {"iteration": update, "agent_steps": update, "validation": {}}
        write_json(tmp_path / "candidates" / f"{update:06d}" / "facts.json", facts)
    validator._promote("000020")
    return validator


def test_a_policy_that_is_not_finite_is_no_candidate(validator):
    layer = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(layer.bias, torch.nan)
    with pytest.raises(CityloopError, match="weights are not finite after update 60: give a lower learning_rate"):
        validator(layer, {"iteration": 60})
    assert sorted(path.name for path in (validator.folder / "candidates").iterdir()) == ["000020", "000040"]


def told(run):
    """The update that weights of the best policy are of, and the one that its facts are of."""
    weights, facts = kept(run)
    return int(weights["weight"].item()), facts["iteration"]


def test_weights_and_facts_of_the_best_policy_are_never_of_two(validator, monkeypatch):
    """A run may be killed at any moment, and what it had found exported."""
    run, seen = validator.folder, []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(told(run)))
    (run / ".best.tmp").mkdir()  # left by a run that was killed
    (run / ".best.tmp" / "weights.npz").write_text("half of them")
    validator._promote("000040")
    assert set(seen) == {(20, 20), (40, 40)}
    assert {path.name for path in run.iterdir()} == {"best", "candidates"}
    assert {path.name for path in (run / "best").iterdir()} == {"best.json", "weights.npz"}


def test_a_run_may_find_a_better_policy_while_its_best_is_read(validator, monkeypatch):
    promotions = iter(["000040"])

    def read(path):
        facts = read_json(path)
        for name in promotions:
            validator._promote(name)
        return facts

    monkeypatch.setattr(validate, "read_json", read)
    assert told(validator.folder) == (40, 40)
