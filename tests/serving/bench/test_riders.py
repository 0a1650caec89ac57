"""A simulated morning over HTTP: every promise is kept, and where streets are slower than thought, that is seen."""

from __future__ import annotations

from typing import Any

import pytest

from envs import CityloopError, load_scenario
from envs.transit.scenarios import TransitScenario
from serving.bench.riders.play import play


def hcmc(**changes: Any) -> TransitScenario:
    scenario = load_scenario("transit/hcmc", **changes)
    assert isinstance(scenario, TransitScenario)
    return scenario


def test_promises_are_kept() -> None:
    """By electric vehicles, who soon have to charge, and whose drivers have breaks; riders are reassigned."""
    electric = {"fleet__range_km": 60.0, "fleet__charged": (0.33, 0.33)}
    found = play(hcmc(**electric), 0.1, seed=1, vehicles=15, rest_min=1.0)
    assert found["asked"] > 10
    assert found["carried"] > 0.8 * found["asked"]
    assert found["handed_over"] > 0
    assert (found["promises_broken"], found["ran_empty"]) == (0, 0)
    assert found["charges"] > 0
    assert found["breaks"] == "15 of 15"


def test_the_check_is_no_constant() -> None:
    found = play(hcmc(), 0.05, seed=1, slower=5.0, vehicles=10)
    assert found["promises_broken"] > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"vehicles": 0}, "vehicles is 0: give a number from 1 to 40"),
        ({"vehicles": 1000}, "vehicles is 1000: give a number from 1 to 40"),
        ({"slower": -0.5}, "slower is -0.5"),
        ({"rest_min": -5.0}, "rest_min is -5.0: give at least 0"),
        ({"hours": 20.0, "rest_min": 200.0}, "a break of 200 min"),
        ({"hours": 0.0}, "nobody asks for a trip in the first 0 hours"),
    ],
    ids=["no vehicle", "too many", "quicker", "no break", "a break beyond the shift", "no time"],
)
def test_what_cannot_be_played_is_a_sentence(given: dict[str, Any], says: str) -> None:
    with pytest.raises(CityloopError, match=says):
        play(hcmc(), **{"hours": 0.01, "seed": 0} | given)
