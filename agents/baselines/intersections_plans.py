"""Programs that the cabinet runs by itself: the network's own, Webster's and a vehicle-actuated one.

A plan is a cycle of the site's stages. `compile_plan` puts the site's yellows and all-reds between them, so all of them
keep the same safety rules as the guard does for requests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from envs.core.readings import Readings
from envs.core.world import Controller, Observation, Requests
from envs.intersections.junction import Junction, Phase
from envs.intersections.network.stages import safe_stage
from envs.intersections.signals import LocalProgram, transition
from envs.intersections.site import SignalSite

Cycle = list[tuple[int, float]]
"""(stage, seconds of green) in order."""

SATURATION_VEH_H = 1800.0
"""Vehicles an hour that one lane lets through at green (headway 2 s)."""

START_LOST_S = 2.0
"""Green that is lost while a queue starts (HCM). SUMO's drivers brake at yellow if they can, so no yellow is used."""

PERMISSIVE = 0.5
"""Share of the saturation flow that remains under a permissive green."""

LEAST_FLOW_VEH_H = 20.0
"""Every movement is planned for at least this much, so that none is left without green."""

CYCLE_S = (40.0, 120.0)
"""Shortest and longest cycle of a Webster plan."""

MOST_SATURATED = 0.95
"""Sum of the flow ratios from which Webster's formula would have no finite cycle."""

LOOP_M = 0.1
"""Distance from the beginning of a lane of a detector that lies there."""

ACTUATED = {"max-gap": "3.0", "detector-gap": "2.0", "passing-time": "2.0", "inactive-threshold": "180"}
"""Parameters of SUMO's actuated logic, as chosen in envs/intersections/RESULTS.md."""


class LocalPlan(Controller):
    """A controller whose program the cabinet runs.

    If the plant cannot run the program (it only takes requests), `act` follows the cycle by the green's age. After a
    stage that the cycle shows more than once comes the one of its successors that has been red for longest.

    Args:
        program: for the plant's own local control.
        cycles: the cycle of every junction.
        site: the site.
    """

    def __init__(self, program: LocalProgram, cycles: Sequence[Cycle], site: SignalSite):
        self.name, self.program = program.name, program
        stages = site.most_stages
        self._next = np.zeros((len(cycles), stages), dtype=np.int64)
        self._green_s = np.zeros((len(cycles), stages))
        self._rows = np.arange(len(cycles))
        self._again: dict[tuple[int, int], list[tuple[int, float, list[int]]]] = {}  # next stage, green, waiting
        start = 0
        for j, junction in enumerate(site.junctions):
            cycle = joined(cycles[j])
            self._next[j] = cycle[0][0]
            shown = Counter(stage for stage, _ in cycle)
            for (stage, green_s), (following, _) in zip(cycle, cycle[1:] + cycle[:1], strict=True):
                self._next[j, stage], self._green_s[j, stage] = following, green_s
                if shown[stage] > 1:
                    waiting = [start + k for k in junction.gained(stage, following)]
                    self._again.setdefault((j, stage), []).append((following, green_s, waiting))
            start += len(junction.movements)

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """The stage that the plan wants now, int64 ``(N,)``."""
        stage = readings["stage"].astype(np.int64)
        following, green_s = self._next[self._rows, stage], self._green_s[self._rows, stage]
        for (j, again), ways in self._again.items():
            if stage[j] == again:
                reds = [readings["red_s"][waiting].max(initial=0.0) for *_, waiting in ways]
                following[j], green_s[j], _ = ways[int(np.argmax(reds))]
        return np.where(readings["green_s"] >= green_s, following, stage)


def joined(cycle: Cycle) -> Cycle:
    """A cycle with repeats of a stage in a row (and last and first) joined into one green."""
    found: Cycle = []
    for stage, green_s in cycle:
        before_s = found.pop()[1] if found and found[-1][0] == stage else 0.0
        found.append((stage, before_s + green_s))
    if len(found) > 1 and found[0][0] == found[-1][0]:
        stage, green_s = found.pop()
        found[0] = (stage, green_s + found[0][1])
    return found


def fixed(site: SignalSite) -> LocalPlan:
    """The network's own programs.

    By RESCO's protocol they run untouched; otherwise the same greens and offsets run with the site's yellows and
    all-reds, and no green is shorter than the site's minimum.
    """
    cycles = [own_cycle(site, junction) for junction in site.junctions]
    if site.regime == "engineer":
        return LocalPlan(compile_plan("fixed", site, cycles), cycles, site)
    program = LocalProgram(
        name="fixed",
        kind="static",
        phases={junction.id: junction.program for junction in site.junctions},
        offsets_s={junction.id: junction.offset_s for junction in site.junctions},
        bounds_s={},
        params={},
    )
    return LocalPlan(program, cycles, site)


