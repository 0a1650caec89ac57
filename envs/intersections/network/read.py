"""From a SUMO network file to a site: signals, stages, conflicts and detection zones, nothing configured by hand.

Reads the network with sumolib (a parser; no simulator is started).
"""

from __future__ import annotations

import gzip
import logging
import math
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.sax import parseString

from envs.core.errors import CityloopError
from envs.core.machine.files import kept
from envs.core.machine.warn_once import warn_once
from envs.core.scene import Point, rounded
from envs.core.sumo.reading import GZIP, read_root, seconds
from envs.intersections.junction import VEHICLE_SPACE_M, Approach, Exit, Junction, Movement, Segment
from envs.intersections.network.conflicts import (
    crossing_of,
    crossing_signal_error,
    long_walk_error,
    mixed_link_error,
    right_of_way,
    width_of,
)
from envs.intersections.network.counts import Turns, turn_flows
from envs.intersections.network.notes import Notes
from envs.intersections.network.stages import green_stages, phases_of, refuse_odd_states, unserved
from envs.intersections.scenarios import SignalScenario
from envs.intersections.site import SignalSite
from envs.intersections.timing import Regime, Timing

LOGGER = logging.getLogger(__name__)

UNUSED_MPS, CROSSING_MPS = 13.9, 1.2
"""Speeds in a site for an index without connections and for pedestrians; no clearance is computed from either."""

EXIT_RANGE_M = 60.0
"""Length behind a junction that is watched for room."""


def load_site(scenario: SignalScenario) -> SignalSite:
    """The site of a scenario.

    Raises:
        CityloopError: if the network or a route file cannot be read, or no signal has two green stages.
    """
    files = (scenario.routes, scenario.additional)
    window_s = (scenario.begin_s, scenario.duration_s)
    rules = (scenario.regime, scenario.timing.model_dump_json())
    return _load_site(scenario.name, scenario.net, *files, window_s, rules, scenario.sensors.range_m)


@kept(lambda name, net_file, routes, additional, window_s, rules, range_m: (net_file, *routes, *additional), most=32)
def _load_site(
    name: str,
    net_file: Path,
    routes: tuple[Path, ...],
    additional: tuple[Path, ...],
    window_s: tuple[float, float],
    rules: tuple[Regime, str],
    range_m: float,
) -> SignalSite:
    regime, timing = rules[0], Timing.model_validate_json(rules[1])
    net = _read_net(net_file, window_s[0])
    for path in additional:
        _add_programs(net, path, window_s[0])
    lights = sorted(net.getTrafficLights(), key=lambda light: light.getID())
    if not lights:
        raise CityloopError(f"network {net_file} has no traffic lights: give a network with signals")
    for light in lights:
        _refuse_type_off(light)
    flows = turn_flows(net, (*routes, *additional), *window_s)
    notes = Notes(regime, timing)
    builder = _Builder(net, range_m, flows, notes)
    junctions = [junction for light in lights if (junction := builder.junction(light)) is not None]
    if not junctions:
        reasons = [f"signal {light}: {why}" for light, why in notes.kept.items()]
        reasons += ["give programs with at least two green phases (netconvert --tls.rebuild)"]
        raise CityloopError(
            f"network {net_file} has {len(lights)} traffic lights, none of which can be controlled: {reasons[0]}"
        )
    for sentence in notes.warnings():
        warn_once(LOGGER, net_file, sentence)
    movements = [movement for junction in junctions for movement in junction.movements]
    if any(flows.values()) and not any(movement.flow_veh_h for movement in movements):
        warn_once(LOGGER, net_file, "no route leads over a signal that is controlled: whoever decides, it is the same")
    approaches = tuple(builder.approaches)
    return SignalSite(
        name=name,
        regime=regime,
        timing=timing,
        range_m=range_m,
        junctions=tuple(junctions),
        approaches=approaches,
        exits=tuple(builder.exits),
        streets=_streets(net),
    )


