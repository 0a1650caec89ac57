"""A handwritten junction: two roads that cross, small enough to compute by hand."""

from __future__ import annotations

from envs.intersections.junction import Approach, Exit, Junction, Movement, Phase, Segment
from envs.intersections.site import SignalSite
from envs.intersections.timing import REGIMES, Timing

SPEED_MPS = 50 / 3.6
WIDTH_M = 20.0


def movement(approach: int, flow_veh_h: float | None = None) -> Movement:
    return Movement(approach=approach, exits=(approach,), speed_mps=SPEED_MPS, width_m=WIDTH_M, flow_veh_h=flow_veh_h)


def junction(stages: tuple[str, ...], movements: list[Movement], foes=(), yields=()) -> Junction:
    program = tuple(Phase(state=stage, duration_s=30) for stage in stages)
    return Junction(
        id="J", movements=tuple(movements), stages=stages, foes=tuple(foes), yields=tuple(yields), program=program
    )


def site(junction: Junction, timing: Timing = REGIMES["engineer"]) -> SignalSite:
    lanes = range(1 + max(movement.approach for movement in junction.movements))
    approaches = tuple(
        Approach(
            id=f"in{k}",
            speed_mps=SPEED_MPS,
            length_m=100,
            segments=(Segment(lane=f"in{k}", offset_m=0, length_m=100),),
        )
        for k in lanes
    )
    exits = tuple(Exit(id=f"out{k}", lanes=(f"out{k}",), capacity_veh=10) for k in lanes)
    return SignalSite(
        name="small", timing=timing, range_m=150, junctions=(junction,), approaches=approaches, exits=exits
    )


def crossroads(*flows_veh_h: float | None) -> SignalSite:
    """One lane north-south, one lane east-west, a stage for each."""
    movements = [movement(k, flow) for k, flow in enumerate(flows_veh_h or (None, None))]
    return site(junction(("Gr", "rG"), movements, foes=[(0, 1)]))
