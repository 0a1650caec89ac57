"""Pictures of a service: waits by zone under each controller, and one episode on the map.

The first is part of every evaluation. The second shows a finished episode of any world:
``draw_episode(loop.world).savefig("episode.png")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.transit.kernel import events
from envs.transit.record.ledger import Ledger
from envs.transit.site import TransitSite

if TYPE_CHECKING:
    from envs.transit.world import TransitWorld

TITLES = {"wait_min": "mean wait (min)", "served_pct": "parties served (%)"}
PANEL_IN = 4.5
"""Width of a panel in inches; its height follows the town's shape."""

LARGEST = 700.0
"""Area of the largest circle, in points."""

BLUE = "#0072B2"

TINTS = "viridis_r"
"""Colours from least to most."""


def draw_map(site: TransitSite, found: Mapping[str, Mapping[str, float]], indicator: str) -> Any:
    """One panel for each controller; the number and the colour at a zone are its value.

    Args:
        site: the town.
        found: controller → zone → value.
        indicator: name of the value.
    """
    from matplotlib.figure import Figure

    columns = min(len(found), 3)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(PANEL_IN * columns, PANEL_IN * _shape(site) * rows + 1.0), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    values = [value for places in found.values() for value in places.values()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    digits = 2 if high < 10 else 1
    places = [_place(site, zone) for zone in range(len(site.zones))]
    shown = None
    for axes, (name, zones) in zip(panels, found.items(), strict=False):
        _streets(axes, site)
        drawn = [(places[k], zones[zone.id]) for k, zone in enumerate(site.zones) if zone.id in zones]
        if drawn:
            at = np.array([place for place, _ in drawn])
            tints = [value for _, value in drawn]
            shown = axes.scatter(*at.T, c=tints, vmin=low, vmax=high, s=LARGEST, cmap=TINTS, zorder=3)
        for place, value in drawn:
            ink = "black" if shown is None or _light(shown.to_rgba(value)) else "white"
            axes.annotate(f"{value:.{digits}f}", place, size=8, color=ink, ha="center", va="center", zorder=4)
        axes.set_title(name, size=10, loc="left")
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    if shown is not None:
        figure.colorbar(shown, ax=list(panels), shrink=0.6, label=TITLES.get(indicator, indicator))
    title = f"transit/{site.name}: {TITLES.get(indicator, indicator)} by zone, mean over seeds"
    figure.suptitle(title, size=11, weight="bold")
    return figure


def draw_episode(world: TransitWorld) -> Any:
    """A finished episode: origins of requests and refusals, final positions of vehicles, and the distribution of waits.

    Args:
        world: a world whose episode has ended.
    """
    from matplotlib.figure import Figure

    site, log, service = world.site, world.log, world.service
    ledger = Ledger(log, service.asked)
    waits = ledger.wait_s[np.isfinite(ledger.wait_s)] / 60
    figure = Figure(figsize=(2.3 * PANEL_IN, PANEL_IN * _shape(site) + 1.0), layout="constrained")
    town, bars = figure.subplots(1, 2, width_ratios=(1.3, 1.0))
    _streets(town, site)
    at = np.array([(node.x_m, node.y_m) for node in site.nodes])
    for kind, colour, label in ((events.REQUESTED, "#E69F00", "asked"), (events.REFUSED, "#D55E00", "refused")):
        nodes = log.node[(log.kind == kind) & (log.node >= 0)]
        counts = np.bincount(nodes, minlength=len(at))
        most = max(np.bincount(log.node[log.kind == events.REQUESTED], minlength=len(at)).max(), 1)
        area = LARGEST * counts / most
        town.scatter(*at.T, s=area, color=colour, alpha=0.5, lw=0, zorder=2, label=f"{label}: {int(counts.sum())}")
    standing = at[service.fleet.at]
    town.scatter(*standing.T, marker="s", s=18, color=BLUE, zorder=3, label=f"vehicles: {len(standing)}")
    town.legend(loc="upper right", fontsize=8, markerscale=0.6)
    if len(waits):
        bars.hist(waits, bins=30, color=BLUE, alpha=0.8)
        for value, style, label in ((waits.mean(), "-", "mean"), (np.percentile(waits, 95), "--", "95th percentile")):
            bars.axvline(value, color="0.2", ls=style, label=f"{label}: {value:.1f} min")
        bars.legend(fontsize=8)
    bars.set_xlabel("wait (min)")
    bars.set_ylabel("parties")
    kpis = world.kpis()
    bars.set_title(f"{kpis['served_pct']:.1f} % of {kpis['asked']:.0f} served", size=10, loc="left")
    figure.suptitle(f"transit/{site.name}: one episode", size=11, weight="bold")
    return figure


def _light(colour: tuple[float, ...]) -> bool:
    """Whether black is more legible on a colour than white, by its relative luminance (WCAG 2)."""
    values = np.array(colour[:3])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05)


def _shape(site: TransitSite) -> float:
    """Height of the town as a share of its width."""
    at = np.array([(node.x_m, node.y_m) for node in site.nodes])
    width, height = np.maximum(np.ptp(at, axis=0), 1.0)
    return float(np.clip(height / width, 0.4, 1.6))


def _place(site: TransitSite, zone: int) -> tuple[float, float]:
    """The middle of a zone."""
    at = np.array([(node.x_m, node.y_m) for node in site.nodes if node.zone == zone])
    x, y = at.mean(axis=0) if len(at) else (0.0, 0.0)
    return float(x), float(y)


def _streets(axes: Any, site: TransitSite) -> None:
    from matplotlib.collections import LineCollection

    at = np.array([(node.x_m, node.y_m) for node in site.nodes])
    lines = [at[[road.start, road.end]] for road in site.roads]
    axes.add_collection(LineCollection(lines, colors="0.85", linewidths=0.8, zorder=1))
    axes.set_aspect("equal", adjustable="box")
    axes.margins(0.1)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("0.9")
