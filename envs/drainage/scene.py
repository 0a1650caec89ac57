"""Map of a drainage network: its nodes and links at the coordinates of the SWMM input."""

from __future__ import annotations

from envs.core.scene import Mark, Scene, rounded
from envs.drainage.site import DrainageSite


def make_scene(site: DrainageSite) -> Scene:
    """Pipes, gates, junctions, outfalls and tanks; in a row where the input lacks the place of a gate or a tank."""
    placed = {link.id for link in site.links} | {node.id for node in site.nodes}
    if not placed.issuperset((*site.agents, *(tank.id for tank in site.tanks))):
        return _row(site)
    agents, tanks, tides = set(site.agents), {tank.id for tank in site.tanks}, set(site.tides)
    lines = []
    for link in site.links:
        ends = (site.nodes[link.start], site.nodes[link.end])
        kind = "gate" if link.id in agents else "pipe"
        points = rounded((node.x, node.y) for node in ends)
        lines.append(Mark(kind=kind, points=points, id=link.id if kind == "gate" else "", label=link.id))
    spots = []
    for node in site.nodes:
        kind = "tank" if node.id in tanks else "outfall" if node.kind == "outfall" else "junction"
        known = kind == "tank" or node.id in tides
        kind = "tide" if node.id in tides else kind
        spots.append(Mark(kind=kind, points=rounded([(node.x, node.y)]), id=node.id if known else "", label=node.id))
    lines.sort(key=lambda mark: mark.kind, reverse=True)  # pipes first, gates above them
    spots.sort(key=lambda mark: ("junction", "outfall", "tide", "tank").index(mark.kind))
    return Scene(unit="", axes={"gate": "gate", "tank": "tank", "tide": "tide"}, marks=(*lines, *spots))


def _row(site: DrainageSite) -> Scene:
    """Tanks side by side, each with its gates below it."""
    tanks = [
        Mark(kind="tank", points=((float(k), 1.0),), id=tank.id, label=tank.id) for k, tank in enumerate(site.tanks)
    ]
    gates = []
    for k, gate in enumerate(site.gates):
        x = float(gate.tank) if gate.tank >= 0 else float(len(site.tanks) + k)
        shift = 0.2 * sum(other.tank == gate.tank for other in site.gates[:k])
        gates.append(Mark(kind="gate", points=((x + shift, 1.0), (x + shift, 0.4)), id=gate.id, label=gate.id))
    return Scene(unit="", axes={"gate": "gate", "tank": "tank"}, marks=(*gates, *tanks))
