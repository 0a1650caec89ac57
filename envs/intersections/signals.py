"""The signal controller in the cabinet: carries out a change of stage second by second, and reports the lamps.

A command names the next stage. The transition to it (yellow, all-red, green) is fixed by the site, so it can be written
down beforehand: as a SUMO program for the simulator, and as a sequence of phases against which lamps can be checked. No
simulator is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

import numpy as np

from envs.intersections.junction import Junction, Phase
from envs.intersections.site import SignalSite

HOLD_S = 1e6
"""Duration of a green in the written programs: it lasts until the next command."""

OURS = "cityloop:"
"""Prefix of the ids of programs that are written here: a network may have a program called `fixed`."""

START = f"{OURS}start"
"""The id of the SUMO program that shows the first stage."""

LOOP = f"{OURS}loop:"
"""Prefix of the ids of detectors that are written here."""


@dataclass(frozen=True)
class LocalProgram:
    """A program that the cabinet runs by itself: fixed-time or vehicle-actuated.

    Attributes:
        name: e.g. ``fixed``, ``webster`` or ``actuated``.
        kind: SUMO's type of logic, ``static`` or ``actuated``.
        phases: junction → phases.
        offsets_s: junction → offset.
        bounds_s: junction → (shortest, longest) green of each phase, for actuated logic.
        params: parameters of SUMO's logic.
        successors: junction → for each phase those that may follow, where it is not simply the next.
        loops: lane at a stop line → (lane, metres from its beginning) of its detector, for actuated logic.
    """

    name: str
    kind: str
    phases: dict[str, tuple[Phase, ...]]
    offsets_s: dict[str, float]
    bounds_s: dict[str, tuple[tuple[float, float], ...]]
    params: dict[str, str]
    successors: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    loops: dict[str, tuple[str, float]] = field(default_factory=dict)


def transition(site: SignalSite, junction: Junction, old: int, new: int) -> list[Phase]:
    """Phases between two stages: yellow for the movements whose green ends, then red; no other light changes.

    Pedestrians whose green ends have red from the beginning. Where they need longer than that, vehicles first keep
    their green; see `SignalSite.held_green_s`.
    """
    ending = set(site.ending(junction, old, new))
    held, yellow, red = [], [], []
    for k, signal in enumerate(junction.stages[old]):
        walkers = junction.movements[k].crossing
        held.append("r" if walkers and k in ending else signal)
        yellow.append(("r" if walkers else "y") if k in ending else signal)
        red.append("r" if k in ending else signal)
    phases = [
        Phase(state="".join(held), duration_s=site.held_green_s(junction, old, new)),
        Phase(state="".join(yellow), duration_s=site.yellow_s(junction, old, new)),
        Phase(state="".join(red), duration_s=site.all_red_s(junction, old, new)),
    ]
    return [phase for phase in phases if phase.duration_s > 0]


def program_id(old: int, new: int) -> str:
    """The id of the SUMO program that goes from one stage to another."""
    return f"{OURS}{old}>{new}"


def local_id(local: LocalProgram) -> str:
    """The id of the SUMO program that a local program is written as."""
    return OURS + local.name


def loop_id(stop: str) -> str:
    """The id of the detector that is written here for a lane at a stop line."""
    return LOOP + stop


def stop_lane(loop: str, lane: str) -> str:
    """The lane at a stop line that a detector serves, from the detector's id and its own lane; see `loop_id`."""
    return loop.removeprefix(LOOP) if loop.startswith(LOOP) else lane


def sumo_programs(site: SignalSite, local: LocalProgram | None) -> str:
    """The SUMO additional file with every transition of every junction or, if given, with the local program."""
    lines = ["<additional>"]
    for stop, (lane, at_m) in local.loops.items() if local is not None else ():
        where = f'lane={quoteattr(lane)} pos="{at_m:.2f}"'
        lines.append(f'<inductionLoop id={quoteattr(loop_id(stop))} {where} period="86400" file="NUL"/>')
    for junction in site.junctions:
        if local is not None:
            lines.append(_local_xml(site, junction, local))
            continue
        later = [Phase(state=stage, duration_s=HOLD_S) for stage in _every_green(junction.stages)]
        stages = range(len(junction.stages))
        for old in stages:
            for new in stages:
                if old != new:
                    phases = [*transition(site, junction, old, new)]
                    phases += [Phase(state=junction.stages[new], duration_s=HOLD_S), *later]
                    lines.append(_program_xml(junction.id, program_id(old, new), phases))
        start = [Phase(state=junction.stages[0], duration_s=HOLD_S), *later]
        lines.append(_program_xml(junction.id, START, start))
    return "\n".join([*lines, "</additional>"])


def _every_green(stages: tuple[str, ...]) -> list[str]:
    """Stages that together show every protected green; without them in a program SUMO removes vehicles.

    If a program has no protected green for a link, SUMO does not let a vehicle wait that is to enter at a given speed
    close before that link: it takes the vehicle off. So these stages are written after the green that is held; they are
    never reached.
    """
    lit: set[int] = set()
    needed = []
    for stage in stages:
        green = {k for k, signal in enumerate(stage) if signal == "G"}
        if green - lit:
            lit |= green
            needed.append(stage)
    return needed


def _program_xml(light: str, name: str, phases: list[Phase]) -> str:
    body = "".join(f'<phase duration="{p.duration_s:g}" state="{p.state}"/>' for p in phases)
    return f'<tlLogic id={quoteattr(light)} type="static" programID={quoteattr(name)} offset="0">{body}</tlLogic>'


