"""The lamps that SUMO really shows are those that the cabinet promises, and they are safe."""

import numpy as np
import pytest

from agents import make_controller, rules
from envs.core.env import make_loop
from tests.safety.conflict_monitor import ConflictMonitor


class Recorder:
    """libsumo, but stepped by the second, with all lamps written down: ``states[s][j]`` was shown in second s."""

    def __init__(self, sumo, lights):
        self._sumo, self._lights = sumo, lights
        self.simulation = self
        self.states = []

    def __getattr__(self, name):
        return getattr(self._sumo if name in self._sumo.__dict__ else self._sumo.simulation, name)

    def simulationStep(self, until_s):
        while self._sumo.simulation.getTime() < until_s:
            self._sumo.simulationStep()
            self.states.append([self._sumo.trafficlight.getRedYellowGreenState(light) for light in self._lights])


@pytest.fixture
def loop(request):
    name, regime, seconds = request.param
    loop = make_loop(f"intersections/{name}", regime=regime, duration_s=seconds)
    yield loop
    loop.close()


def record(loop):
    loop.world._sumo = Recorder(loop.world._sumo, loop.site.agents)
    return loop.world._sumo.states


def faults(site, states):
    monitors = [ConflictMonitor(site, junction) for junction in site.junctions]
    watched = [m.watch(float(s), state) for s, row in enumerate(states) for m, state in zip(monitors, row, strict=True)]
    return [fault for found in watched for fault in found]


@pytest.mark.parametrize(
    "loop",
    [
        ("cologne8", "engineer", 400),
        ("cologne8", "resco", 400),
        ("grid4x4", "engineer", 300),
        ("crossings3x3", "engineer", 300),
        ("crossings3x3", "resco", 300),
    ],
    indirect=True,
)
def test_sumo_shows_what_the_cabinet_says(loop):
    rng = np.random.default_rng(0)
    loop.reset(3)
    begin_s, states, said = loop.world.time_s, record(loop), []
    for _ in range(loop.scenario.decisions - 1):
        before = len(states)
        loop.step(rng.integers(0, loop.mask.shape[1], len(loop.site.agents)))
        said += [loop.world._controller.shown(begin_s + s) for s in range(before, len(states))]
    assert len(states) == (loop.scenario.decisions - 1) * loop.scenario.decision_s
    assert states == said
    assert any("y" in state for row in states for state in row)
    assert faults(loop.site, states) == []


@pytest.mark.parametrize("name", ["fixed", "webster", "actuated"])
@pytest.mark.parametrize(
    "loop",
    [
        ("cologne8", "engineer", 600),
        ("ingolstadt7", "engineer", 600),
        ("grid4x4", "engineer", 600),
        ("crossings3x3", "engineer", 600),
    ],
    indirect=True,
)
def test_programs_of_the_cabinet_neither_conflict_nor_cut_yellows(loop, name):
    loop.reset(3, make_controller(name, loop.site).program)
    states = record(loop)
    while len(states) < 500:
        loop.step(None)
    assert any("y" in state for row in states for state in row)
    assert [fault for fault in faults(loop.site, states) if "red for" not in fault] == []


@pytest.mark.parametrize("loop", [("ingolstadt7", "resco", 300)], indirect=True)
def test_the_networks_own_program_runs_untouched_under_resco(loop):
    loop.reset(3, make_controller("fixed", loop.site).program)
    states = record(loop)
    while len(states) < 200:
        loop.step(None)
    for j, junction in enumerate(loop.site.junctions):
        seconds = [phase.state for phase in junction.program for _ in range(int(phase.duration_s))]
        start = int(loop.scenario.begin_s - junction.offset_s) % len(seconds)
        assert [row[j] for row in states] == [seconds[(start + s) % len(seconds)] for s in range(len(states))]


def test_every_rule_is_under_test():
    assert set(rules("intersections")) == {"fixed", "webster", "actuated", "max-pressure", "greedy"}
