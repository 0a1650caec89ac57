"""Map of a signalised network: its streets, its lanes at signals, and the paths across its junctions."""

from __future__ import annotations

import numpy as np

from envs.core.scene import Mark, Point, Scene, rounded
from envs.intersections.junction import Junction
from envs.intersections.site import SignalSite

BEND = 5
"""Points of a drawn path across a junction."""


def make_scene(site: SignalSite) -> Scene:
    """Streets, approaches and exits as lanes, movements as curves from lane to lane, junctions at their middle.

    Movements without shapes (pedestrian crossings, sites without shapes) are left out.
    """
    marks = [Mark(kind="street", points=street) for street in site.streets]
    shapes = {"approach": [a.shape for a in site.approaches], "exit": [e.shape for e in site.exits]}
    for kind in ("exit", "approach"):
        ids = site.axes[kind]
        marks += [Mark(kind=kind, points=s, id=i, label=i) for s, i in zip(shapes[kind], ids, strict=True) if s]
    for junction in site.junctions:
        marks += _movements(site, junction)
    for k, junction in enumerate(site.junctions):
        place = junction.place or (float(k), 0.0)
        marks.append(Mark(kind="junction", points=(place,), id=junction.id, label=junction.id))
    axes = {kind: kind for kind in ("approach", "exit", "movement", "junction")}
    return Scene(axes=axes, marks=tuple(marks))


def _movements(site: SignalSite, junction: Junction) -> list[Mark]:
    marks = []
    for k, movement in enumerate(junction.movements):
        start = site.approaches[movement.approach].shape if movement.approach >= 0 else ()
        for out in movement.exits:
            end = site.exits[out].shape
            if len(start) > 1 and len(end) > 1:
                path = _curve(start[-2:], end[:2], junction.place)
                marks.append(Mark(kind="movement", points=path, id=f"{junction.id}:{k}"))
    return marks


def _curve(start: tuple[Point, ...], end: tuple[Point, ...], middle: Point | None) -> tuple[Point, ...]:
    """A quadratic Bézier curve from the end of one lane to another's begin, drawn towards the junction's middle."""
    a, b = np.array(start[-1]), np.array(end[0])
    pull = (a + b) / 2 if middle is None else (a + b + 2 * np.array(middle)) / 4
    t = np.linspace(0.0, 1.0, BEND)[:, None]
    return rounded((1 - t) ** 2 * a + 2 * t * (1 - t) * pull + t**2 * b)
