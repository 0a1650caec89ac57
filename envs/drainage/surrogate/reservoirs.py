"""Reservoir model of a network for its surrogate: tanks that gates empty or fill, and their orifices.

Derived from the SWMM input alone. All else (catchments, other pipes and tanks) acts on these tanks as an inflow that no
decision changes, recorded from SWMM (`recording.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core.errors import CityloopError
from envs.drainage.network import downstream, ends_of, first_below
from envs.drainage.site import DrainageSite
from envs.drainage.swmm.inp import Inp, folded, ruled

BANDS = 10
"""Number of bands of a tank's depth, each with an area of its own."""


@dataclass(frozen=True)
class Outlet:
    """A rectangular orifice in a tank's side.

    Attributes:
        link: its SWMM link.
        source: index of the reservoir that it empties.
        to: index of the next reservoir downstream, -1: none.
        gate: index of its gate at the site, -1: uncontrolled, fully open.
        height_m, width_m: of its opening, when open.
        sill_m: height of its lower edge over the tank's bottom.
        discharge: coefficient of discharge.
    """

    link: str
    source: int
    to: int
    gate: int
    height_m: float
    width_m: float
    sill_m: float
    discharge: float


@dataclass(frozen=True)
class Reservoirs:
    """Tanks and outlets.

    Attributes:
        names: SWMM nodes of the tanks.
        tanks: their indices in the site.
        full_m: depths when full.
        initial_m: depths at the start.
        controllable: tanks whose overflow counts, bool.
        sensitive: tanks that overflow into a sensitive water, bool.
        outlets: the orifices; those that are gates in the site's order.
    """

    names: tuple[str, ...]
    tanks: np.ndarray
    full_m: np.ndarray
    initial_m: np.ndarray
    controllable: np.ndarray
    sensitive: np.ndarray
    outlets: tuple[Outlet, ...]


@dataclass(frozen=True)
class Calibration:
    """Fitted parameters of the reservoirs, in their order; see `calibration.py`.

    Attributes:
        parts: the reservoirs.
        area_m2: of each band of depths, ``(K, BANDS)``.
        brim_m3: volume that a full tank takes before it overflows, ``(K,)``.
        lag_s: travel time to it from the gates above, ``(K,)``.
    """

    parts: Reservoirs
    area_m2: np.ndarray
    brim_m3: np.ndarray
    lag_s: np.ndarray


def reservoirs(inp: Inp, site: DrainageSite, sensitive: tuple[str, ...] = ()) -> Reservoirs:
    """The reservoirs of a site.

    Raises:
        CityloopError: if water leaves them by something that the surrogate does not model.
    """
    spills = [name for name in site.outfalls if name in (*site.controllable, *sensitive)]
    if spills:
        raise CityloopError(
            f"{inp.path.name}: what runs out at {spills[0]} counts as overflow, of which the surrogate knows nothing: "
            "train on SWMM itself"
        )
    used = sorted({k for gate in site.gates for k in (gate.tank, gate.below) if k >= 0})
    names = tuple(site.tanks[k].id for k in used)
    storage = {row[0]: row for row in inp.rows("STORAGE")}
    for name in names:
        if name not in storage:
            raise CityloopError(f"{inp.path.name}: gates draw from {name}, which is no storage: there is no surrogate")
    return Reservoirs(
        names=names,
        tanks=np.array(used),
        full_m=np.array([site.tanks[k].full_m for k in used]),
        initial_m=np.array([float(storage[name][3]) * inp.metre for name in names]),
        controllable=np.array([name in site.controllable for name in names]),
        sensitive=np.array([name in sensitive for name in names]),
        outlets=_outlets(inp, site, used),
    )


def _outlets(inp: Inp, site: DrainageSite, used: list[int]) -> tuple[Outlet, ...]:
    """Outlets of the site's tanks ``used``: its gates, then links that nobody controls."""
    names = tuple(site.tanks[k].id for k in used)
    place = {tank: k for k, tank in enumerate(used)} | {-1: -1}
    gates = {gate.id: k for k, gate in enumerate(site.gates)}
    orifices = {row[0]: row for row in inp.rows("ORIFICES")}
    shapes = {row[0]: row for row in inp.rows("XSECTIONS")}
    ends, moved = ends_of(inp), ruled(inp, site.agents)
    below = downstream(ends)
    outlets = []
    for link in (*gates, *(link for link, (start, _) in ends.items() if start in names and link not in gates)):
        row, shape = orifices.get(link, []), shapes.get(link, [])
        _refuse_unknown(inp, link, row, shape, names, folded(link) in moved)
        source, gate = names.index(row[1]), gates.get(link, -1)
        outlets.append(
            Outlet(
                link=link,
                source=source,
                to=place[site.gates[gate].below] if gate >= 0 else first_below(row[2], below, names),
                gate=gate,
                height_m=float(shape[2]) * inp.metre,
                width_m=float(shape[3]) * inp.metre,
                sill_m=_sill_m(inp, row[4], site.tanks[used[source]].invert_m),
                discharge=float(row[5]),
            )
        )
    for outlet in outlets:
        if (end := ends[outlet.link][1]) in site.tides:
            raise CityloopError(
                f"{inp.path.name}: {outlet.link} leads into {end}, whose level the surrogate does not know: train on "
                "SWMM itself"
            )
    return tuple(outlets)


def _refuse_unknown(inp: Inp, link: str, row: list[str], shape: list[str], names: tuple[str, ...], moved: bool) -> None:
    """Refuse a link that the surrogate does not model; ``moved``: a control rule acts on it."""
    if not row or row[3].upper() != "SIDE" or len(shape) < 4 or shape[1].upper() != "RECT_CLOSED":
        raise CityloopError(
            f"{inp.path.name}: {link} is no rectangular orifice in a tank's side, the only kind that the surrogate "
            "knows: train on SWMM itself"
        )
    if row[1] not in names:
        raise CityloopError(f"{inp.path.name}: {link} draws from {row[1]}, no tank: there is no surrogate")
    if moved:
        raise CityloopError(
            f"{inp.path.name}: a rule acts on {link}, which the surrogate takes to stand open: train on SWMM itself"
        )


def _sill_m(inp: Inp, offset: str, invert_m: float) -> float:
    """Height of an orifice's sill over its tank's bottom; SWMM's offset is a depth, or an elevation by its options."""
    if offset == "*":
        return 0.0
    elevation = inp.options.get("LINK_OFFSETS", "DEPTH").upper() == "ELEVATION"
    return float(offset) * inp.metre - (invert_m if elevation else 0.0)
