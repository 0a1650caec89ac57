"""The map of a service area: streets, stops, and zones."""

from __future__ import annotations

import numpy as np

from envs.core.scene import Mark, Scene, rounded
from envs.transit.site import TransitSite


def make_scene(site: TransitSite) -> Scene:
    """Roads (each pair of corners once), stops, and every zone at the mean of its corners."""
    at = np.array([(node.x_m, node.y_m) for node in site.nodes])
    pairs = sorted({(min(road.start, road.end), max(road.start, road.end)) for road in site.roads})
    roads = [Mark(kind="road", points=rounded(at[[a, b]])) for a, b in pairs if a != b]
    stops = [Mark(kind="stop", points=rounded([at[k]]), label=n.id) for k, n in enumerate(site.nodes) if n.stop]
    zones = []
    for k, zone in enumerate(site.zones):
        mine = at[site.zone_of == k]
        if len(mine):
            zones.append(Mark(kind="zone", points=rounded([mine.mean(axis=0)]), id=zone.id, label=zone.id))
    return Scene(axes={"zone": "zone"}, marks=(*roads, *stops, *zones))
