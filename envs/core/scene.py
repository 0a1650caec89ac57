"""What a place looks like: marks on a plane, each of them a line or a point, for consoles and maps.

A system says it from its site alone, so whoever draws needs no simulator. Marks that stand for something that is
measured or commanded carry the identifier that it has along the axis of its readings; colours and sizes are up to the
one who draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from envs.core.frozen import Frozen

Point = tuple[float, float]


class Mark(Frozen):
    """One thing to be drawn.

    Attributes:
        kind: what it is, e.g. ``lane``, ``tank``, ``road``.
        points: a place, or a line through several.
        id: along the axis of its kind, see `Scene.axes`; empty if nothing is known of it.
        label: for people; empty if it has none.
    """

    kind: str
    points: tuple[Point, ...] = Field(min_length=1)
    id: str = ""
    label: str = ""


class Scene(Frozen):
    """A place as marks, in the order in which they are to be drawn.

    Attributes:
        plane: ``map`` (x east, y north) or ``section`` (y up): what the two numbers of a point are.
        unit: of both.
        axes: kind → axis of the readings along which marks of the kind are identified.
        marks: what there is.
    """

    plane: Literal["map", "section"] = "map"
    unit: Literal["m", ""] = "m"
    axes: dict[str, str] = Field(default_factory=dict)
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Thing:
    """Something that moves about in a scene: a car, a bus.

    Attributes:
        id: its own as long as it is there.
        x, y: where it is, in the scene's unit.
        load: who or what is aboard; 0: nobody but a driver.
    """

    id: str
    x: float
    y: float
    load: float = 0.0


def rounded(points: Iterable[Iterable[float]], digits: int = 1) -> tuple[Point, ...]:
    """Points as a scene keeps them."""
    return tuple((round(float(x), digits), round(float(y), digits)) for x, y in points)
