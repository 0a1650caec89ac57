"""SWMM input → site: which tank each gate empties, which comes next downstream, and whose rain reaches it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Literal

from envs.core.errors import CityloopError
from envs.core.machine.warn_once import warn_once
from envs.drainage.objectives import OBJECTIVES
from envs.drainage.scenarios import DrainageScenario
from envs.drainage.site import DrainageSite, Gate, Link, Node, Tank
from envs.drainage.swmm.depths import surcharge, tank_rows
from envs.drainage.swmm.inp import LINK_SECTIONS, NODE_SECTIONS, Inp, folded, ideal_pumps, seeping
from envs.drainage.swmm.times import series_start

LOGGER = logging.getLogger(__name__)

CONTROLLED: dict[str, Literal["orifice", "weir", "pump"]] = {"ORIFICES": "orifice", "WEIRS": "weir", "PUMPS": "pump"}
KINDS: dict[str, Literal["junction", "storage", "outfall"]] = {
    "JUNCTIONS": "junction",
    "DIVIDERS": "junction",
    "STORAGE": "storage",
    "OUTFALLS": "outfall",
}

SHOWN = 5
"""Most subcatchments that a warning names."""

TIDAL = ("FIXED", "TIDAL", "TIMESERIES")
"""Types of outfall whose receiving water has a level of its own."""

LINKS = (*CONTROLLED, "CONDUITS", "OUTLETS")

NO_ROUGHER = ("IRREGULAR", "STREET", "FORCE_MAIN", "DUMMY")
"""Shapes of conduits without effect of the roughness in their row: it is given elsewhere, or there is none."""

ROUTES_NOT = {"IGNORE_ROUTING": ("YES", "NO"), "FLOW_ROUTING": ("NONE", "DYNWAVE")}
"""Option → the value with which SWMM routes no flow, and another."""

READ: dict[str, tuple[int, tuple[int, ...]]] = {
    **dict.fromkeys((*CONTROLLED, "OUTLETS"), (3, ())),
    "CONDUITS": (5, (4,)),
    "STORAGE": (3, (1, 2)),
    "JUNCTIONS": (2, (1, 2)),
    "DIVIDERS": (2, (1,)),
    "SUBCATCHMENTS": (4, (3,)),
    "COORDINATES": (1, (1, 2)),
    "SYMBOLS": (1, (1, 2)),
}
"""Section → least number of words of its rows, and indices of words that are numbers where they are given."""


def load_site(scenario: DrainageScenario) -> DrainageSite:
    """The site of a scenario.

    Raises:
        CityloopError: if the input lacks something, or the scenario names what is not there.
    """
    inp = Inp(scenario.inp)
    _refuse_broken(inp)
    kinds = {row[0]: kind for section, kind in CONTROLLED.items() for row in inp.rows(section)}
    names = scenario.gates or tuple(kinds)
    if not names:
        raise CityloopError(
            f"scenario {scenario.ref}: {inp.path.name} has no orifice, weir or pump: there is nothing to control"
        )
    _refuse_strangers(scenario, inp, names, kinds)
    outfalls = tuple(row[0] for row in inp.rows("OUTFALLS"))
    _warn_of_spills(scenario, outfalls)
    _warn_of_lost_rain(inp)
    ends = ends_of(inp)
    storage, others = tank_rows(inp, {ends[name][0] for name in names})
    tides = tuple(row[0] for row in inp.rows("OUTFALLS") if len(row) > 2 and row[2].upper() in TIDAL)
    gauges = tuple(row[0] for row in inp.rows("RAINGAGES"))
    spills = (name for name in scenario.sensitive if name in outfalls)
    return DrainageSite(
        name=scenario.name,
        timing=scenario.timing,
        weights=scenario.weights,
        tanks=_tanks(inp, storage, gauges, ends),
        gates=_gates(scenario, inp, {name: kinds[name] for name in names}, ends, list(storage), tides),
        gauges=gauges,
        outfalls=outfalls,
        tides=tides,
        controllable=scenario.controllable or (*storage, *others, *spills),
        drained=_drained(inp, names, ends, list(storage)),
        input=str(scenario.inp),
        start=series_start(inp, f"{scenario.series}1") if scenario.dated and gauges else None,
        **_map(inp, ends),
    )


def _tanks(
    inp: Inp, rows: Mapping[str, list[str]], gauges: tuple[str, ...], ends: Mapping[str, tuple[str, str]]
) -> tuple[Tank, ...]:
    catchments = _catchments(inp, gauges, list(rows), downstream(ends))
    return tuple(_tank(inp, row, catchments[row[0]]) for row in rows.values())


def _gates(
    scenario: DrainageScenario,
    inp: Inp,
    kinds: Mapping[str, Literal["orifice", "weir", "pump"]],
    ends: Mapping[str, tuple[str, str]],
    tanks: list[str],
    tides: tuple[str, ...],
) -> tuple[Gate, ...]:
    """The controlled links ``kinds``; an ideal pump has no tank."""
    below, ideal = downstream(ends), ideal_pumps(inp)
    gates = []
    for name, kind in kinds.items():
        start, end = ends[name]
        static = scenario.settings.get(name, 1.0)
        gates.append(
            Gate(
                id=name,
                kind=kind,
                tank=tanks.index(start) if start in tanks and name not in ideal else -1,
                below=first_below(end, below, tanks),
                tide=tides.index(end) if end in tides else -1,
                static=static,
                fail_safe=scenario.fail_safe.get(name, static),
                reduced=scenario.reduced.get(name, static / 2),
            )
        )
    return tuple(gates)


def _drained(
    inp: Inp, gates: Sequence[str], ends: Mapping[str, tuple[str, str]], tanks: Sequence[str]
) -> tuple[str, ...]:
    """Tanks that water leaves by links that nobody controls, by ideal pumps, or into the ground."""
    sources = {ends[link][0] for link in ends.keys() - {*gates} | ideal_pumps(inp)} | seeping(inp)
    return tuple(tank for tank in tanks if tank in sources)


def _warn_of_spills(scenario: DrainageScenario, outfalls: Sequence[str]) -> None:
    """Warn of outfalls that neither lead to treatment nor count as overflow, where a scenario names treatment."""
    counted = {*scenario.treatment, *scenario.controllable, *scenario.sensitive}
    free = [name for name in outfalls if name not in counted]
    if scenario.treatment and free:
        sentence = (
            f"scenario {scenario.ref}: what runs out at {', '.join(free)} is neither treated nor counts as overflow, "
            "whoever decides; name them in controllable or sensitive if it does harm"
        )
        warn_once(LOGGER, scenario.inp, sentence)


def _warn_of_lost_rain(inp: Inp) -> None:
    """Warn of subcatchments without a row in [SUBAREAS]: SWMM lets nothing run off them."""
    given = {folded(row[0]) for row in inp.rows("SUBAREAS")}
    names = [row[0] for row in inp.rows("SUBCATCHMENTS") if folded(row[0]) not in given]
    if names:
        told = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        sentence = f"{inp.path.name}: rain on {told} runs off nowhere, as in SWMM: give each a row in [SUBAREAS]"
        warn_once(LOGGER, inp.path, sentence)


def ends_of(inp: Inp) -> dict[str, tuple[str, str]]:
    """Link → the nodes that it leads from and to."""
    return {row[0]: (row[1], row[2]) for section in LINKS for row in inp.rows(section) if len(row) > 2}


def downstream(ends: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Node → those that links lead to from it."""
    below: dict[str, list[str]] = {}
    for start, end in ends.values():
        below.setdefault(start, []).append(end)
    return below


