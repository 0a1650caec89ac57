"""A worker that may be left behind, but never waited for longer than its deadline."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from serving.core.deadline import Late, Worker
from tests.serving.audit.written import until


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        return lambda worker, job, timeout_s: worker.run(job, timeout_s)
    return lambda worker, job, timeout_s: asyncio.run(worker.run_async(job, timeout_s))


def test_results_and_errors_come_back(run: Any) -> None:
    worker = Worker("test")
    assert run(worker, lambda: 7, 5.0) == 7
    with pytest.raises(ZeroDivisionError):
        run(worker, lambda: 1 / 0, 5.0)
    with pytest.raises(TimeoutError, match="mine"):
        run(worker, lambda: (_ for _ in ()).throw(TimeoutError("mine")), 5.0)
    assert not worker.stuck
    worker.close()


def test_a_job_that_hangs_is_left_behind_and_work_goes_on_when_it_returns(run: Any) -> None:
    worker, release, done = Worker("test"), threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(30)
        done.set()

    before = threading.active_count()
    with pytest.raises(Late, match="no answer within 10 ms"):
        run(worker, hang, 0.01)
    for _ in range(5):
        with pytest.raises(Late, match="still busy"):
            run(worker, lambda: 1, 5.0)
    assert worker.stuck
    assert threading.active_count() <= before
    release.set()
    assert done.wait(5)
    until(lambda: not worker.stuck)  # the thread is about to report
    assert run(worker, lambda: 1, 5.0) == 1
    worker.close()


def test_a_question_that_is_dropped_does_not_block_the_next() -> None:
    worker, release = Worker("test"), threading.Event()

    async def drop() -> None:
        task = asyncio.ensure_future(worker.run_async(lambda: release.wait(30), 30.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(drop())
    release.set()
    until(lambda: not worker.stuck)
    assert worker.run(lambda: 1, 5.0) == 1
    worker.close()
