"""Notes on what a site, or controller `fixed`, lacks of a network's signals, and the warnings that come of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from envs.intersections.junction import Phase
from envs.intersections.network.conflicts import UNGROUP, crossing_of
from envs.intersections.network.stages import safe_stage
from envs.intersections.timing import Regime, Timing

UNSEEN_SHARE = 0.35
"""Share of a signal's lanes without detection above which a warning is given."""

STRETCHED_SHARE = 0.25
"""Increase of a program's cycle in `fixed`, as a share, above which a warning is given."""

SHOWN = 5
"""Number of signals with a warning of their own; of further ones only the names are given."""


class Notes:
    """What a site cannot have of a network's signals.

    Args:
        regime, timing: of the site.

    Attributes:
        kept: signal that keeps its program → the reason, for a warning.
        clocked: feature of programs that `fixed` lacks → signals with it.
        unseen: signal → lanes without detection.
        shut: signal → links that routes lead over and that are always red.
        stretched: signal → seconds of its program's cycle, and seconds that the minimum green adds in `fixed`.
    """

    def __init__(self, regime: Regime, timing: Timing):
        self._enforced, self._least_s = regime == "engineer", timing.min_green_s
        self.kept: dict[str, str] = {}
        self.clocked: dict[str, list[str]] = defaultdict(list)
        self.unseen: dict[str, str] = {}
        self.shut: dict[str, str] = {}
        self.stretched: dict[str, tuple[float, float]] = {}

    def program(self, light: str, program: Any, connections: list[Any]) -> None:
        """Note features of a controlled signal that the site or `fixed` lacks."""
        phases = program.getPhases()
        jumps = any(phase.next for phase in phases)
        if program.getType() != "static" or jumps:
            what = f"of type {program.getType()}" + (", with phases out of turn" if jumps else "")
            self.clocked[what].append(light)
        lanes: dict[int, list[str]] = defaultdict(list)
        for connection in connections:
            if crossing_of(connection) is None:
                lanes[connection.getTLLinkIndex()].append(connection.getFromLane().getID())
        every = {lane for members in lanes.values() for lane in members}
        unseen = sorted(every - {first for first, *_ in lanes.values()})
        if len(unseen) > UNSEEN_SHARE * len(every):
            self.unseen[light] = ", ".join(unseen)

    def short_greens(
        self, light: str, phases: Sequence[Phase], foes: set[tuple[int, int]], yields: set[tuple[int, int]]
    ) -> None:
        """Note how much the minimum green adds to a cycle; in regime ``resco`` `fixed` runs programs as they are."""
        greens = [phase.duration_s for phase in phases if safe_stage(phase.state, foes, yields) is not None]
        cycle_s = sum(phase.duration_s for phase in phases)
        more_s = sum(max(0.0, self._least_s - green_s) for green_s in greens)
        if self._enforced and more_s > STRETCHED_SHARE * cycle_s:
            self.stretched[light] = cycle_s, more_s

    def warnings(self) -> Iterator[str]:
        """Sentences on what a site cannot have of the network's signals: one a signal, as long as these are few."""
        for what, lights in self.clocked.items():
            some, more = ", ".join(lights[:SHOWN]), f" and {len(lights) - SHOWN} more" * (len(lights) > SHOWN)
            who = f"signal {some} has a program" if len(lights) == 1 else f"signals {some}{more} have programs"
            yield f"{who} {what}: `fixed` runs {'its' if len(lights) == 1 else 'their'} phases in turn, by the clock"
        whole = {light: f"signal {light} keeps its program: {why}" for light, why in self.kept.items()}
        yield from _first(whole, "keep their programs, too")
        whole = {
            light: f"signal {light}: nobody sees lane {lanes}, as its link is another lane's, too: {UNGROUP}"
            for light, lanes in self.unseen.items()
        }
        yield from _first(whole, "have such lanes, too")
        whole = {
            light: f"signal {light}: no phase gives green to link {links}, which routes lead over: nobody gets past; "
            "make its program anew (netconvert --tls.rebuild)"
            for light, links in self.shut.items()
        }
        yield from _first(whole, "have such links, too")
        whole = {
            light: f"signal {light}: greens of its program are shorter than min_green_s, {self._least_s}: `fixed` "
            f"makes its cycle of {cycle_s:g} s longer by {more_s:g} s (regime resco runs it as it is)"
            for light, (cycle_s, more_s) in self.stretched.items()
        }
        yield from _first(whole, "have such programs, too")


def _first(sentences: Mapping[str, str], rest: str) -> Iterator[str]:
    """The first `SHOWN` sentences on signals, then one that names the other signals."""
    yield from islice(sentences.values(), SHOWN)
    if others := list(sentences)[SHOWN:]:
        yield f"{len(others)} more signals {rest}: {', '.join(others)}"
