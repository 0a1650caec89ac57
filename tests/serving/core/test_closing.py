"""All that is open in a process is closed as it ends, whatever of it cannot be."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from serving.alarms.watch import AlarmWatch
from serving.core.closing import close_all
from serving.gateway import Gateway
from serving.watch.sinks import Sinks
from tests.serving.plants import grid, service


class Part:
    """Something to be closed that says so, and may fail."""

    def __init__(self, closed: list[str], name: str, fails: bool = False):
        self._closed, self._name, self._fails = closed, name, fails

    def record(self, event: object) -> None:
        pass

    def close(self) -> None:
        self._closed.append(self._name)
        if self._fails:
            raise OSError(self._name)


def test_all_parts_are_closed_in_order_and_every_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    with pytest.raises(OSError, match="first"):
        close_all([Part(closed, "first", fails=True), Part(closed, "second"), Part(closed, "third", fails=True)])
    assert closed == ["first", "second", "third"]
    assert "OSError: third" in caplog.text


def test_a_gateway_closes_what_comes_after_a_sink_that_fails() -> None:
    closed: list[str] = []
    sinks = [Part(closed, "audit", fails=True), Part(closed, "alarms")]
    desk = Part(closed, "desk")
    gateway = Gateway([service(grid())], sinks=sinks, desks={"street": desk})  # type: ignore[dict-item]
    with pytest.raises(OSError, match="audit"):
        gateway.close()
    assert closed == ["audit", "alarms", "desk"]


def test_sinks_end_their_threads_where_one_of_them_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: AlarmWatch) -> None:
        usual(self)
        raise OSError("alarms")

    usual, closed = AlarmWatch.close, []  # type: tuple[object, list[str]]
    before = set(threading.enumerate())
    sinks = Sinks([grid()], None)
    monkeypatch.setattr(AlarmWatch, "close", broken)
    monkeypatch.setattr(type(sinks.all[-1]), "close", lambda self: closed.append("log"))
    with pytest.raises(OSError, match="alarms"):
        sinks.close()
    assert closed == ["log"]
    assert set(threading.enumerate()) <= before


def test_a_desk_that_fails_is_told_and_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    decided: list[str] = []

    class Desk(Part):
        def decide_due(self) -> None:
            decided.append(self._name)
            if self._fails:
                raise OSError(self._name)

        def telemetry(self) -> None:
            pass

    desks: Any = {"first": Desk([], "first", fails=True), "second": Desk([], "second")}
    gateway = Gateway([], desks=desks)

    async def check() -> None:
        await gateway.check()
        assert gateway._looking is not None
        await gateway._looking

    asyncio.run(check())
    assert decided == ["first", "second"]
    assert "transit/first: its periodic decisions of bookings failed" in caplog.text
