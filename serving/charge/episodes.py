"""Assignment of ticks to runs of the plant (episodes), and detection of new ones."""

from __future__ import annotations

from collections import deque

from serving.core.refusals import Conflict, brief
from serving.core.wire import Tick

KEPT = 32
"""Names of past episodes that are known, so that a straggler does not bring one back."""


class Episodes:
    """Follows the ticks of one site.

    Where ticks name their episode, a new name begins a new one, and ticks of past episodes are refused. Where they do
    not, a tick number that does not rise begins one. The last body once more is the last tick once more.

    Args:
        name: of the episode that was under way when the service ended, if it had one.
        begun: whether an episode was under way; the next tick then continues it.

    Attributes:
        name: of the current episode, if it has one.
        last: the highest tick of it that is known; -1 before the first.
    """

    def __init__(self, name: str | None = None, begun: bool = False):
        self.name, self.last = name, -1
        self._begun = begun
        self._body, self._began = b"", False
        self._past: deque[str] = deque(maxlen=KEPT)

    def follow(self, tick: Tick, body: bytes) -> bool:
        """Take note of a tick; returns whether it begins an episode.

        Args:
            tick: the tick.
            body: with which it was asked for. Whoever got no answer asks with the same one.

        Raises:
            Conflict: if it is older than an answered tick, or of an episode that is over.
        """
        if body == self._body:
            return self._began
        begins = self._begins(tick)
        if begins:
            if self.name is not None and self.name != tick.episode:
                self._past.append(self.name)
            self.name, self._begun = tick.episode, True
        self.last, self._body, self._began = tick.tick, body, begins
        return begins

    def _begins(self, tick: Tick) -> bool:
        if tick.episode is None or tick.episode != self.name:
            if tick.episode in self._past:
                raise Conflict("episode", brief(tick.episode), "this episode is over: give a new one a new name")
            return not self._begun or tick.episode != self.name or tick.tick <= self.last
        if tick.tick <= self.last:
            raise Conflict(
                "tick", tick.tick, f"tick {self.last} is decided: ask for a later one, or name a new episode"
            )
        return False
