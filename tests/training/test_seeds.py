"""Seeds: training, validation and calibration stay within their splits."""

from pathlib import Path

import pytest

from envs import CityloopError, load_scenario
from envs.core.scenario import SeedRange
from training.bundles.calibrate import _seeds
from training.settings import Settings
from training.task import task_of
from training.validate import Validator

FEW = {"test": {"first": 0, "last": 9}, "train": {"first": 10, "last": 19}, "validation": {"first": 20, "last": 25}}


@pytest.fixture(scope="module")
def scenario():
    return load_scenario("dampers/jansen", duration_s=2.0, seeds=FEW)


def test_consecutive_seeds_are_of_their_range():
    seeds = SeedRange(first=10, last=19)
    assert [seeds.wrapped(10 + k, 4) for k in range(9)] == [10, 11, 12, 13, 14, 15, 16, 10, 11]
    assert seeds.wrapped(10**12, 10) == 10
    with pytest.raises(CityloopError, match="fewer than the 11"):
        seeds.wrapped(10, 11)


def test_seeds_behind_others_are_of_their_range():
    seeds = SeedRange(first=10, last=19)
    assert seeds.after(4, 6) == [14, 15, 16, 17, 18, 19]
    with pytest.raises(CityloopError, match="fewer than the 11"):
        seeds.after(4, 7)


@pytest.mark.parametrize("seed", [0, 1, 5, 2**31 - 1])
def test_plants_train_on_training_seeds_whatever_the_runs_seed(scenario, seed):
    (plants,) = task_of([scenario], Settings(seed=seed, workers=4)).plants
    made = plants.make(plants.num_envs, plants.seed)
    made.reset()
    drawn = {stream.take() for stream in made._streams for _ in range(5)}
    assert drawn <= set(range(10, 20))


def test_more_plants_than_training_seeds_are_refused(scenario):
    (plants,) = task_of([scenario], Settings(workers=11)).plants
    with pytest.raises(CityloopError, match="dampers/jansen: training seeds from 10 to 19 are fewer than the 11"):
        plants.make(plants.num_envs, plants.seed)


def test_validation_beyond_its_seeds_is_refused(scenario):
    with pytest.raises(CityloopError, match="validation_seeds is 4, final_seeds 3: dampers/jansen's validation seeds"):
        Validator([scenario], Settings(validation_seeds=4, final_seeds=3), "dampers", Path("unused"))


def test_calibration_beyond_its_seeds_is_refused(scenario):
    assert _seeds(scenario, "validation", 3, 3) == [23, 24, 25]
    with pytest.raises(CityloopError, match="dampers/jansen: validation seeds from 20 to 25 are fewer than the 9"):
        _seeds(scenario, "validation", 3, 6)
