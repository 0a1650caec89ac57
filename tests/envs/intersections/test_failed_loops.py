"""Vehicle-actuated control whose loops are dead: they call while red, and for a time in green."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from agents import make_controller
from envs.core.env import make_loop
from envs.intersections.loops import CALL_S, SILENT_S, FailedLoops
from envs.intersections.signals import loop_id
from tests.envs.intersections.small import crossroads


class Loops:
    """SUMO's loops: one as SUMO names it, one as we do, one of the network's own elsewhere."""

    def __init__(self, lanes: dict[str, str]):
        self._lanes, self.told = lanes, dict[str, float]()

    def getIDList(self) -> list[str]:
        return list(self._lanes)

    def getLaneID(self, loop: str) -> str:
        return self._lanes[loop]

    def overrideTimeSinceDetection(self, loop: str, time_s: float) -> None:
        self.told[loop] = time_s


def shown(stage: int, green_s: float, clearing: float = 0.0) -> dict[str, Any]:
    return {"stage": np.array([stage]), "green_s": np.array([green_s]), "clearing_s": np.array([clearing])}


def test_a_dead_loop_calls_while_red_and_for_a_time_in_green():
    site = crossroads()
    first, second = (approach.id for approach in site.approaches)
    loops = Loops({"C_actuated_D0.0": first, loop_id(second): "far upstream", "another": "elsewhere"})
    failed = FailedLoops(site, SimpleNamespace(inductionloop=loops), np.array([True, True]))
    greens = [[k for k, stage in enumerate(site.junctions[0].stages) if stage[m] in "Gg"] for m in (0, 1)]
    assert greens == [[0], [1]], "one approach each"
    for signals, calling in (
        (shown(0, CALL_S - 1), (True, True)),
        (shown(0, CALL_S), (False, True)),
        (shown(0, CALL_S, clearing=1.0), (True, True)),
        (shown(1, CALL_S), (True, False)),
    ):
        failed.call(signals)
        assert [loops.told["C_actuated_D0.0"], loops.told[loop_id(second)]] == [0.0 if c else SILENT_S for c in calling]
    assert "another" not in loops.told


def test_sound_loops_are_left_alone():
    site = crossroads()
    loops = Loops({"C_actuated_D0.0": site.approaches[0].id})
    FailedLoops(site, SimpleNamespace(inductionloop=loops), np.array([False, True])).call(shown(1, 99.0))
    assert loops.told == {}


def test_without_a_loop_that_works_greens_last_as_long_as_the_call():
    """Not until their minimum of 7 s, as if nobody came, nor until their maximum of 50, as if all queued."""
    loop = make_loop("intersections/grid2x2", duration_s=600, sensors__dropout=1.0)
    shown = []
    try:
        loop.reset(1, make_controller("actuated", loop.site).program)
        while not loop.world.done:
            loop.step(None)
            shown.append((loop.readings["stage"], loop.readings["green_s"]))
    finally:
        loop.close()
    stage, green_s = (np.array(column) for column in zip(*shown, strict=True))
    ends = (stage[1:] != stage[:-1]) | (green_s[1:] < green_s[:-1])
    assert set(green_s[:-1][ends & (green_s[:-1] > 0)]) == {CALL_S}
    assert np.array_equal(np.unique(stage), [0, 1])
