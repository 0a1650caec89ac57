"""Drawings of sites for consoles and maps: marks on a plane, each a line or a point.

A system derives a scene from its site alone, so drawing needs no simulator. A mark of a measured or commanded object
carries the object's identifier along the axis of its readings. Colours and sizes are chosen by the drawing code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from envs.core.frozen import Frozen

Point = tuple[float, float]


class Mark(Frozen):
    """One object to draw.

    Attributes:
        kind: kind of object, e.g. ``lane``, ``tank``, ``road``.
        points: one point, or a line through several.
        id: identifier along the axis of its kind, see `Scene.axes`; empty if the object has no readings.
        label: name for people; empty if it has none.
    """

    kind: str
    points: tuple[Point, ...] = Field(min_length=1)
    id: str = ""
    label: str = ""


class Scene(Frozen):
    """A site as marks, in drawing order.

    Attributes:
        plane: meaning of a point's two coordinates: ``map`` (x east, y north) or ``section`` (y up).
        unit: unit of both coordinates.
        axes: kind → axis of the readings along which marks of the kind are identified.
        marks: the marks.
    """

    plane: Literal["map", "section"] = "map"
    unit: Literal["m", ""] = "m"
    axes: dict[str, str] = Field(default_factory=dict)
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Thing:
    """A moving object in a scene, such as a car or a bus.

    Attributes:
        id: identifier, constant while the object exists.
        x, y: position, in the scene's unit.
        load: passengers or goods aboard; 0: only a driver.
    """

    id: str
    x: float
    y: float
    load: float = 0.0


def rounded(points: Iterable[Iterable[float]], digits: int = 1) -> tuple[Point, ...]:
    """Points rounded to the precision of a scene."""
    return tuple((round(float(x), digits), round(float(y), digits)) for x, y in points)