def webster(site: SignalSite) -> LocalPlan:
    """Fixed time after Webster (1958), each junction by itself, from the counts in the site.

    Cycle C = (1.5 L + 5) / (1 - Y) s, effective greens in proportion to the critical flow ratios; L is the sum of
    yellow, all-red and `START_LOST_S` of every stage, Y comes from `critical_ratios`. A site without counts gets equal
    flows on all movements.
    """
    cycles = [webster_cycle(site, junction) for junction in site.junctions]
    return LocalPlan(compile_plan("webster", site, cycles), cycles, site)


def actuated(site: SignalSite) -> LocalPlan:
    """Vehicle-actuated control by SUMO's own logic: greens end at a gap, between the minimum and the maximum green.

    Stages follow in the network's order. A stage that serves nothing beyond what another one serves (a protected left
    turn) is skipped unless its detectors were crossed.

    What else was tried is in envs/intersections/RESULTS.md, "How actuated control was set".
    """
    cycles = [own_cycle(site, junction) for junction in site.junctions]
    return LocalPlan(compile_actuated(site, cycles), cycles, site)


def own_cycle(site: SignalSite, junction: Junction) -> Cycle:
    """The greens of the network's own program, in its order; none shorter than the site's minimum."""
    foes, yields = set(junction.foes), set(junction.yields)
    cycle: Cycle = []
    for phase in junction.program:
        state = safe_stage(phase.state, foes, yields)
        if state in junction.stages:
            cycle.append((junction.stages.index(state), max(phase.duration_s, float(site.timing.min_green_s))))
    return cycle


def compile_plan(name: str, site: SignalSite, cycles: Sequence[Cycle]) -> LocalProgram:
    """A cycle for every junction, with the site's yellows and all-reds, as a fixed-time program."""
    phases = {}
    for junction, cycle in zip(site.junctions, cycles, strict=True):
        written: list[Phase] = []
        for (stage, green_s), (following, _) in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            green = Phase(state=junction.stages[stage], duration_s=green_s)
            written += [green, *transition(site, junction, stage, following)]
        phases[junction.id] = tuple(written)
    offsets = {junction.id: junction.offset_s for junction in site.junctions}
    return LocalProgram(name=name, kind="static", phases=phases, offsets_s=offsets, bounds_s={}, params={})


def compile_actuated(site: SignalSite, cycles: Sequence[Cycle]) -> LocalProgram:
    """A cycle for every junction as an actuated program: its greens first, then the ways between them."""
    phases: dict[str, tuple[Phase, ...]] = {}
    bounds: dict[str, tuple[tuple[float, float], ...]] = {}
    onward: dict[str, tuple[tuple[int, ...], ...]] = {}
    green_bounds = (float(site.timing.min_green_s), float(site.timing.max_green_s))
    for junction, cycle in zip(site.junctions, cycles, strict=True):
        order = list(dict.fromkeys(stage for stage, _ in cycle))
        written = [Phase(state=junction.stages[stage], duration_s=site.timing.min_green_s) for stage in order]
        successors: list[list[int]] = [[] for _ in order]
        for here, stage in enumerate(order):
            for there in following(junction, order, here):
                between = transition(site, junction, stage, order[there])
                entry = len(written)
                successors[here].append(entry if between else there)
                successors += [[entry + k + 1] for k in range(len(between) - 1)] + [[there]] * bool(between)
                written += between
        phases[junction.id] = tuple(written)
        fixed_bounds = tuple((phase.duration_s, phase.duration_s) for phase in written[len(order) :])
        bounds[junction.id] = (green_bounds,) * len(order) + fixed_bounds
        onward[junction.id] = tuple(map(tuple, successors))
    offsets = dict.fromkeys(phases, 0.0)
    return LocalProgram("actuated", "actuated", phases, offsets, bounds, ACTUATED, onward, loops(site))


def loops(site: SignalSite) -> dict[str, tuple[str, float]]:
    """Where the detectors of lanes lie that are shorter than the detector gap: lane and metres from its beginning.

    They lie as far upstream as the gap demands, but only where no vehicles for other lanes drive. SUMO would put them
    there, and a vehicle that stands there for another stage would hold the green of this one until its maximum.
    """
    users = Counter(segment.lane for approach in site.approaches for segment in approach.segments)
    found = {}
    for approach in site.approaches:
        gap_m = float(ACTUATED["detector-gap"]) * approach.speed_mps
        stop, *upstream = approach.segments
        if stop.length_m >= gap_m:
            continue
        here = stop
        while here.offset_m + here.length_m < gap_m:
            onward = [one for one in upstream if math.isclose(one.offset_m, here.offset_m + here.length_m)]
            if len(onward) != 1 or users[onward[0].lane] > 1:
                break
            here = onward[0]
        found[stop.lane] = here.lane, max(here.offset_m + here.length_m - gap_m, min(LOOP_M, here.length_m))
    return found


