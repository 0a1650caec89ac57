"""What a scenario's settings mean, and what is wrong with them in one sentence."""

import pytest

from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from envs.intersections.timing import REGIMES
from tests.envs.intersections.own import YAML, refusal


@pytest.mark.parametrize("key", ["teleport_s", "timing.decision_s", "begin_s"])
def test_no_number_is_true(folder, key):
    assert f"{key.rpartition('.')[2]} is true: give a number" in refusal(folder / "own.yaml", **{key: True})


def test_what_should_be_a_list_is_said_in_yamls_words(folder):
    path = folder / "own.yaml"
    path.write_text(YAML.replace("[own.rou.xml]", "own.rou.xml"))
    assert refusal(path).endswith("own.rou.xml': give a list")


def test_unknown_key(folder):
    (folder / "own.yaml").write_text(YAML + "colour: red\n")
    assert "unknown key 'colour': remove it or correct its spelling" in refusal(folder / "own.yaml")


def test_unknown_regime(folder):
    (folder / "own.yaml").write_text(YAML + "regime: brisk\n")
    sentence = refusal(folder / "own.yaml")
    assert "regime is 'brisk'" in sentence
    assert "engineer" in sentence


def test_unknown_regime_as_a_setting():
    assert "regime is 'brisk'" in refusal("intersections/cologne1", regime="brisk")


def test_a_value_out_of_range(folder):
    assert "sensors.dropout is 3" in refusal(folder / "own.yaml", sensors__dropout=3)


def test_a_longest_green_below_the_shortest(folder):
    given = {"timing__min_green_s": 40, "timing__max_green_s": 10}
    assert "timing: max_green_s is 10: give at least min_green_s, 40" in refusal(folder / "own.yaml", **given)


def test_unknown_scenario():
    assert "choose intersections/cologne1" in refusal("intersections/atlantis")


def test_regimes_bring_their_timing():
    scenario = load_scenario("intersections/arterial4x4", regime="resco")
    assert (scenario.timing.decision_s, scenario.timing.yellow_s) == (5, 2)
    assert load_scenario("intersections/cologne1", regime="resco").timing.decision_s == 10
    assert load_scenario("intersections/cologne1").timing.yellow_s is None


def test_what_a_timing_leaves_out_is_the_regimes(folder):
    with (folder / "own.yaml").open("a") as file:
        file.write("timing: {min_green_s: 9}\n")
    assert load_scenario(folder / "own.yaml").timing == REGIMES["engineer"].model_copy(update={"min_green_s": 9})
    with (folder / "own.yaml").open("a") as file:
        file.write("regime: resco\n")
    assert load_scenario(folder / "own.yaml").timing == REGIMES["resco"].model_copy(update={"min_green_s": 9})


def test_a_window_without_traffic_is_refused():
    scenario = load_scenario("intersections/grid2x2", begin_s=50_000, duration_s=10)
    loop = make_loop(scenario)
    loop.reset(1)
    loop.step(loop.mask.argmax(axis=1))
    with pytest.raises(CityloopError, match=r"no vehicle due from 50000 s to 50010 s: set begin_s"):
        loop.step(loop.mask.argmax(axis=1))


def test_a_rule_over_several_keys_is_told_without_the_whole_document():
    with pytest.raises(CityloopError, match=r"^scenario intersections/grid2x2: duration_s is 3: it must cover"):
        load_scenario("intersections/grid2x2", duration_s=3)


def test_training_seeds_have_faulty_sensors_now_and_then():
    scenario = load_scenario("intersections/grid2x2")
    assert scenario.sensors_of(scenario.seeds.test.first) == scenario.sensors
    train = [scenario.sensors_of(scenario.seeds.train.first + k) for k in range(400)]
    faulty = [sensors for sensors in train if sensors.dropout > 0]
    assert 150 < len(faulty) < 250
    assert max(sensors.dropout for sensors in faulty) <= scenario.training_sensors.dropout
    assert len({sensors.dropout for sensors in faulty}) == len(faulty)
    assert train == [scenario.sensors_of(scenario.seeds.train.first + k) for k in range(400)]


def test_fixed_faults_are_the_same_in_every_episode():
    scenario = load_scenario("intersections/grid2x2", training_sensors__dropout=0.2, training_sensors__faulty=None)
    assert {scenario.sensors_of(scenario.seeds.train.first + k).dropout for k in range(9)} == {0.2}


def test_a_range_is_drawn_from_in_every_episode():
    scenario = load_scenario("intersections/grid2x2", sensors__dropout=[0.1, 0.3], sensors__noise=0.05)
    seen = [scenario.sensors_of(seed) for seed in range(200)]
    dropouts = [sensors.dropout for sensors in seen]
    assert 0.1 <= min(dropouts) < 0.11
    assert 0.29 < max(dropouts) <= 0.3
    assert {sensors.noise for sensors in seen} == {0.05}
    assert seen == [scenario.sensors_of(seed) for seed in range(200)]


@pytest.mark.parametrize("value", ["much", [0.3, 0.1], [0, 0.1, 0.2], 1.5, None])
def test_what_is_no_share_is_one_clear_sentence(value):
    sentence = refusal("intersections/grid2x2", sensors__noise=value)
    assert sentence.endswith(f"sensors.noise is {value!r}: give a number from 0 to 1, or a range [low, high] of two")
