"""Work with a deadline: one thread that does one job at a time and may be left behind when a job takes too long.

Python cannot stop a thread, so a job that hangs keeps its thread. Nothing waits for it: until it returns, further jobs
are refused at once, and there is never more than one such thread a worker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

BLINK_S = 0.0005
"""How long an event loop may stand still for a job. Most decisions take less than the loop's own way of waiting."""


class Late(Exception):
    """A job was not done in time, or an earlier one still is not."""


class _Job:
    """A job and its result."""

    __slots__ = ("_ended", "done", "error", "given_up", "result", "tell", "work")

    def __init__(self, work: Callable[[], Any]):
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = self.given_up = False
        self.tell: Callable[[], None] | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    def do(self) -> None:
        """Do the job, unless it was given up."""
        if not self.given_up:
            try:
                self.result = self.work()
            except BaseException as error:  # whatever went wrong belongs to whoever asked
                self.error = error
        self.done = True
        self._ended.release()
        if self.tell is not None:
            self.tell()

    def wait(self, timeout_s: float) -> bool:
        """Block until it is done; returns whether it is."""
        return self._ended.acquire(timeout=timeout_s)

    async def wait_async(self, timeout_s: float) -> bool:
        """Wait until it is done, without holding up the event loop; returns whether it is."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:  # the loop is gone, and with it whoever waited
                return

        self.tell = tell
        if not self.done:  # it may have ended before anybody was told to tell
            await asyncio.wait((waiter,), timeout=timeout_s)
        return self.done

    def outcome(self) -> Any:
        """The job's result, or its exception raised here."""
        if self.error is not None:
            raise self.error
        return self.result


class Worker:
    """A daemon thread for jobs that may hang.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str):
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._last: _Job | None = None
        self._left_behind: _Job | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()

    @property
    def stuck(self) -> bool:
        """Whether a job that was given up still runs."""
        return self._left_behind is not None and not self._left_behind.done

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._last is not None and not self._last.done

    def run(self, work: Callable[[], Any], timeout_s: float) -> Any:
        """Do a job and return its result; its exceptions are raised here.

        Raises:
            Late: if it takes longer, or an earlier one that was given up still runs.
        """
        job = self._submit(work)
        if not job.wait(timeout_s):
            raise self._give_up(job, timeout_s)
        return job.outcome()

    async def run_async(self, work: Callable[[], Any], timeout_s: float, allowed_s: float | None = None) -> Any:
        """As `run`, holding up the event loop for `BLINK_S` at most.

        Args:
            work: the job.
            timeout_s: how long it may take.
            allowed_s: the whole deadline, of which ``timeout_s`` is left; for the message of a `Late`.
        """
        job = self._submit(work)
        blink = min(BLINK_S, timeout_s)
        if job.wait(blink):
            return job.outcome()
        in_time = False
        try:
            in_time = await job.wait_async(timeout_s - blink)
        finally:  # also where the one who asked has gone away
            late = None if in_time else self._give_up(job, allowed_s or timeout_s)
        if late is not None:
            raise late
        return job.outcome()

    def post(self, work: Callable[[], None]) -> bool:
        """Do a job soon without reporting its result, unless the worker is busy; returns whether it will."""
        if self.busy:
            return False
        self._submit(work)
        return True

    def _submit(self, work: Callable[[], Any]) -> _Job:
        if self.stuck:
            raise Late("still busy with an earlier tick")
        self._last = job = _Job(work)
        self._jobs.put(job)
        return job

    def _give_up(self, job: _Job, timeout_s: float) -> Late:
        job.given_up = True
        self._left_behind = job
        return Late(f"no answer within {timeout_s * 1e3:g} ms")

    def close(self) -> None:
        """Let the thread end after its present job."""
        self._jobs.put(None)
