"""Runs that start from weights of others: of a run, of a bundle, or of a policy that ships."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from agents import CHECKPOINTS
from agents.policy import Policy
from envs import CityloopError
from envs.core.files import read_json
from tests.training.small import SMALL, weights
from training.export import export
from training.start import adopt, read_start
from training.train import train


@pytest.fixture(scope="module")
def one_ray(run, one_ray):
    """Begun once that run is over."""


def test_a_run_starts_from_what_another_learned(run, scenario, tmp_path, one_ray):
    folder, _ = run
    still = {**SMALL, "learning_rate": 1e-12, "learning_rate_end": 0, "epochs": 1}
    again = train(scenario, iterations=1, out=tmp_path / "again", start=folder, command="cityloop train", **still)
    for name, weight in weights(folder).items():
        np.testing.assert_allclose(weights(again)[name], weight, atol=1e-6)
    before, after = read_start(folder), read_start(again)
    for name, weight in before.critic.items():
        np.testing.assert_allclose(after.critic[name], weight, atol=1e-6)
    assert after.decisions > before.decisions > 0
    assert before.returns[scenario.label]["weight"] < after.returns[scenario.label]["weight"]
    assert Policy.load(export(again)).card.training.decisions == after.decisions
    with pytest.raises(CityloopError, match="the same --hyper width"):
        train(scenario, iterations=1, out=tmp_path / "wider", start=folder, **{**SMALL, "width": 24})
    with pytest.raises(CityloopError, match="either a run to resume or one to start from"):
        train(resume=folder, start=folder, iterations=9)
    with pytest.raises(CityloopError, match="has no validated policy"):
        train(scenario, iterations=1, out=tmp_path / "none", start=tmp_path, **SMALL)


def test_a_run_starts_from_a_bundle_and_its_critic_learns_first(run, scenario, tmp_path, one_ray):
    """All that ships of a run is its bundle. A critic that knows nothing does not spoil the policy meanwhile."""
    folder, _ = run
    bundle = export(folder, tmp_path / "bundle")
    before, shipped = read_start(folder), read_start(bundle)
    for name, weight in before.policy.items():
        np.testing.assert_allclose(shipped.policy[name], weight, atol=1e-6)
    assert shipped.decisions == before.decisions
    kept = {**SMALL, "finalists": 3}
    again = train(scenario, iterations=3, out=tmp_path / "again", start=bundle, critic_first=2, **kept)
    for update, still in ((1, True), (2, True), (3, False)):
        moved = [np.abs(read_start(again, update).policy[k] - weight).max() for k, weight in before.policy.items()]
        assert (max(moved) < 1e-6) == still
    assert any(not np.allclose(weight, before.critic[name]) for name, weight in read_start(again).critic.items())
    with pytest.raises(CityloopError, match=r"iterations is 2, .* learns alone for 2 updates: give more"):
        train(scenario, iterations=2, out=tmp_path / "none", start=bundle, critic_first=2, **SMALL)
    with pytest.raises(CityloopError, match="for system 'intersections', not 'drainage'"):
        read_start(bundle, system="drainage")
    with pytest.raises(CityloopError, match=r"update is 3, and bundle .* holds one policy"):
        read_start(bundle, 3)


def test_a_run_starts_from_a_policy_that_ships(scenario, tmp_path, one_ray):
    still = {**SMALL, "width": 64, "critic_first": 0}
    again = train(scenario, iterations=1, out=tmp_path / "again", start="generalist", **still)
    shipped = Policy.load(CHECKPOINTS / "intersections" / "generalist").card.training
    learned = Policy.load(export(again)).card.training
    assert learned.decisions > shipped.decisions
    assert learned.scenarios == shipped.scenarios | {f"intersections/{scenario.label}": scenario.hash}
    assert read_start(again).scenarios == learned.scenarios
    with pytest.raises(CityloopError, match=r"\(64, 16\).*the same --hyper width"):
        train(scenario, iterations=1, out=tmp_path / "other", start="generalist", critic_first=0, **SMALL)
    with pytest.raises(CityloopError, match="holds no network as this version exports it"):
        read_start(CHECKPOINTS / "dampers" / "jansen-all")


def test_a_run_starts_from_another_policy_than_the_best(run):
    folder, _ = run
    for path in (folder / "candidates").iterdir():
        start = read_start(folder, int(path.name))
        with np.load(path / "weights.npz") as kept:
            assert all((kept[name] == weight).all() for name, weight in start.policy.items())
        assert start.decisions == read_json(path / "facts.json")["agent_steps"]
    with pytest.raises(CityloopError, match="kept no policy of update 999: choose "):
        read_start(folder, 999)


def test_inputs_that_came_later_begin_without_effect():
    narrow, wide = nn.Linear(3, 2), nn.Linear(5, 2)
    adopt(wide, {name: value.detach().numpy() for name, value in narrow.state_dict().items()}, Path("run"))
    seen = torch.randn(4, 5)
    torch.testing.assert_close(wide(seen), narrow(seen[:, :3]))