def _refuse_strangers(scenario: DrainageScenario, inp: Inp, names: Sequence[str], kinds: Mapping[str, str]) -> None:
    """Refuse names in a scenario that the input lacks; ``names``: of the controlled gates."""
    where = f"scenario {scenario.ref}"
    _known(where, "gates", names, kinds, "orifice, weir or pump")
    for field in ("settings", "reduced", "fail_safe"):
        _known(where, field, getattr(scenario, field), names, "controlled gate")
    outfalls = [row[0] for row in inp.rows("OUTFALLS")]
    nodes = {row[0] for section in NODE_SECTIONS for row in inp.rows(section)}
    _known(where, "sensitive", scenario.sensitive, nodes, "node")
    _known(where, "controllable", scenario.controllable, nodes, "node")
    _known(where, "treatment", scenario.treatment, outfalls, "outfall")
    both = {*scenario.treatment} & {*scenario.controllable, *scenario.sensitive}
    if both:
        raise CityloopError(f"{where}: what runs out at {min(both)} is in treatment and counts as overflow: choose one")
    _refuse_objective(where, scenario.objective, inp)
    stuck = scenario.faults.stuck_gates
    if stuck > len(names):
        raise CityloopError(f"{where}: faults.stuck_gates is {stuck}: there are {len(names)} gates")
    conduits = [row[0] for row in inp.rows("CONDUITS")]
    _known(where, "faults.blocked", scenario.faults.blocked, conduits, "conduit")
    shapes = {row[0]: row[1].upper() for row in inp.rows("XSECTIONS") if len(row) > 1}
    for conduit, share in scenario.faults.blocked.items():
        if shapes.get(conduit) in NO_ROUGHER:
            raise CityloopError(
                f"{where}: faults.blocked.{conduit} is {share:g}, and a conduit of shape {shapes[conduit]} does not "
                f"feel the roughness in its row: block another"
            )


