"""What is not trained on, or cannot be meant: it is refused in a sentence before a run begins."""

import pytest

from envs import CityloopError, load_scenario
from training.train import train


def test_wrong_setting_is_refused(scenario, tmp_path):
    with pytest.raises(CityloopError, match="unknown key 'learning_rat'"):
        train(scenario, out=tmp_path / "x", learning_rat=1)
    with pytest.raises(CityloopError, match="width is 1000000: give at most"):
        train(scenario, out=tmp_path / "x", width=1_000_000)


def test_a_scenario_may_be_given_once(scenario, tmp_path, monkeypatch):
    """Which is said at once."""
    monkeypatch.setattr("training.train.ray_session", lambda cpus: pytest.fail("Ray takes seconds to start"))
    with pytest.raises(CityloopError, match="grid2x2 is given twice"):
        train([scenario, scenario], out=tmp_path / "x")


def test_what_is_for_tests_is_not_trained_on(tmp_path):
    with pytest.raises(CityloopError, match="drainage/astlingen-oct2005 is for tests alone"):
        train(load_scenario("drainage/astlingen-oct2005"), out=tmp_path / "x")


def test_scenarios_of_one_run_are_judged_alike(tmp_path):
    places = [load_scenario("drainage/astlingen"), load_scenario("drainage/theta")]
    with pytest.raises(CityloopError, match="judged by controllable_m3 and by objective cannot share"):
        train(places, out=tmp_path / "x")


def test_the_reference_is_no_algorithm_of_this_trainer(scenario, tmp_path):
    with pytest.raises(CityloopError, match="algorithm is 'sb3'"):
        train(scenario, out=tmp_path / "x", iterations=1, algorithm="sb3")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scenarios": "dampers/atlantis"}, "scenario 'dampers/atlantis' is unknown"),
        ({"minutes": "5"}, "minutes is '5': give a number"),
        ({"iterations": 1.5}, "iterations is 1.5: give a whole number"),
        ({"iterations": True}, "iterations is True: give a whole number"),
        ({"algorithm": ["mappo"]}, "algorithm is .*: give 'mappo'"),
        ({"algorithm": "sb3"}, "training.reference.train_reference"),
        ({"population": 8}, "population has no effect on mappo: leave it out, or choose evolution"),
        ({"algorithm": "ippo", "feedback": 0.5}, "feedback has no effect on ippo: .* choose backprop"),
        ({"algorithm": "backprop", "runners": 1}, "runners has no effect on backprop: .* choose mappo, ippo"),
        (
            {"algorithm": "evolution", "grad_clip": 1.0},
            "grad_clip has no effect on evolution: .* mappo, ippo, backprop",
        ),
        ({"start_update": 3}, "start_update is 3: .* so give start"),
        ({"start": "nowhere"}, "run nowhere does not exist: give a folder"),
        ({"resume": "nowhere", "width": 8}, "width does not go with a run to resume"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said_in_a_sentence(given, said):
    with pytest.raises(CityloopError, match=said):
        train(**{"scenarios": "dampers/dyke", "iterations": 1} | given)
