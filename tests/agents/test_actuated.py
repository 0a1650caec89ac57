"""Detector positions of vehicle-actuated control; a queue beside a short lane does not extend that lane's green."""

import subprocess

import pytest

from agents import make_controller
from agents.baselines.intersections_plans import LOOP_M, loops
from envs.core.env import make_loop
from envs.core.sumo.programs import sumo_binary
from envs.intersections.junction import Segment
from tests.envs.intersections.small import SPEED_MPS, crossroads

GAP_M = 2 * SPEED_MPS


def own(length_m):
    return Segment(lane="own", offset_m=0.0, length_m=length_m)


def upstream(lane, length_m=100.0, offset_m=10.0):
    return Segment(lane=lane, offset_m=offset_m, length_m=length_m)


def with_segments(*segments):
    """The crossroads; these lead to its first stop line, and ``shared`` to its second as well."""
    site = crossroads()
    one, other = site.approaches
    mine, more = {"segments": segments}, {"segments": (*other.segments, upstream("shared", offset_m=100.0))}
    return site.model_copy(update={"approaches": (one.model_copy(update=mine), other.model_copy(update=more))})


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ([own(100.0), upstream("up", offset_m=100.0)], {}),
        ([own(10.0), upstream("up")], {"own": ("up", 110 - GAP_M)}),
        ([own(10.0), upstream("up", 5.0), upstream("far", offset_m=15.0)], {"own": ("far", 115 - GAP_M)}),
        ([own(10.0), upstream("shared")], {"own": ("own", LOOP_M)}),
        ([own(10.0), upstream("one"), upstream("two")], {"own": ("own", LOOP_M)}),
        ([own(10.0)], {"own": ("own", LOOP_M)}),
    ],
    ids=["long enough", "before it", "farther", "shared", "two roads", "nothing before it"],
)
def test_detectors_of_short_lanes_lie_where_nobody_else_drives(segments, found):
    where = loops(with_segments(*segments))
    assert {stop: lane for stop, (lane, _) in where.items()} == {stop: lane for stop, (lane, _) in found.items()}
    assert [at for _, at in where.values()] == pytest.approx([at for _, at in found.values()])


def test_a_queue_beside_a_short_lane_does_not_hold_its_green(tmp_path):
    """Nobody turns left, and who goes ahead queues past the lanes for it (94 s of delay where SUMO puts detectors)."""
    net = tmp_path / "own.net.xml"
    grid = ["--grid", "--grid.number=2", "--grid.attach-length=150", "--default-junction-type=traffic_light"]
    kind = ["--default.lanenumber=2", "--turn-lanes=1", "--tls.default-type=NEMA", f"--output-file={net}"]
    subprocess.run([sumo_binary("netgenerate"), *grid, *kind], check=True, capture_output=True)
    ways = [("left0A0", "B0right0"), ("right0B0", "A0left0"), ("bottom0A0", "A1top0"), ("top0A1", "A0bottom0")]
    flows = [f'<flow id="{k}" begin="0" end="900" number="135" from="{a}" to="{b}"/>' for k, (a, b) in enumerate(ways)]
    (tmp_path / "own.rou.xml").write_text(f"<routes>{''.join(flows)}</routes>")
    (tmp_path / "own.yaml").write_text(
        "system: intersections\nnet: own.net.xml\nroutes: [own.rou.xml]\nduration_s: 900\n"
    )
    loop = make_loop(str(tmp_path / "own.yaml"))
    try:
        delays = {name: loop.episode(make_controller(name, loop.site), seed=1).kpis for name in ("actuated", "fixed")}
    finally:
        loop.close()
    assert delays["actuated"]["delay_s"] < 0.6 * delays["fixed"]["delay_s"]
