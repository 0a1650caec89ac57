"""The network as a map: where water left it, under each controller."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from envs.drainage.site import DrainageSite, Node

MARKERS = {"junction": ("o", 14), "storage": ("s", 60), "outfall": ("v", 50)}
"""Kind of node → matplotlib's marker, and its size."""

UNITS = {"overflow_m3": "overflow (m³)", "flooded_h": "hours flooded"}
PANEL_IN = 5.5
"""Width of a panel in inches; its height follows the network's shape."""

FLATTEST, TALLEST, MARGIN = 0.35, 1.5, 0.12
"""Least and largest height of a panel, and its margin at each side, as shares of its width and of its sides."""

GATE_COLOUR = "#0072B2"
LARGEST_AREA, LEAST_DRAWN = 900.0, 0.002
"""Area of the largest circle, in points; a smaller share of the largest value is not drawn."""

NEAR = 0.07
"""Names stand in each other's way within this share of the network's width."""


def draw_map(site: DrainageSite, found: Mapping[str, Mapping[str, float]], indicator: str) -> Any:
    """A panel a controller; a circle's area is the value at its node.

    Args:
        site: the network.
        found: controller → node → value.
        indicator: name of the values.
    """
    from matplotlib.figure import Figure

    count = len(found)
    columns = min(count, 2)
    rows = -(-count // columns)
    (left, right), (low, high) = (_range(getattr(n, way) for n in site.nodes) for way in "xy")
    width = max(right - left, (high - low) / TALLEST) or 1.0
    height = max(high - low, FLATTEST * width)
    tall = PANEL_IN * height / width
    figure = Figure(figsize=(PANEL_IN * columns, (tall + 0.5) * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    most = max((value for values in found.values() for value in values.values()), default=0.0) or 1.0
    near = NEAR * width
    placed = {node.id for node in site.nodes}
    for axes, (name, values) in zip(panels, found.items(), strict=False):
        _network(axes, site)
        labelled = [node for node in site.nodes if values.get(node.id, 0.0) > LEAST_DRAWN * most]
        for node in labelled:
            value = values[node.id]
            area = LARGEST_AREA * value / most
            axes.scatter(node.x, node.y, s=area, color="#D55E00", alpha=0.45, lw=0, zorder=3)
            beside = any(_above(node, other, near) for other in labelled)
            _name(axes, node, f"{node.id}: {_number(value)}", area, beside)
        off = sum(value for node, value in values.items() if node not in placed)
        more = f", {_number(off)} of it where no place is known" if off > LEAST_DRAWN * most else ""
        axes.set_title(f"{name}: {_number(sum(values.values()))} in all{more}", size=10, loc="left")
    half = 0.5 + MARGIN
    panels[0].set_xlim((left + right) / 2 - half * width, (left + right) / 2 + half * width)
    panels[0].set_ylim((low + high) / 2 - half * height, (low + high) / 2 + half * height)
    for axes in panels[count:]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    title = f"drainage/{site.name}: {UNITS.get(indicator, indicator)} at every node, mean over seeds"
    figure.suptitle(title, size=11, weight="bold")
    return figure


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Least and largest of some values; 0 and 0 if there are none."""
    found = [*values] or [0.0]
    return min(found), max(found)


def _above(node: Node, other: Node, near: float) -> bool:
    """Whether another node stands where this one's name would: above it, and near."""
    return 0.0 < other.y - node.y < near and abs(other.x - node.x) < 2 * near


def _name(axes: Any, node: Node, text: str, area: float, beside: bool) -> None:
    """A node's name outside its circle of that area in points: above it, or beside it."""
    away = max((area / math.pi) ** 0.5, 4.0) + 1.5
    place, ha, va = ((away, 0), "left", "center") if beside else ((0, away), "center", "bottom")
    at = {"xytext": place, "textcoords": "offset points", "ha": ha, "va": va}
    axes.annotate(text, (node.x, node.y), size=7, zorder=5, **at)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _network(axes: Any, site: DrainageSite) -> None:
    """Links as lines, those that are controlled thick and with their names; nodes by kind."""
    controlled = set(site.agents)
    for link in site.links:
        a, b = site.nodes[link.start], site.nodes[link.end]
        gate = link.id in controlled
        axes.plot([a.x, b.x], [a.y, b.y], color=GATE_COLOUR if gate else "0.75", lw=3.0 if gate else 1.2, zorder=1)
        if gate:
            steep = abs(b.y - a.y) > abs(b.x - a.x)
            place, ha, va = ((6, 0), "left", "center") if steep else ((0, -5), "center", "top")
            at = {"xytext": place, "textcoords": "offset points", "ha": ha, "va": va}
            middle = ((a.x + b.x) / 2, (a.y + b.y) / 2)
            axes.annotate(link.id, middle, size=7, color=GATE_COLOUR, zorder=5, **at)
    axes.plot([], [], color=GATE_COLOUR, lw=3.0, label="controlled")
    for kind, (marker, size) in MARKERS.items():
        mine = [node for node in site.nodes if node.kind == kind]
        places = [n.x for n in mine], [n.y for n in mine]
        axes.scatter(*places, marker=marker, s=size, color="0.35", zorder=2, label=kind if mine else None)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("0.9")
