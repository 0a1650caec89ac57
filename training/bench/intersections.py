"""``cityloop bench intersections``: how much of SUMO's own speed is left, and how we compare with sumo-rl.

All ratios come from alternating runs on this machine in one go, over the same simulated hour: our loop with random
allowed actions, read, encoded, guarded and rewarded; and a bare libsumo loop that replays the very same changes of
signal programs and reads nothing. A run is timed from its first decision until SUMO is closed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from envs.core.env import CityParallelEnv, make_loop
from envs.core.loop import ControlLoop
from envs.core.registry import load_scenario
from envs.core.rollout import timed_episode
from envs.core.sumo.programs import load_libsumo
from envs.intersections.scenarios import SignalScenario
from envs.intersections.signals import START, SignalController, program_id, sumo_programs
from training.bench.sumo_rl import decisions_per_s

PEER_SCENARIO = "intersections/cologne8"
"""Where sumo-rl is measured."""

SUMO_RL_TIMING = {
    "regime": "resco",
    "timing__decision_s": 5,
    "timing__yellow_s": 2,
    "timing__all_red_s": 0,
    "timing__min_green_s": 5,
    "timing__max_red_s": None,
}
"""sumo-rl's default timing, so that random actions make the same kind of traffic on both sides."""

SEED = 0


def bench_intersections(
    scenarios: Sequence[str] = ("intersections/cologne8", "intersections/ingolstadt21"),
    repeats: int = 3,
    peers: bool = True,
) -> dict[str, Any]:
    """Measure decision steps a second.

    Args:
        scenarios: where our loop is compared with bare libsumo.
        repeats: of every run; medians are reported.
        peers: whether to compare with sumo-rl on `PEER_SCENARIO` too.

    Returns:
        ``{"bench", "ratios", "figures"}``: ours divided by the other's, and decisions a second.
    """
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for ref in scenarios:
        pairs = {"bare libsumo": "ours"}
        if peers and ref == PEER_SCENARIO:
            pairs |= {"sumo-rl with libsumo": "ours, its timing", "sumo-rl with TraCI": "ours, its timing"}
        names = dict.fromkeys([*pairs.values(), *pairs, "PettingZoo view"])
        with closing(make_loop(ref)) as loop:
            runs, called = _Runs(ref, loop), loop.scenario.name
            rows = [{name: runs.measure(name) for name in names} for _ in range(repeats)]
        for name in names:
            figures[f"{called}, {name} (decisions/s)"] = median(row[name] for row in rows)
        for other, mine in pairs.items():
            label = f"{called}, {mine} / {other}"
            ratios[label] = median(row[mine] / row[other] for row in rows)
    return {"bench": "intersections", "ratios": ratios, "figures": figures}


class _Runs:
    """All ways of running one scenario. The first, untimed run of ours says what the bare loop has to replay."""

    def __init__(self, ref: str, loop: ControlLoop):
        self.ref, self.loop = ref, loop
        self.scenario = self.loop.scenario
        commands = timed_episode(self.loop, SEED)[1]
        self.switches = switches(self.loop, commands)

    def measure(self, name: str) -> float:
        """Decisions a second of one run."""
        if name == "ours":
            return self.scenario.decisions / timed_episode(self.loop, SEED)[0]
        if name == "ours, its timing":
            with closing(make_loop(self.ref, **SUMO_RL_TIMING)) as loop:
                return self.scenario.decisions / timed_episode(loop, SEED)[0]
        if name == "bare libsumo":
            return self.scenario.decisions / bare(self.loop, self.switches)
        if name == "PettingZoo view":
            return self.scenario.decisions / pettingzoo(self.ref)
        return self._sumo_rl(libsumo=name == "sumo-rl with libsumo")

    def _sumo_rl(self, libsumo: bool) -> float:
        scenario = load_scenario(self.ref)
        assert isinstance(scenario, SignalScenario)
        seconds = [int(s) for s in (scenario.begin_s, scenario.duration_s, scenario.decision_s)]
        begin, duration, decision = seconds
        return decisions_per_s(scenario.net, scenario.routes[0], begin, duration, decision, libsumo)


def pettingzoo(ref: str) -> float:
    """Seconds that such an episode takes through the dictionaries of the PettingZoo environment."""
    env = CityParallelEnv(ref)
    rng = np.random.default_rng(SEED)
    try:
        seen, _ = env.reset(seed=SEED)
        start = time.perf_counter()
        while env.agents:
            actions = {agent: rng.choice(np.flatnonzero(seen[agent]["action_mask"])) for agent in env.agents}
            seen, *_ = env.step(actions)
        return time.perf_counter() - start
    finally:
        env.close()


Switches = list[list[tuple[str, str]]]
"""For every decision the (signal, program) to switch to."""


def switches(loop: ControlLoop, commands: Sequence[np.ndarray]) -> Switches:
    """The changes of signal programs that commands mean."""
    scenario = loop.scenario
    assert isinstance(scenario, SignalScenario)
    now = scenario.begin_s
    cabinets = SignalController(loop.site, now)  # type: ignore[arg-type]
    out: Switches = []
    for command in commands:
        changes = cabinets.command(now, command)
        out.append([(loop.site.agents[j], program_id(old, new)) for j, old, new in changes])
        now += scenario.decision_s
    return out


def bare(loop: ControlLoop, plan: Switches) -> float:
    """Seconds that libsumo takes for the same traffic and the same changes of programs, with nothing read.

    Raises:
        RuntimeError: if the bare loop ends with other traffic than ours did: then there is nothing to compare.
    """
    libsumo = load_libsumo()
    scenario = loop.scenario
    assert isinstance(scenario, SignalScenario)
    with tempfile.TemporaryDirectory(prefix="cityloop-") as folder:
        programs = Path(folder) / "signals.add.xml"
        programs.write_text(sumo_programs(loop.site, None))  # type: ignore[arg-type]
        command = ["sumo", "--net-file", str(scenario.net), "--route-files", ",".join(map(str, scenario.routes))]
        command += ["--additional-files", ",".join(map(str, [*scenario.additional, programs]))]
        command += ["--seed", str(SEED), "--begin", f"{scenario.begin_s:g}", "--time-to-teleport", "-1"]
        command += ["--no-step-log", "--no-warnings", "--duration-log.disable", "--xml-validation", "never"]
        libsumo.start([*command, "--error-log", os.devnull])
        try:
            for light in loop.site.agents:
                _switch(light, START)
            now, start = scenario.begin_s, time.perf_counter()
            for changes in plan:
                for light, program in changes:
                    _switch(light, program)
                now += scenario.decision_s
                libsumo.simulation.step(now)
            running = libsumo.vehicle.getIDCount()
        finally:
            libsumo.close()
        took = time.perf_counter() - start
    if running != loop.world.trace()["running_veh"]:
        raise RuntimeError(f"the bare loop ended with {running} vehicles, ours with {loop.world.trace()}")
    return took


def _switch(light: str, program: str) -> None:
    import libsumo

    libsumo.trafficlight.setProgram(light, program)
    libsumo.trafficlight.setPhase(light, 0)
