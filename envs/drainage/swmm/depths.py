"""How deep the nodes are that gates draw from: up to the crown of their links at least, as SWMM reckons."""

from __future__ import annotations

from collections.abc import Sequence, Set
from math import isfinite

from envs.drainage.swmm.inp import FOOT_M, NODE_SECTIONS, Inp, folded

JUNCTION = "JUNCTION"
"""Shape in a tank's row for a node that is no storage."""

SURCHARGE_AT = {"TABULAR": 6, JUNCTION: 5} | dict.fromkeys(
    ("FUNCTIONAL", "CYLINDRICAL", "CONICAL", "PARABOLIC", "PYRAMIDAL"), 8
)
"""Shape → which word of the row is the depth of surcharge."""

DIVIDER_DEPTH_AT = {"OVERFLOW": 4, "CUTOFF": 5, "TABULAR": 5, "WEIR": 7}
"""Type of divider → which word of its row is its depth; depths at the start and of surcharge follow, and an area."""

DYNAMIC = ("DYNWAVE", "DW")
"""SWMM's words for dynamic wave routing; it is the default."""

CROWNED = {"CONDUITS": (5, 6), "ORIFICES": (4,), "WEIRS": (4,), "OUTLETS": (3,)}
"""Section of links → words of its rows that are offsets, at the upper end and at the lower one: SWMM makes nodes that
are no storage, and storage under pressure, as deep as the crown there.
"""

ELLIPSES_IN = (
    *((14, 23), (19, 30), (22, 34), (24, 38), (27, 42), (29, 45), (32, 49), (34, 53), (38, 60), (43, 68), (48, 76)),
    *((53, 83), (58, 91), (63, 98), (68, 106), (72, 113), (77, 121), (82, 128), (87, 136), (92, 143), (97, 151)),
    *((106, 166), (116, 180)),
)
ARCHES_IN = (
    *(11, 13.5, 15.5, 18, 22.5, 26.625, 31.3125, 36, 40, 45, 54, 62, 72, 77.5, 87.125, 96.875, 106.5, 13, 15, 18, 20),
    *(24, 29, 33, 38, 43, 47, 52, 57, 31, 36, 41, 46, *range(51, 92, 4), *range(55, 98, 2), 100, *range(101, 116, 2)),
    *(118, 119, 121, *range(112, 159, 2)),
)
SIZES_IN: dict[str, tuple[float, ...]] = {
    "HORIZ_ELLIPSE": tuple(minor for minor, _ in ELLIPSES_IN),
    "VERT_ELLIPSE": tuple(major for _, major in ELLIPSES_IN),
    "ARCH": ARCHES_IN,
}
"""Shape → height in inches of each of SWMM's standard sizes, by their code from 1 on."""


