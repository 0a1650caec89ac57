"""A signal's program → the green stages of it that are safe to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from envs.core.errors import CityloopError
from envs.intersections.junction import GREEN, Phase
from envs.intersections.network.rings import shown_together

NEMA_YELLOW_S = 3.0
"""Yellow between two greens of a NEMA program, where it runs as a fixed one."""


def phases_of(light: str, program: Any) -> tuple[tuple[Phase, ...], tuple[Phase, ...]]:
    """Phases that a program shows in turn, and further ones that it can show (the rings of a NEMA program)."""
    if program.getType() == "NEMA":
        in_turn, besides = shown_together(light, program)
        return tuple(_with_yellow(in_turn)), tuple(besides)
    return tuple(Phase(state=p.state, duration_s=float(p.duration)) for p in program.getPhases()), ()


def _with_yellow(phases: Sequence[Phase]) -> Iterator[Phase]:
    """Greens in turn, each followed by a yellow for the links that lose it: a NEMA program has no yellow phases."""
    for now, then in zip(phases, [*phases[1:], phases[0]], strict=True):
        yield now
        pairs = list(zip(now.state, then.state, strict=True))
        state = "".join("y" if a in GREEN and b not in GREEN else a for a, b in pairs)
        if "y" in state:
            yield Phase(state=state, duration_s=NEMA_YELLOW_S)


def refuse_odd_states(light: str, program: Any, connections: list[Any]) -> None:
    """Refuse states of a wrong length. SUMO refuses them, too, but only at its start, after the site is made.

    Raises:
        CityloopError: if a state of a program has fewer letters than its signal has links, or than another one.
    """
    links = 1 + max(connection.getTLLinkIndex() for connection in connections)
    phases = program.getPhases()
    for phase in phases:
        if len(phase.state) < links:
            raise CityloopError(
                f"signal {light}, program {program._id!r}: state {phase.state!r} has {len(phase.state)} letters, and "
                f"there are {links} links: give a letter for each"
            )
        if len(phase.state) != len(phases[0].state):
            raise CityloopError(
                f"signal {light}, program {program._id!r}: states {phases[0].state!r} and {phase.state!r} differ in "
                "length: give all of them as many letters"
            )


def green_stages(
    phases: tuple[Phase, ...], foes: set[tuple[int, int]], yields: set[tuple[int, int]]
) -> tuple[str, ...]:
    """The distinct green stages of a program that are safe to show.

    If two movements with a protected green cross, the one that must yield by right of way becomes permissive; without
    a rule of right of way the stage is left out.
    """
    stages: list[str] = []
    for phase in phases:
        safe = safe_stage(phase.state, foes, yields)
        if safe is not None and safe not in stages:
            stages.append(safe)
    return tuple(stages)


def unserved(phases: tuple[Phase, ...], stages: tuple[str, ...]) -> list[int]:
    """Links that a program serves but no stage does."""
    states = [phase.state for phase in phases if any(signal in GREEN for signal in phase.state)]
    lit = [
        [any(state[k] in served for state in states) for k in range(len(phases[0].state))]
        for served, states in (("GgoO", states), (GREEN, stages))
    ]
    return [k for k, (before, after) in enumerate(zip(*lit, strict=True)) if before and not after]


def safe_stage(state: str, foes: set[tuple[int, int]], yields: set[tuple[int, int]]) -> str | None:
    """The stage with permissive greens where right of way demands it.

    None if two greens conflict without a rule of right of way, and for a state that is no stage: one without green, or
    with yellow. Beside greens, a light that is off or blinks (`o`, `O`) counts as a permissive green. A permissive
    green that crosses a protected one, and does not give way to it by the network, becomes red.
    """
    if not any(signal in GREEN for signal in state) or any(signal in "yYu" for signal in state):
        return None
    signals = ["g" if signal in "oO" else signal for signal in state]
    for a, b in sorted(foes):
        if signals[a] not in GREEN or signals[b] not in GREEN:
            continue
        if (a, b) in yields and (b, a) not in yields:
            signals[a] = "g"
        elif (b, a) in yields and (a, b) not in yields:
            signals[b] = "g"
        elif (a, b) in yields:
            signals[a] = signals[b] = "g"
        elif "g" in (signals[a], signals[b]) and signals[a] != signals[b]:
            signals[a if signals[a] == "g" else b] = "r"  # permissive, but without right of way to yield to
        else:
            return None
    return "".join(signals)
