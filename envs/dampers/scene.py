"""Elevation of a building: floors, storeys between them, and the braces with dampers."""

from __future__ import annotations

from envs.core.scene import Mark, Point, Scene, rounded
from envs.dampers.site import DampersSite

WIDTH = 2.2
"""Width of the drawn frame, in storey heights."""


def make_scene(site: DampersSite) -> Scene:
    """The ground, floors from below, a pair of columns a storey, and a diagonal wherever dampers are."""
    building = site.building
    rise, wide = building.storey_m, WIDTH * building.storey_m
    n = building.frame.floors

    def level(k: int) -> tuple[Point, ...]:
        return rounded([(0.0, k * rise), (wide, k * rise)], 3)

    ground = Mark(kind="ground", points=level(0), id="ground", label="ground")
    floors = [Mark(kind="floor", points=level(k + 1), id=f"f{k + 1}", label=f"floor {k + 1}") for k in range(n)]
    columns = []
    for k in range(n):
        left, right = [(0.0, k * rise), (0.0, (k + 1) * rise)], [(wide, k * rise), (wide, (k + 1) * rise)]
        columns += [Mark(kind="storey", points=rounded(side, 3), id=f"s{k + 1}") for side in (left, right)]
    braces = []
    for agent, storey in zip(site.agents, building.storeys.tolist(), strict=True):
        brace = [(0.0, storey * rise), (wide, (storey + 1) * rise)]
        braces.append(Mark(kind="damper", points=rounded(brace, 3), id=agent, label=f"{agent}, storey {storey + 1}"))
    axes = {"ground": "ground", "floor": "floor", "storey": "storey", "damper": "damper"}
    return Scene(plane="section", axes=axes, marks=(ground, *columns, *braces, *floors))