def _refuse_objective(where: str, name: str, inp: Inp) -> None:
    """Refuse an input without the nodes and links that a published objective needs."""
    if not name:
        return
    needed = OBJECTIVES[name]
    for what, names, sections in (("node", needed.NODES, NODE_SECTIONS), ("link", needed.LINKS, LINK_SECTIONS)):
        known = {folded(row[0]) for section in sections for row in inp.rows(section)}
        missing = next((one for one in names if folded(one) not in known), None)
        if missing is not None:
            raise CityloopError(
                f"{where}: objective is {name!r}, which needs {what} {missing!r}, and {inp.path.name} has none of that "
                f"name: leave objective out, or run the network that it was published for"
            )


def _refuse_broken(inp: Inp) -> None:
    """Refuse a broken input: SWMM reports it only when it starts, after the site is made, and missing routing never."""
    for option, (off, mend) in ROUTES_NOT.items():
        if inp.options.get(option, "").upper() == off:
            raise CityloopError(f"{inp.path.name}: {option} is {off}, and no water would flow: set it to {mend}")
    for section, (least, numbers) in READ.items():
        for row in inp.rows(section):
            where = f"{inp.path.name}: [{section}] has a row {' '.join(row)!r}"
            if len(row) < least:
                raise CityloopError(f"{where}: it needs {least} words at least; complete it")
            for word in (row[k] for k in numbers if k < len(row)):
                try:
                    finite = isfinite(float(word))
                except ValueError:
                    finite = False
                if not finite:
                    raise CityloopError(f"{where}: {word!r} is no number; correct it")


def _map(inp: Inp, ends: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Nodes that have a place, and the links between them."""
    places = {row[0]: (float(row[1]), float(row[2])) for row in inp.rows("COORDINATES") if len(row) > 2}
    kinds = {row[0]: kind for section, kind in KINDS.items() for row in inp.rows(section) if row[0] in places}
    index = {name: k for k, name in enumerate(kinds)}
    return {
        "nodes": tuple(Node(id=name, kind=kind, x=places[name][0], y=places[name][1]) for name, kind in kinds.items()),
        "links": tuple(
            Link(id=name, start=index[start], end=index[end])
            for name, (start, end) in ends.items()
            if start in index and end in index
        ),
    }


def _known(where: str, field: str, names: Iterable[str], known: Collection[str], what: str) -> None:
    for name in names:
        if name not in known:
            some = ", ".join(sorted(known)[:8]) or "none"
            raise CityloopError(f"{where}: {field} names {name!r}, which is no {what}: there is {some}")


def _tank(inp: Inp, row: list[str], rain: list[float]) -> Tank:
    total = sum(rain)
    return Tank(
        id=row[0],
        invert_m=float(row[1]) * inp.metre,
        full_m=max(float(row[2]) * inp.metre, 0.01),
        surcharge_m=max(surcharge(row) * inp.metre, 0.0),
        rain=tuple(area / total if total else 0.0 for area in rain),
        catchment_ha=total,
    )


def first_below(node: str, below: Mapping[str, list[str]], tanks: Sequence[str]) -> int:
    """Index of the first tank at or downstream of a node, by the fewest links; -1 if there is none."""
    seen, queue = {node}, deque([node])
    while queue:
        here = queue.popleft()
        if here in tanks:
            return tanks.index(here)
        for following in below.get(here, []):
            if following not in seen:
                seen.add(following)
                queue.append(following)
    return -1


def _catchments(
    inp: Inp, gauges: tuple[str, ...], tanks: list[str], below: dict[str, list[str]]
) -> dict[str, list[float]]:
    """Tank → hectares under each gauge that drain to it without passing another tank."""
    rows = {row[0]: row for row in inp.rows("SUBCATCHMENTS")}
    found = {tank: [0.0] * len(gauges) for tank in tanks}
    for row in rows.values():
        outlet, hops = row[2], 0
        while outlet in rows and hops < len(rows):  # a catchment that drains to another
            outlet, hops = rows[outlet][2], hops + 1
        first = first_below(outlet, below, tanks)
        if first >= 0 and row[1] in gauges:
            found[tanks[first]][gauges.index(row[1])] += float(row[3]) * inp.hectare
    return found
