"""A NEMA program → the stages that its two rings show together.

A phase of such a program belongs to one ring. At any time one phase of each ring runs, both from the same side of a
barrier. https://sumo.dlr.de/docs/Simulation/NEMA.html
"""

from __future__ import annotations

from itertools import product, zip_longest
from typing import Any

from envs.core.errors import CityloopError
from envs.intersections.junction import GREEN, Phase

BARRIERS = (("barrierPhases",), ("barrier2Phases", "coordinatePhases"))
"""Parameters that name the last phases before each of the two barriers; ``coordinatePhases`` is an older name."""


def shown_together(light: str, program: Any) -> tuple[list[Phase], list[Phase]]:
    """Stages of a NEMA program if its rings change together, in order; and further pairs that they can show.

    Args:
        light: the signal, for messages.
        program: as sumolib reads it.

    Raises:
        CityloopError: if a ring is missing or names a phase that is not there.
    """
    phases = {phase.name: phase for phase in program.getPhases()}
    rings = [_ring(light, program, name, phases) for name in ("ring1", "ring2")]
    ends = [{name for key in keys for name in _names(program.getParam(key, ""))} for keys in BARRIERS]
    in_turn, besides = [], []
    for one, other in zip(*(_sides(ring, ends) for ring in rings), strict=True):
        if one and other:
            padded = zip_longest(one, other)
            pairs = [(a or one[-1], b or other[-1]) for a, b in padded]
        else:
            pairs = [(name, name) for name in one or other]
        in_turn += pairs
        besides += [pair for pair in product(one, other) if pair not in pairs]
    return [_both(phases, *pair) for pair in in_turn], [_both(phases, *pair) for pair in besides]


def _names(text: str) -> list[str]:
    """Phases named by a parameter; 0 stands for none."""
    return [name for part in text.split(",") if (name := part.strip()) not in ("", "0")]


def _ring(light: str, program: Any, ring: str, phases: dict[str, Any]) -> list[str]:
    names = _names(program.getParam(ring, ""))
    unknown = [name for name in names if name not in phases]
    if unknown or not (names or ring == "ring2"):
        wrong = f"names phase {unknown[0]!r}, and there is none" if unknown else "names no phase"
        raise CityloopError(f"signal {light}: {ring} of its NEMA program {wrong}: give the names of its phases")
    return names


def _sides(ring: list[str], ends: list[set[str]]) -> tuple[list[str], list[str]]:
    """A ring's phases before each of the two barriers, in the order of the ring, which may begin on either side."""
    sides: tuple[list[str], list[str]] = [], []
    for k, name in enumerate(ring):
        onward = [*ring[k:], *ring[:k]]
        side = next((side for one in onward for side in (0, 1) if one in ends[side]), 0)
        sides[side].append(name)
    return sides


def _both(phases: dict[str, Any], one: str, other: str) -> Phase:
    """Two phases shown together, for the shorter of their longest durations."""
    a, b = phases[one], phases[other]
    letters = [next((c for c in GREEN if c in pair), "r") for pair in zip(a.state, b.state, strict=False)]
    return Phase(state="".join(letters), duration_s=float(min(_longest(a), _longest(b))))


def _longest(phase: Any) -> float:
    """Maximum duration of a phase in seconds: SUMO's NEMA logic uses it, not the phase's duration."""
    return float(phase.maxDur if phase.maxDur > 0 else phase.duration)