def _read_net(path: Path, begin_s: float) -> Any:
    import sumolib

    class Reader(sumolib.net.NetReader):
        """sumolib's reader, which needs an offset in seconds of every program; netedit leaves it out if it is 0."""

        root, by_clock = "", False

        def startElement(self, name: str, attrs: Any) -> None:
            self.root = self.root or name
            self.by_clock |= name == "WAUT"
            if self.root != "net":
                raise ValueError(f"it holds <{self.root}>")
            if name == "tlLogic":
                attrs = dict(attrs.items()) | {"offset": _offset_s(attrs.get("offset"), begin_s)}
            super().startElement(name, attrs)

    reader = Reader(withPrograms=True, withInternal=True, withPedestrianConnections=True)
    try:
        content = path.read_bytes()
        parseString(gzip.decompress(content) if content.startswith(GZIP) else content, reader)
        net = reader.getNet()
    except Exception as error:  # sumolib raises whatever its parser meets
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CityloopError(f"network {path} cannot be read ({detail}): give a SUMO .net.xml file") from None
    if reader.by_clock:
        raise _clocked(f"network {path}")
    return net


def _clocked(where: str) -> CityloopError:
    return CityloopError(f"{where} switches programs by the clock (WAUT), whoever decides: leave that out")


def _refuse_type_off(light: Any) -> None:
    """Refuse programs of type 'off', on which SUMO 1.28 crashes together with the process."""
    for name, program in light.getPrograms().items():
        if program.getType() == "off":
            raise CityloopError(
                f"signal {light.getID()}, program {name!r}: its type is 'off', on which SUMO crashes: give 'static', "
                "with state 'o' for links that are off"
            )


def _offset_s(text: str | None, begin_s: float) -> float:
    """A program's offset as SUMO reads it: 0 if there is none; it may be the word ``begin``."""
    return begin_s if text == "begin" else seconds(text) or 0.0


def _add_programs(net: Any, path: Path, begin_s: float) -> None:
    """Add the programs of an additional file to those of the network, as SUMO does."""
    from sumolib.net import TLSProgram

    root = read_root(path, "additional file", ".add.xml")
    if root.find("WAUT") is not None:
        raise _clocked(f"additional file {path}")
    lights = {light.getID(): light for light in net.getTrafficLights()}
    for logic in root.iter("tlLogic"):
        if logic.get("id") not in lights:
            continue  # SUMO reports it
        light, name, offset = lights[logic.get("id")], logic.get("programID", "0"), logic.get("offset")
        program = light.getPrograms().get(name)
        if program is None or logic.find("phase") is not None:
            program = TLSProgram(name, 0.0, logic.get("type", "static"))
            light.addProgram(program)
        if offset is not None:  # without phases it changes the program that is there, as SUMO's tlsCoordinator writes
            program._offset = _offset_s(offset, begin_s)
        for phase in logic.iter("phase"):
            lasts = [seconds(phase.get(name)) or 0.0 for name in ("duration", "minDur", "maxDur")]
            program.addPhase(phase.get("state", ""), *lasts, name=phase.get("name", ""))
        for param in logic.iter("param"):
            program.setParam(param.get("key"), param.get("value", ""))


