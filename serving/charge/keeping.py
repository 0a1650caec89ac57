"""Saving a site's decision state in its file, and taking over what another process saved there.

In a rolling update two processes serve a site for a moment: a change at one must hold at the other, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from envs.core.errors import CityloopError
from serving.charge.standing import Standing
from serving.charge.state import SiteState

LOGGER = logging.getLogger("cityloop.serving")


AGAIN_S = 5.0
"""Seconds until a failed write is tried again."""


class Keeper:
    """Saves one site's state; every method is called in the event loop's thread.

    Args:
        standing: the site's decision state.
        taken_up: called when another process's state was taken over.
    """

    def __init__(self, standing: Standing, taken_up: Callable[[], None]):
        self._standing, self._taken_up = standing, taken_up
        self._ref = f"{standing.site.system}/{standing.site.name}"
        self._writer = ThreadPoolExecutor(1, f"{self._ref} state")
        self._following: asyncio.Task[None] | None = None
        self._failed_s: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the last write failed, so that something is still to be written."""
        return self._failed_s is not None

    def save_soon(self) -> None:
        """Save the state in the background."""
        self._standing.note()
        self._writer.submit(self._write)

    def save_now(self) -> None:
        """Save the state and wait for it, before there is an event loop."""
        self._standing.note()
        self._writer.submit(self._write).result()

    async def save(self) -> bool:
        """Save the state and wait for it; returns whether it was saved."""
        self._standing.note()
        # It is written even if the caller is cancelled.
        return await asyncio.shield(asyncio.wrap_future(self._writer.submit(self._write)))

    def _write(self) -> bool:
        try:
            self._standing.store.write()
        except OSError as error:
            if not self.failed:
                LOGGER.error("%s: its state cannot be saved (%s)", self._ref, error.strerror)  # noqa: TRY400
            self._failed_s = time.monotonic()
            return False
        if self.failed:
            LOGGER.warning("%s: its state is saved again", self._ref)
        self._failed_s = None
        return True

    def _try_again(self) -> None:
        """Repeat a failed write: a state without further changes would otherwise be lost with the process."""
        if self._failed_s is not None and time.monotonic() - self._failed_s >= AGAIN_S:
            self._failed_s = time.monotonic()
            self._writer.submit(self._write)

    def take_up_saved(self) -> None:
        """Take over what another process has saved: commands by hand at once, roles once their controllers are ready.

        A command by hand that has expired is dropped from the file.
        """
        self._try_again()
        if self._standing.overrides.lapsed():
            self.save_soon()
        if not self._standing.store.changed():
            return
        self._taken_up()
        try:
            found = self._standing.take_up_saved()
        except CityloopError as error:
            self._refuse(error)
            return
        if found is not None and (self._following is None or self._following.done()):  # else it reads again itself
            self._following = asyncio.ensure_future(self._follow(found))

    async def catch_up(self) -> None:
        """As `take_up_saved`, and wait until all of it is taken over."""
        self.take_up_saved()
        if self._following is not None and not self._following.done():
            await asyncio.wait([self._following])

    async def _follow(self, found: SiteState) -> None:
        try:
            await self._standing.follow(found)
        except Exception as error:
            self._refuse(error)
        self._taken_up()

    def _refuse(self, error: Exception) -> None:
        LOGGER.warning("%s: what another process saved cannot be taken up (%s)", self._ref, error)

    def close(self) -> None:
        """Write what is outstanding, and end the thread."""
        if self.failed:
            self._writer.submit(self._write)
        self._writer.shutdown(wait=True)