def following(junction: Junction, order: Sequence[int], here: int) -> list[int]:
    """Places in an order of stages that may come after one: the next, and on past any that can be skipped."""
    places = []
    for k in range(1, len(order)):
        there = (here + k) % len(order)
        places.append(there)
        if not any(_within(junction, order[there], other) for other in order):
            break
    return places


def _within(junction: Junction, stage: int, other: int) -> bool:
    """Whether another stage serves all that a stage serves."""
    return junction.stages[stage] != junction.stages[other] and not junction.lost(stage, other)


def webster_cycle(site: SignalSite, junction: Junction) -> Cycle:
    """The cycle of one junction; stages that no critical movement needs are left out."""
    order = list(dict.fromkeys(stage for stage, _ in own_cycle(site, junction)))
    ratios = critical_ratios(junction, order)
    kept = [stage for stage in order if ratios[stage] > 0]
    changes = [(a, b) for a, b in zip(kept, kept[1:] + kept[:1], strict=True) if a != b]
    clearing_s = sum(site.intergreen_s(junction, a, b) for a, b in changes)
    lost_s = sum(site.without_green_s(junction, a, b) for a, b in changes) + START_LOST_S * len(kept)
    cycle_s = webster_cycle_s(lost_s, float(ratios.sum()))
    greens = split_greens([ratios[stage] for stage in kept], cycle_s - clearing_s, site.timing.min_green_s)
    return list(zip(kept, greens, strict=True))


def webster_cycle_s(lost_s: float, flow_ratio: float) -> float:
    """Webster's cycle of least delay, C = (1.5 L + 5) / (1 - Y) (Road Research Technical Paper 39), within `CYCLE_S`.

    Args:
        lost_s: lost time a cycle, L.
        flow_ratio: sum of the critical flow ratios, Y.
    """
    shortest, longest = CYCLE_S
    return min(longest, max(shortest, (1.5 * lost_s + 5.0) / (1.0 - min(flow_ratio, MOST_SATURATED))))


def critical_ratios(junction: Junction, shown: Sequence[int]) -> np.ndarray:
    """The share of time that each stage needs to be green, ``(stages,)``; their sum is Y.

    Stages may overlap (a left turn that is permissive in one and protected in the next), so the greens are those of
    least sum that give every movement and every lane its flow ratio: a linear programme (Allsop 1971). Where no
    movement is served twice this is the classical rule, the largest flow ratio of each stage.

    Args:
        junction: with its movements' flows.
        shown: the stages that the cycle has; the others (what the rings of a NEMA program can show besides) get none.
    """
    from scipy.optimize import linprog

    served = np.array([[{"G": 1.0, "g": PERMISSIVE}.get(s, 0.0) for s in stage] for stage in junction.stages])
    served[[stage for stage in range(len(served)) if stage not in shown]] = 0.0
    rows, needs = [], []
    for approach in {movement.approach for movement in junction.movements}:
        mine = [k for k in junction.movements_of(approach) if served[:, k].any()]
        flows = [max(junction.movements[k].flow_veh_h or 0.0, LEAST_FLOW_VEH_H) for k in mine]
        rows += [served[:, k] for k in mine]
        needs += flows
        if approach >= 0 and len(mine) > 1:
            rows.append(served[:, mine].max(axis=1))
            needs.append(sum(flows))
    need = np.array(needs) / SATURATION_VEH_H
    solution = linprog(np.ones(len(junction.stages)), A_ub=-np.array(rows), b_ub=-need)
    return np.where(solution.x > 1e-6, solution.x, 0.0)


def split_greens(ratios: Sequence[float], green_s: float, least_s: float) -> list[float]:
    """Divide a cycle's green so that effective greens are in proportion to flow ratios.

    Args:
        ratios: critical flow ratio of each stage.
        green_s: to be divided.
        least_s: shortest green.

    Returns:
        Greens in whole seconds, none below the shortest.
    """
    weights = np.array(ratios)
    short = np.zeros(len(weights), dtype=bool)
    while True:
        rest_s = max(green_s - least_s * short.sum() - START_LOST_S * (~short).sum(), 0.0)
        shares = weights / max(weights[~short].sum(), 1e-9)
        greens = np.where(short, least_s, START_LOST_S + rest_s * shares)
        too_short = ~short & (greens < least_s)
        if not too_short.any():
            return [float(math.floor(green + 0.5)) for green in greens]
        short |= too_short
