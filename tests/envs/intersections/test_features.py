"""The observation: fixed scales, silence of dead detectors, and places that are not there."""

import numpy as np
import pytest

from envs.core.env import make_loop
from envs.intersections.features import APPROACH_FEATURES, JUNCTION_FEATURES, STAGE_FEATURES, SignalFeatures
from envs.intersections.timing import REGIMES
from tests.envs.intersections.small import crossroads

READ = {
    "count_veh": [6.0, np.nan],
    "queue_veh": [3.0, np.nan],
    "near_veh": [4.0, np.nan],
    "arrivals_veh": [1.0, np.nan],
    "speed_mps": [50 / 7.2, np.nan],
    "occupancy": [0.4, np.nan],
    "waiting_s": [120.0, np.nan],
    "inside_veh": [2.0, np.nan],
    "exit_count_veh": [5.0, 2.0],
    "exit_queue_veh": [1.0, np.nan],
    "stage": [0.0],
    "clearing_s": [0.0],
    "green_s": [30.0],
    "red_s": [0.0, 60.0],
}
MASK = np.array([[True, False]])


def encoded(site):
    parts = SignalFeatures(site).encode({name: np.array(values) for name, values in READ.items()}, MASK)
    return {name: values[0] for name, values in parts.items()}


def test_an_approach_by_hand():
    wanted = {"known": 1, "count": 0.6, "queue": 0.3, "near": 0.4, "arrivals": 0.1, "speed": 0.5, "occupancy": 0.4}
    wanted |= {"waiting": np.log(2), "length": 100 / 150, "exit_fill": 0.5, "exit_queue": 0.1, "inside": 0.2}
    wanted |= dict.fromkeys(("inflow_green", "inflow_red", "ahead_queue", "ahead_green"), 0)  # no neighbours
    assert dict(zip(APPROACH_FEATURES, encoded(crossroads())["approaches"][0], strict=True)) == pytest.approx(wanted)


def test_a_dead_detector_says_nothing():
    seen = dict(zip(APPROACH_FEATURES, encoded(crossroads())["approaches"][1], strict=True))
    assert {name for name, value in seen.items() if value} == {"length", "exit_fill"}


def test_a_stage_by_hand():
    seen = encoded(crossroads())["stages"]
    green, red = (dict(zip(STAGE_FEATURES, row, strict=True)) for row in seen)
    assert (green["exists"], green["current"], green["green"], green["red"], green["allowed"]) == (1, 1, 0.5, 0, 1)
    assert (red["exists"], red["current"], red["green"], red["red"], red["allowed"]) == (1, 0, 0, 0.5, 0)
    assert green["intergreen"] == 0 < red["intergreen"]
    assert (green["crossed"], red["crossed"]) == (0, pytest.approx(0.2)), "red would keep two vehicles in the middle"


@pytest.mark.parametrize(("regime", "wanted"), [("engineer", [0.5, 0.7, 1.0]), ("resco", [1.0, 0.7, 0.0])])
def test_a_junction_tells_its_timing(regime, wanted):
    site = crossroads().model_copy(update={"timing": REGIMES[regime]})
    assert JUNCTION_FEATURES == ("decision", "min_green", "max_red")
    assert encoded(site)["junction"] == pytest.approx(wanted)


def test_places_that_are_not_there_are_zero():
    """Junctions of a site share one shape; a network is run on copies padded further, and must not notice."""
    loop = make_loop("intersections/cologne8", duration_s=300)
    try:
        loop.reset(1)
        for _ in range(20):
            loop.step(loop.mask.argmax(axis=1))
        parts = loop.features.encode(loop.readings, loop.mask)
    finally:
        loop.close()
    for j, junction in enumerate(loop.site.junctions):
        stages, lanes = len(junction.stages), len({m.approach for m in junction.movements if m.approach >= 0})
        assert parts["approaches"][j, :lanes, APPROACH_FEATURES.index("length")].all()
        assert parts["stages"][j, :stages, STAGE_FEATURES.index("exists")].all()
        for missing in (
            parts["approaches"][j, lanes:],
            parts["stages"][j, stages:],
            parts["serves"][j, stages:],
            parts["serves"][j, ..., lanes:],
            parts["action_mask"][j, stages:],
        ):
            assert not missing.any()
    sizes = {len(junction.stages) for junction in loop.site.junctions}
    assert len(sizes) > 1, "the map has junctions of several sizes"
