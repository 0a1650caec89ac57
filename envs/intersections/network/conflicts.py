"""Conflicts between the links of a signal, and their right of way, from the network's own table.

Connections are sumolib's, all of one signal.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations, product
from typing import Any

from envs.intersections.junction import walking_s
from envs.intersections.readings import LONGEST_CLEARING_S

UNGROUP = "give each connection a link of its own (netconvert --tls.ungroup-signals)"
"""Advice for a signal whose links serve several lanes, or vehicles and pedestrians at once."""


def right_of_way(connections: list[Any]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs of signal indices that cross or merge (i < j), and pairs (i, j) in which i gives way to j."""
    foes: set[tuple[int, int]] = set()
    yields: set[tuple[int, int]] = set()
    by_node: dict[str, list[Any]] = defaultdict(list)
    for connection in connections:
        by_node[connection.getJunction().getID()].append(connection)
    for members in by_node.values():
        node = members[0].getJunction()
        links = [(c.getTLLinkIndex(), row_of(c), c.getToLane()) for c in members]
        for (a, row_a, to_a), (b, row_b, to_b) in permutations(links, 2):
            if a == b:
                continue
            if _entry(node._prohibits, row_a, row_b):
                yields.add((a, b))
            if cross(node, row_a, row_b, to_a is to_b):
                foes.add((min(a, b), max(a, b)))
    return foes, yields


def mixed_link_error(connections: list[Any]) -> str:
    """Error if a signal index serves vehicles and pedestrians at once, as a sentence; empty if none does.

    Between two greens vehicles and pedestrians need different lights.
    """
    walk: dict[int, set[bool]] = defaultdict(set)
    for connection in connections:
        walk[connection.getTLLinkIndex()].add(crossing_of(connection) is not None)
    both = [k for k, kinds in walk.items() if len(kinds) > 1]
    if not both:
        return ""
    return f"link {', '.join(map(str, sorted(both)))} is of vehicles and walkers at once: {UNGROUP}"


def crossing_signal_error(light: str, connections: list[Any]) -> str:
    """Error if another signal's greens conflict with this one's at the same node, as a sentence; else empty."""
    for node in dict.fromkeys(connection.getJunction() for connection in connections):
        ours = [c for c in connections if c.getJunction() is node]
        others = [c for c in node.getConnections() if c.getTLSID() not in ("", light)]
        for a, b in product(ours, others):
            if cross(node, row_of(a), row_of(b), a.getToLane() is b.getToLane()):
                return (
                    f"at node {node.getID()} signal {b.getTLSID()} gives green across its ways: "
                    "give a node one signal (netconvert --tls.rebuild)"
                )
    return ""


def crossing_of(connection: Any) -> Any:
    """The pedestrian crossing that a connection leads to or comes from; None for vehicles."""
    ends = (connection.getTo(), connection.getFrom())
    return next((edge for edge in ends if edge.getFunction() == "crossing"), None)


def width_of(crossing: Any) -> float:
    """Length of a pedestrian's way over a crossing, in metres."""
    return max(float(lane.getLength()) for lane in crossing.getLanes())


def long_walk_error(connections: list[Any]) -> str:
    """Error if pedestrians need longer to cross than a cabinet can report, as a sentence; else empty."""
    for connection in connections:
        crossing = crossing_of(connection)
        if crossing is not None and (seconds := walking_s(width_of(crossing))) > LONGEST_CLEARING_S:
            return (
                f"pedestrians need {seconds} s over link {connection.getTLLinkIndex()}, "
                f"{width_of(crossing):.0f} m, and a change of stage may take {LONGEST_CLEARING_S}: divide the crossing"
            )
    return ""


def row_of(connection: Any) -> int:
    """A connection's row in the right-of-way table of its junction; -1: it has none.

    A crossing may have a second signal, for those who come from its other end. The table has one row for both.
    """
    node, lane = connection.getJunction(), connection.getFromLane()
    if lane.getEdge().getFunction() != "crossing":
        return int(node.getLinkIndex(connection))
    return max((int(node.getLinkIndex(way)) for way in lane.getIncomingConnections()), default=-1)


def _entry(table: dict[int, str], row: int, column: int) -> bool | None:
    """The entry of a junction's right-of-way table for two of its links, by their rows; None: there is none."""
    return None if row not in table or column < 0 else table[row][-(column + 1)] == "1"


def cross(node: Any, a: int, b: int, merge: bool) -> bool:
    """Whether two links of a junction, given by their rows, conflict: they cross, or merge into one lane.

    For a turn into a lane for trams or buses and a turn into the lane beside it, netconvert names one as a foe of the
    other but not the reverse, and lets neither give way. Their paths do not meet, so such a pair is no conflict.

    Args:
        node: the junction, as sumolib reads it.
        a: row of one link.
        b: row of the other.
        merge: whether they lead into the same lane.
    """
    said = _entry(node._foes, a, b), _entry(node._foes, b, a)
    if set(said) == {True, False}:
        return merge or bool(_entry(node._prohibits, a, b) or _entry(node._prohibits, b, a))
    return any(said)