def _local_xml(site: SignalSite, junction: Junction, local: LocalProgram) -> str:
    bounds = local.bounds_s.get(junction.id)
    body = "".join(f'<param key="{key}" value="{value}"/>' for key, value in local.params.items())
    for lane in (site.approaches[approach].id for approach in junction.approaches):
        if lane in local.loops:
            body += f"<param key={quoteattr(lane)} value={quoteattr(loop_id(lane))}/>"
    successors = local.successors.get(junction.id)
    for k, phase in enumerate(local.phases[junction.id]):
        limits = f' minDur="{bounds[k][0]:g}" maxDur="{bounds[k][1]:g}"' if bounds else ""
        onward = f' next="{" ".join(map(str, successors[k]))}"' if successors else ""
        body += f'<phase duration="{phase.duration_s:g}" state="{phase.state}"{limits}{onward}/>'
    head = f'id={quoteattr(junction.id)} type="{local.kind}" programID={quoteattr(local_id(local))}'
    return f'<tlLogic {head} offset="{local.offsets_s[junction.id]:.2f}">{body}</tlLogic>'


class SignalController:
    """State of all cabinets of a site: the stage of each, its beginning, and how long each movement has been red.

    Args:
        site: the site; all arrays are in its order.
        time_s: the plant's clock; every junction starts in the green of its first stage.
    """

    def __init__(self, site: SignalSite, time_s: float = 0.0):
        self.site = site
        junctions = site.junctions
        self._of = np.repeat(np.arange(len(junctions)), [len(junction.movements) for junction in junctions])
        ends = np.cumsum([len(junction.movements) for junction in junctions])
        self._spans = [slice(int(e) - len(j.movements), int(e)) for e, j in zip(ends, junctions, strict=True)]
        self._greens = [np.array(junction.greens) for junction in junctions]
        self._intergreen_s = [_intergreens(site, junction) for junction in junctions]
        self.stage = np.zeros(len(junctions), dtype=np.int64)
        self._last = [(0, float(time_s))] * len(junctions)  # the stage before, and when the change from it began
        self._between: dict[tuple[int, int, int], list[Phase]] = {}
        self._ends: dict[tuple[int, int, int], tuple[list[int], np.ndarray]] = {}
        self._green_from = np.full(len(junctions), float(time_s))
        self._green = np.concatenate([greens[0] for greens in self._greens])
        self._kept = np.ones(len(self._of), dtype=bool)
        self._lost_at = np.full(len(self._of), float(time_s))

    def command(self, time_s: float, stages: np.ndarray) -> list[tuple[int, int, int]]:
        """Begin the changes that are due.

        Args:
            time_s: now.
            stages: next stage of every junction.

        Returns:
            (junction, old stage, new stage) of every change.

        Raises:
            ValueError: if a junction is told to change while it is still clearing.
        """
        changes = []
        for j in np.flatnonzero(stages != self.stage).tolist():
            old, new = int(self.stage[j]), int(stages[j])
            if time_s < self._green_from[j]:
                raise ValueError(f"junction {self.site.agents[j]} was told to change while it is clearing")
            span = self._spans[j]
            ending, ends_s = self._ending(j, old, new)
            before, after = self._greens[j][old], self._greens[j][new]
            self._kept[span] = before & after
            self._kept[span][ending] = False
            self._lost_at[span][ending] = time_s + ends_s
            self._green[span] = after
            self._green_from[j] = time_s + self._intergreen_s[j][old, new]
            self.stage[j] = new
            self._last[j] = (old, time_s)
            changes.append((j, old, new))
        return changes

    def _ending(self, j: int, old: int, new: int) -> tuple[list[int], np.ndarray]:
        """Movements whose green ends (see `SignalSite.ending`), and how many seconds into the change each does."""
        if (j, old, new) not in self._ends:
            junction = self.site.junctions[j]
            ending, held_s = self.site.ending(junction, old, new), self.site.held_green_s(junction, old, new)
            walkers = np.array([junction.movements[k].crossing for k in ending], dtype=bool)
            self._ends[j, old, new] = ending, np.where(walkers, 0.0, held_s)
        return self._ends[j, old, new]

    def status(self, time_s: float) -> dict[str, np.ndarray]:
        """The junction and movement columns of the readings at a time."""
        since = time_s - self._green_from
        lit = self._green & (self._kept | (since >= 0)[self._of])
        return {
            "stage": self.stage.astype(np.float64),
            "clearing_s": np.maximum(-since, 0.0),
            "green_s": np.maximum(since, 0.0),
            "red_s": np.where(lit, 0.0, np.maximum(time_s - self._lost_at, 0.0)),
        }

    def shown(self, time_s: float) -> list[str]:
        """Lamps of every junction in the second that begins at a time, as SUMO state strings."""
        return [self._lamps(j, old, time_s - since_s) for j, (old, since_s) in enumerate(self._last)]

    def _lamps(self, j: int, old: int, since_s: float) -> str:
        """Lamps of a junction ``since_s`` seconds after its change from an old stage began."""
        junction, new = self.site.junctions[j], int(self.stage[j])
        if (j, old, new) not in self._between:
            self._between[j, old, new] = transition(self.site, junction, old, new) if old != new else []
        for phase in self._between[j, old, new]:
            since_s -= phase.duration_s
            if since_s < 0:
                return phase.state
        return junction.stages[new]


def _intergreens(site: SignalSite, junction: Junction) -> np.ndarray:
    stages = range(len(junction.stages))
    return np.array([[0 if i == j else site.intergreen_s(junction, i, j) for j in stages] for i in stages])
