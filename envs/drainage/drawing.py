"""The network as a map: where water left it, under each controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs.drainage.site import DrainageSite

MARKERS = {"junction": ("o", 14), "storage": ("s", 60), "outfall": ("v", 50)}
"""Kind of node → matplotlib's marker, and its size."""

UNITS = {"overflow_m3": "overflow (m³)", "flooded_h": "hours flooded"}
PANEL_IN = 5.5
"""Width of a panel in inches; its height follows the network's shape."""

GATE = "#0072B2"
LARGEST = 900.0
"""Area of the largest circle, in points."""


def draw_map(site: DrainageSite, found: Mapping[str, Mapping[str, float]], indicator: str) -> Any:
    """A panel a controller; a circle's area is the value at its node.

    Args:
        site: the network.
        found: controller → node → value.
        indicator: what the value is.
    """
    from matplotlib.figure import Figure

    count = len(found)
    columns = min(count, 2)
    rows = -(-count // columns)
    width = max((n.x for n in site.nodes), default=1.0) - min((n.x for n in site.nodes), default=0.0)
    height = max((n.y for n in site.nodes), default=1.0) - min((n.y for n in site.nodes), default=0.0)
    tall = PANEL_IN * min(max(height / max(width, 1e-9), 0.35), 1.5)
    figure = Figure(figsize=(PANEL_IN * columns, (tall + 0.5) * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    most = max((value for values in found.values() for value in values.values()), default=0.0) or 1.0
    for axes, (name, values) in zip(panels, found.items(), strict=False):
        _network(axes, site)
        for node in site.nodes:
            value = values.get(node.id, 0.0)
            if value > 0.002 * most:
                axes.scatter(node.x, node.y, s=LARGEST * value / most, color="#D55E00", alpha=0.45, lw=0, zorder=3)
                text = f"{node.id}: {_number(value)}"
                at = {"xytext": (0, 5), "textcoords": "offset points"}
                axes.annotate(text, (node.x, node.y), size=7, ha="center", va="bottom", zorder=5, **at)
        axes.set_title(f"{name}: {_number(sum(values.values()))} in all", size=10, loc="left")
    for axes in panels[count:]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    figure.suptitle(f"drainage/{site.name}: {UNITS.get(indicator, indicator)} at every node, mean over seeds", size=11)
    return figure


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _network(axes: Any, site: DrainageSite) -> None:
    """Links as lines, those that are controlled thick and with their names; nodes by kind."""
    controlled = set(site.agents)
    for link in site.links:
        a, b = site.nodes[link.start], site.nodes[link.end]
        gate = link.id in controlled
        axes.plot([a.x, b.x], [a.y, b.y], color=GATE if gate else "0.75", lw=3.0 if gate else 1.2, zorder=1)
        if gate:
            at = {"xytext": (0, -5), "textcoords": "offset points"}
            middle = ((a.x + b.x) / 2, (a.y + b.y) / 2)
            axes.annotate(link.id, middle, size=7, ha="center", va="top", color=GATE, zorder=5, **at)
    axes.plot([], [], color=GATE, lw=3.0, label="controlled")
    for kind, (marker, size) in MARKERS.items():
        mine = [node for node in site.nodes if node.kind == kind]
        places = [n.x for n in mine], [n.y for n in mine]
        axes.scatter(*places, marker=marker, s=size, color="0.35", zorder=2, label=kind if mine else None)
    axes.set_aspect("equal", adjustable="box")
    axes.margins(0.12)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("0.9")
