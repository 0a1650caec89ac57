"""Work with a deadline: one thread that does one job at a time and may be left behind when a job takes too long.

Python cannot stop a thread, so a job that hangs keeps its thread. Nothing waits for it: until it returns, further jobs
are refused at once, and there is never more than one such thread a worker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


class Late(Exception):
    """A job was not done in time, or an earlier one still is not."""


class Worker:
    """A daemon thread for jobs that may hang.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str):
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._last: Future[Any] | None = None
        self._left_behind: Future[Any] | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # whatever went wrong belongs to whoever asked
                future.set_exception(error)

    @property
    def stuck(self) -> bool:
        """Whether a job that was given up still runs."""
        return self._left_behind is not None and not self._left_behind.done()

    def run(self, job: Callable[[], Any], timeout_s: float) -> Any:
        """Do a job and return its result; what it raises is raised here.

        Raises:
            Late: if it takes longer, or an earlier one that was given up still runs.
        """
        future = self._submit(job)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.done():
                return future.result()  # it was just in time, or the job itself raised this
            raise self._give_up(future, timeout_s) from None

    async def run_async(self, job: Callable[[], Any], timeout_s: float, allowed_s: float | None = None) -> Any:
        """As `run`, without holding up the event loop.

        Args:
            job: what to do.
            timeout_s: how long it may take.
            allowed_s: the whole that this is what is left of, for the words of a `Late`.
        """
        future = self._submit(job)
        waiter = asyncio.wrap_future(future)
        try:
            await asyncio.wait((waiter,), timeout=timeout_s)
        finally:  # also where the one who asked has gone away
            if not waiter.done():
                waiter.cancel()
                late = self._give_up(future, allowed_s or timeout_s)
        if waiter.cancelled():
            raise late
        return waiter.result()

    def post(self, job: Callable[[], None]) -> bool:
        """Do a job some time soon and tell nobody, unless there is something to do already; says whether it will."""
        if self._last is not None and not self._last.done():
            return False
        self._submit(job)
        return True

    def _submit(self, job: Callable[[], Any]) -> Future[Any]:
        if self.stuck:
            raise Late("still busy with an earlier tick")
        future: Future[Any] = Future()
        self._last = future
        self._jobs.put((future, job))
        return future

    def _give_up(self, future: Future[Any], timeout_s: float) -> Late:
        if not future.cancel():
            self._left_behind = future
        return Late(f"no answer within {timeout_s * 1e3:g} ms")

    def close(self) -> None:
        """Let the thread end after its present job."""
        self._jobs.put(None)