def tank_rows(inp: Inp, starts: Set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Rows of the nodes that are tanks: storage, then others that gates draw from (``starts``); and all other nodes.

    Outfalls are in neither.
    """
    others = {row[0]: row for row in inp.rows("JUNCTIONS")} | {row[0]: _divider(row) for row in inp.rows("DIVIDERS")}
    crowns, ponding = _crowns(inp), inp.options.get("ALLOW_PONDING", "").upper() == "YES"
    tanks = {row[0]: _storage(row, crowns.get(row[0], 0.0)) for row in inp.rows("STORAGE")}
    tanks |= {node: _junction(row, crowns.get(node, 0.0), ponding) for node, row in others.items() if node in starts}
    return tanks, [name for name in others if name not in tanks]


def _junction(row: list[str], crown: float, ponding: bool) -> list[str]:
    """A node that a gate draws from, as if it were a tank: name, invert, depth, and depth of surcharge last.

    Where water may pond on an area of its own, SWMM knows no surcharge: it ponds from the full depth on.
    """
    depth, ponds = max(_number(row, 2), crown), ponding and _number(row, 5) > 0
    return [row[0], row[1], str(depth), "0", JUNCTION, "0" if ponds or len(row) < 5 else row[4]]


def _divider(row: list[str]) -> list[str]:
    """A divider's row as if it were a junction's."""
    at = DIVIDER_DEPTH_AT.get(row[3].upper(), len(row)) if len(row) > 3 else len(row)
    return [*row[:2], *row[at : at + 4]]


def _storage(row: list[str], crown: float) -> list[str]:
    """A storage node's row; under pressure it is as deep as the crown of its links at least."""
    return [*row[:2], str(max(float(row[2]), crown)), *row[3:]] if surcharge(row) > 0 else row


def _crowns(inp: Inp) -> dict[str, float]:
    """Node → height of the highest crown of its links above its bottom, in the input's unit of length."""
    inverts = {row[0]: _number(row, 1) for section in NODE_SECTIONS for row in inp.rows(section)}
    above_datum = inp.options.get("LINK_OFFSETS", "").upper() == "ELEVATION"
    dynamic = inp.options.get("FLOW_ROUTING", DYNAMIC[0]).upper() in DYNAMIC
    heights, found = _heights(inp), dict[str, float]()
    for section, offsets in CROWNED.items():
        for row in inp.rows(section):
            if section == "ORIFICES" and "BOTTOM" in map(str.upper, row[3:4]):
                continue
            for node, at in zip(row[1:3], offsets, strict=False):
                offset = _number(row, at)
                if above_datum and row[at : at + 1] not in ([], ["*"]):
                    offset -= inverts.get(node, 0.0)
                if dynamic and section != "CONDUITS":  # its crest is no lower than the node below
                    offset = max(offset, inverts.get(row[2], 0.0) - inverts.get(node, 0.0))
                found[node] = max(found.get(node, 0.0), max(offset, 0.0) + heights.get(row[0], 0.0))
    return found


def _heights(inp: Inp) -> dict[str, float]:
    """Link → height of its cross-section, in the input's unit of length; none where SWMM gives it none."""
    transects, streets, heights, name = dict[str, list[float]](), dict[str, float](), dict[str, float](), ""
    for row in inp.rows("TRANSECTS"):
        if row[0].upper() == "X1":
            name = row[1] if len(row) > 1 else ""
        elif row[0].upper() == "GR":
            transects.setdefault(folded(name), []).extend(_number(row, k) for k in range(1, len(row), 2))
    for row in inp.rows("STREETS"):
        streets[folded(row[0])] = _street(row)
    for row in inp.rows("XSECTIONS"):
        shape, named = row[1].upper() if len(row) > 1 else "", folded(row[2]) if len(row) > 2 else ""
        if shape == "IRREGULAR":
            levels = transects.get(named, [0.0])
            heights[row[0]] = max(levels) - min(levels)
        elif shape == "STREET":
            heights[row[0]] = streets.get(named, 0.0)
        elif shape in SIZES_IN:
            heights[row[0]] = _of_size(row, SIZES_IN[shape], FOOT_M / 12 / inp.metre)
        elif shape != "DUMMY":
            heights[row[0]] = _number(row, 2)
    return heights


def _street(row: list[str]) -> float:
    """Height of a street's cross-section: from the gutter's bottom to its crown, or to the end of its backing."""
    width, curb, slope_pct, _, gutter, _, _, back, back_pct = (_number(row, k) for k in range(1, 10))
    return gutter + max(width * slope_pct / 100, curb + back * back_pct / 100)


def _of_size(row: list[str], heights_in: Sequence[float], inch: float) -> float:
    """Height of an ellipse or arch: of its size code, which is the only number or the third, or else the first."""
    code = int(_number(row, 4 if _number(row, 3) else 2))
    return heights_in[code - 1] * inch if 0 < code <= len(heights_in) else _number(row, 2)


def _number(row: Sequence[str], at: int) -> float:
    """A number in a row; 0 where it is left out, or is none, which SWMM reports."""
    try:
        number = float(row[at]) if at < len(row) else 0.0
    except ValueError:
        return 0.0
    return number if isfinite(number) else 0.0


def surcharge(row: list[str]) -> float:
    """Surcharge depth of a tank, in the input's unit; it follows the numbers of the shape."""
    at = SURCHARGE_AT.get(row[4].upper()) if len(row) > 4 else None
    return 0.0 if at is None else _number(row, at)
