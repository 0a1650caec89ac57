"""Repeated questions: the same body gets the same answer, even while the first is still being decided."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from serving.core.wire import Tick

KEPT = 64
"""Number of answers that are remembered; a client repeats its last tick, not its last hour."""


@dataclass
class Question:
    """A body that is being decided, or has been.

    Attributes:
        tick: its number.
        named: whether it names its episode.
        answer: None while it is being decided.
    """

    tick: int
    named: bool
    answer: dict[str, Any] | None = None
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def wait(self) -> dict[str, Any] | None:
        """Wait for the answer; None if the question was given up."""
        if self.answer is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        return self.answer

    def settle(self) -> None:
        """Wake all waiting callers."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class Repeats:
    """Answers by their bodies."""

    def __init__(self) -> None:
        self._known: dict[bytes, Question] = {}

    def find(self, body: bytes, last: int) -> Question | None:
        """The question of this body, if it was asked.

        Args:
            body: as it came.
            last: the highest tick of the episode. An older tick without an episode's name comes from a plant that has
                begun anew, and is a new question.
        """
        found = self._known.get(body)
        return found if found is not None and (found.named or found.tick >= last) else None

    @contextmanager
    def asking(self, body: bytes, tick: Tick) -> Iterator[Question]:
        """A question while it is being decided; forgotten if it gets no answer."""
        question = self._known[body] = Question(tick.tick, tick.episode is not None)
        try:
            yield question
        finally:
            if question.answer is None and self._known.get(body) is question:
                del self._known[body]
            self._forget_oldest()
            question.settle()

    def _forget_oldest(self) -> None:
        """Keep `KEPT` answers, beside the questions that are being decided: somebody may wait for these."""
        if len(self._known) > KEPT:
            answered = [body for body, question in self._known.items() if question.answer is not None]
            for body in answered[:-KEPT]:
                del self._known[body]

    def forget(self) -> None:
        """Forget all answers."""
        self._known.clear()
