"""Jobs after an answer, in order: an answer never waits for logging, metrics or shadows."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

LOGGER = logging.getLogger("cityloop.serving")

PAUSE_S = 0.001
"""What an answer is given to leave the process before the work that is not its own begins."""


class Afterwards:
    """Jobs that wait for the event loop to have time."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._at_it = False

    def put(self, job: Callable[[], None]) -> None:
        """Do a job soon; call it in the event loop's thread."""
        self._jobs.append(job)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # nothing is due there yet
            self._loop = loop
            loop.call_later(PAUSE_S, self.finish)

    def finish(self) -> None:
        """Do everything that waits, now; nothing if a job asks for it, as it is being done."""
        if self._at_it:
            return
        self._loop, self._at_it = None, True
        while self._jobs:
            job = self._jobs.popleft()
            try:
                job()
            except Exception:
                LOGGER.exception("something after an answer failed")
        self._at_it = False
