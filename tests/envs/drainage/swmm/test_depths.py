"""How deep a node is, against SWMM's own figure."""

import pytest
from swmm.toolkit import solver
from swmm.toolkit.shared_enum import NodeProperty, ObjectType

from envs.core.env import make_loop
from envs.drainage.swmm.depths import SIZES_IN
from envs.drainage.swmm.inp import Inp


@pytest.mark.parametrize("unit", ["CMS", "CFS"])
@pytest.mark.parametrize(
    ("node", "links", "section", "options"),
    [
        ("N 7 0 0 0 0", "C N O 200 0.013 0.2 0 0 0", "CIRCULAR 1.25 0 0 0 1", ""),  # no depth of its own
        ("N 7", "C M N 200 0.013 0 0.4 0 0", "FILLED_CIRCULAR 2 0.5 0 0 1", ""),
        ("N 7 1 0 0 0", "C N O 200 0.013 0 0 0 0", "IRREGULAR bed 0 0 0 1", ""),  # less than its conduit's
        ("N 7 0 0 0 0", "C N O 200 0.013 8.5 * 0 0", "EGG 1.5 0 0 0 1", "LINK_OFFSETS ELEVATION"),
        ("N 7 3 0 0 0", "C N O 200 0.013 0 0 0 0", "CIRCULAR 1 0 0 0 1", ""),  # more than any crown
        ("N 7 0 0 0 0", "C N O 200 0.013 0 0 0 0", "HORIZ_ELLIPSE 10 0 0 0 1", ""),  # a size code, not 10 m
        ("N 7 0 0 0 0", "C N O 200 0.013 0 0 0 0", "arch 1 2 40 0 1", ""),  # the third number is one, too
        ("N 7 0 0 0 0", "C N O 200 0.013 0 0 0 0", "VERT_ELLIPSE 1.5 1 0 0 1", ""),  # height and width
        ("N 7 0 0 0 0", "C N O 200 0.013 0 0 0 0", "STREET Curbed", ""),  # the backing is higher than the crown
        ("N 7 0 0 0 0", "C N O 200 0.013 0 0 0 0", "STREET BROAD 0 0 0 1", ""),  # the other way round
        ("N 7 0 0 0 0", "C N O 200 0.013 0 0 0 0", "CIRCULAR 1 0 0 0 1", "FLOW_ROUTING DW"),
        ("[DIVIDERS]\nN 7 C CUTOFF 1 3 0 2 0\n[JUNCTIONS]", "C N O 200 0.013 0 0 0 0", "CIRCULAR 1 0 0 0 1", ""),
    ],
)
def test_a_node_is_as_deep_as_the_crown_of_its_links_as_in_swmm(tmp_path, unit, node, links, section, options):
    """Depth 0 is "up to the crown" to SWMM; to us it was 2 m, so nobody was told of a node of 0.5 m that overflowed."""
    inp = f"""
[OPTIONS]
FLOW_UNITS {unit}
FLOW_ROUTING DYNWAVE
END_DATE 01/01/2004
END_TIME 1:00
{options}
[JUNCTIONS]
{node}
M 9 9 0 0 0
[OUTFALLS]
O 5 FREE NO
P 6 FREE NO
[STORAGE]
T 8 0.5 0 FUNCTIONAL 0 0 500 2 0
U 8 0.5 0 FUNCTIONAL 0 0 500 0 0
[ORIFICES]
G T M SIDE 0 0.65 NO 0
H U N SIDE 0 0.65 NO 0
B M N BOTTOM 0 0.65 NO 0
[CONDUITS]
{links}
[WEIRS]
W N P TRANSVERSE {7.1 if "ELEVATION" in options else 0.1} 1.8
[XSECTIONS]
C {section}
W RECT_OPEN 0.5 1 0 0
G RECT_CLOSED 0.6 1 0 0
H RECT_CLOSED 0.6 1 0 0
B RECT_CLOSED 9.5 1 0 0
[STREETS]
curbed 10 0.5 4 0.016 0.2 2 1 20 10 0.03
broad 20 0.2 4 0.016
[TRANSECTS]
NC 0.03 0.03 0.03
X1 BED 4 1 9 0 0 0 0 0
GR 12.5 0 10 1 10.25 5
GR 13 9
"""
    (tmp_path / "own.inp").write_text(inp)
    (tmp_path / "own.yaml").write_text("system: drainage\ninp: own.inp\n")
    loop = make_loop(str(tmp_path / "own.yaml"))
    try:
        loop.reset(0)
        tanks, metre = loop.site.tanks, Inp(tmp_path / "own.inp").metre
        places = [solver.project_get_index(ObjectType.NODE, tank.id) for tank in tanks]
        theirs = [metre * solver.node_get_parameter(place, NodeProperty.FULL_DEPTH) for place in places]
        assert {tank.id for tank in tanks} == {"T", "U", "N", "M"}
        assert [tank.full_m for tank in tanks] == pytest.approx(theirs)
        assert next(tank.surcharge_m for tank in tanks if tank.id == "T") == pytest.approx(2 * metre)
    finally:
        loop.close()


@pytest.mark.parametrize("shape", SIZES_IN)
def test_standard_sizes_of_pipes_are_swmm_s(tmp_path, shape):
    codes = range(1, len(SIZES_IN[shape]) + 1)
    lines = ["[OPTIONS]", "FLOW_UNITS CFS", "END_DATE 01/02/2004", "[OUTFALLS]", "O 0 FREE", "[JUNCTIONS]", "D 1 50"]
    lines += [f"N{code} 5 0" for code in codes]
    lines += ["[CONDUITS]", "C D O 100 0.01 0 0", *(f"C{code} N{code} D 100 0.01 0 0" for code in codes)]
    lines += ["[XSECTIONS]", "C CIRCULAR 1 0 0 0", *(f"C{code} {shape} {code} 0 0 0" for code in codes)]
    (tmp_path / "sizes.inp").write_text("\n".join(lines))
    solver.swmm_open(*(str(tmp_path / name) for name in ("sizes.inp", "sizes.rpt", "sizes.out")))
    try:
        solver.swmm_start(0)
        places = [solver.project_get_index(ObjectType.NODE, f"N{code}") for code in codes]
        feet = [solver.node_get_parameter(place, NodeProperty.FULL_DEPTH) for place in places]
        solver.swmm_end()
    finally:
        solver.swmm_close()
    assert [12 * height for height in feet] == pytest.approx(SIZES_IN[shape])