class _Builder:
    """Builds junctions and collects the approaches and exits that they share."""

    def __init__(self, net: Any, range_m: float, flows: Turns, notes: Notes):
        self.net, self.range_m, self.flows, self.notes = net, range_m, flows, notes
        self.approaches: list[Approach] = []
        self.exits: list[Exit] = []
        self._approach_index: dict[str, int] = {}
        self._exit_index: dict[str, int] = {}
        self._connections: dict[str, list[Any]] = defaultdict(list)
        for edge in net.getEdges(withInternal=True):
            if edge.getFunction() == "internal":
                continue
            for connections in edge.getOutgoing().values():
                for connection in connections:
                    if connection.getTLSID():
                        self._connections[connection.getTLSID()].append(connection)

    def junction(self, light: Any) -> Junction | None:
        """The junction of a traffic light; None if it keeps its program, as no safe stages can be derived from that."""
        connections = self._connections[light.getID()]
        if not connections:
            return None
        try:
            unfit = (
                mixed_link_error(connections)
                or crossing_signal_error(light.getID(), connections)
                or long_walk_error(connections)
            )
            foes, yields = right_of_way(connections)
        except LookupError:  # sumolib finds no such link
            raise CityloopError(
                f"signal {light.getID()}: its connections do not fit its node: make the network anew with netconvert"
            ) from None
        if unfit:
            self.notes.kept[light.getID()] = unfit
            return None
        for program in reversed(light.getPrograms().values()):  # SUMO runs the last of a file
            refuse_odd_states(light.getID(), program, connections)
            phases, besides = phases_of(light.getID(), program)
            stages = green_stages((*phases, *besides), foes, yields)
            if len(stages) >= 2:
                break
        else:  # all of them are off, or blink
            return None
        links = unserved(phases, stages)
        if links:
            self.notes.kept[light.getID()] = (
                f"no stage serves link {', '.join(map(str, links))} safely, as by the network neither it nor what "
                "crosses it gives way: correct program or right of way"
            )
            return None
        self.notes.program(light.getID(), program, connections)
        self.notes.short_greens(light.getID(), phases, foes, yields)
        movements = self._movements(connections, len(phases[0].state))
        used = [k for k, movement in enumerate(movements) if movement.flow_veh_h]
        if shut := [str(k) for k in used if not any(stage[k] in "Ggs" for stage in stages)]:
            self.notes.shut[light.getID()] = ", ".join(shut)
        return Junction(
            id=light.getID(),
            movements=movements,
            stages=stages,
            foes=tuple(sorted(foes)),
            yields=tuple(sorted(yields)),
            program=phases,
            offset_s=float(program.getOffset()),
            place=_middle(connections),
        )

    def _movements(self, connections: list[Any], count: int) -> tuple[Movement, ...]:
        by_index: dict[int, list[Any]] = defaultdict(list)
        for connection in connections:
            by_index[connection.getTLLinkIndex()].append(connection)
        return tuple(self._movement(by_index.get(k, [])) for k in range(count))

    def _movement(self, connections: list[Any]) -> Movement:
        if not connections:
            return Movement(approach=-1, exits=(), speed_mps=UNUSED_MPS, width_m=0.0)
        first = connections[0]
        crossing = crossing_of(first)
        if crossing is not None:
            return Movement(approach=-1, exits=(), speed_mps=CROSSING_MPS, width_m=width_of(crossing), crossing=True)
        return Movement(
            approach=self._approach(first.getFromLane()),
            exits=tuple(sorted({self._exit(connection.getToLane()) for connection in connections})),
            speed_mps=max(connection.getFromLane().getSpeed() for connection in connections),
            width_m=max(self._width_m(connection) for connection in connections),
            flow_veh_h=round(sum(self._flow_veh_h(connection) for connection in connections), 1),
        )

    def _flow_veh_h(self, connection: Any) -> float:
        """Flow of a connection; connections from one lane into one edge share the turn's flow equally."""
        lane, to_edge = connection.getFromLane(), connection.getTo()
        twins = [c for c in lane.getOutgoing() if c.getTo() is to_edge]
        return self.flows.get((lane.getID(), to_edge.getID()), 0.0) / len(twins)

    def _width_m(self, connection: Any) -> float:
        """Length of a connection's path; without internal lanes, that of the straight line between its two lanes."""
        inner = self._via(connection)
        if inner:
            return sum(lane.getLength() for lane in inner)
        return math.dist(connection.getFromLane().getShape()[-1], connection.getToLane().getShape()[0])

    def _via(self, connection: Any) -> list[Any]:
        """The internal lanes that a connection runs over."""
        lanes = []
        via = connection.getViaLaneID()
        while via:
            lane = self.net.getLane(via)
            lanes.append(lane)
            via = next((c.getViaLaneID() for c in lane.getOutgoing() if c.getViaLaneID()), "")
        return lanes

    def _approach(self, lane: Any) -> int:
        if lane.getID() not in self._approach_index:
            segments = self._upstream(lane)
            reach = max(segment.offset_m + segment.length_m for segment in segments)
            self._approach_index[lane.getID()] = len(self.approaches)
            self.approaches.append(
                Approach(
                    id=lane.getID(),
                    speed_mps=lane.getSpeed(),
                    length_m=min(reach, self.range_m),
                    segments=tuple(segments),
                    shape=rounded(lane.getShape()),
                )
            )
        return self._approach_index[lane.getID()]

    def _upstream(self, stop_lane: Any) -> list[Segment]:
        """Lanes within detection range upstream of a stop line, not past another signal.

        Stop-line edges can be fragments of a metre, so detection follows the approach across unsignalised nodes.
        """
        segments, seen = [], set()
        queue = [(stop_lane, 0.0)]
        while queue:
            lane, offset = queue.pop(0)
            if lane.getID() in seen:
                continue
            seen.add(lane.getID())
            segments.append(Segment(lane=lane.getID(), offset_m=offset, length_m=lane.getLength()))
            offset += lane.getLength()
            if offset >= self.range_m:
                continue
            for connection in lane.getIncomingConnections():
                feeder = connection.getFromLane()
                ordinary = feeder.getEdge().getFunction() == ""
                if connection.getTLSID() or connection.getDirection() == "t" or not ordinary:
                    continue
                inner = offset
                for via in reversed(self._via(connection)):
                    if via.getID() not in seen:
                        seen.add(via.getID())
                        segments.append(Segment(lane=via.getID(), offset_m=inner, length_m=via.getLength()))
                    inner += via.getLength()
                queue.append((feeder, inner))
        return segments

    def _exit(self, lane: Any) -> int:
        if lane.getID() not in self._exit_index:
            lanes, length = self._downstream(lane)
            self._exit_index[lane.getID()] = len(self.exits)
            self.exits.append(
                Exit(
                    id=lane.getID(),
                    lanes=tuple(lanes),
                    capacity_veh=max(1.0, length / VEHICLE_SPACE_M),
                    shape=rounded(lane.getShape()),
                )
            )
        return self._exit_index[lane.getID()]

    def _downstream(self, first: Any) -> tuple[list[str], float]:
        lanes, total = [first.getID()], first.getLength()
        lane = first
        while total < EXIT_RANGE_M:
            onward = [c for c in lane.getOutgoing() if not c.getTLSID() and c.getDirection() == "s"]
            if len(onward) != 1 or onward[0].getToLane().getID() in lanes:
                break
            lane = onward[0].getToLane()
            lanes.append(lane.getID())
            total += lane.getLength()
        return lanes, total


def _middle(connections: list[Any]) -> Point:
    """Mean of the coordinates of a signal's junctions."""
    places = {connection.getJunction().getID(): connection.getJunction().getCoord() for connection in connections}
    count = len(places)
    return rounded([[sum(place[k] for place in places.values()) / count for k in (0, 1)]])[0]


def _streets(net: Any) -> tuple[tuple[Point, ...], ...]:
    """Streets as lines, for maps; both directions of a street are one line if they have the same ends."""
    lines: dict[frozenset[str], tuple[Point, ...]] = {}
    for edge in net.getEdges():
        if edge.getFunction() == "":
            ends = frozenset((edge.getFromNode().getID(), edge.getToNode().getID()))
            lines.setdefault(ends, rounded(edge.getShape(includeJunctions=True)))
    return tuple(lines.values())
