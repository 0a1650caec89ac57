"""Jobs after an answer, in order: an answer never waits for logging, metrics or shadows."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

LOGGER = logging.getLogger("cityloop.serving")

PAUSE_S = 0.001
"""Seconds for an answer to leave the process before other work begins."""


class Afterwards:
    """Queue of jobs for the time after an answer."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._at_it = False

    def put(self, job: Callable[[], None]) -> None:
        """Queue a job; to be called in the event loop's thread."""
        self._jobs.append(job)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # nothing is due there yet
            self._loop = loop
            loop.call_later(PAUSE_S, self.finish)

    def finish(self) -> None:
        """Run all queued jobs now. Called by a job it does nothing, as they are running already."""
        if self._at_it:
            return
        self._loop, self._at_it = None, True
        try:
            while self._jobs:
                job = self._jobs.popleft()
                try:
                    job()
                except Exception:
                    LOGGER.exception("something after an answer failed")
        finally:  # also where Ctrl-C ends one: the others are run the next time
            self._at_it = False
