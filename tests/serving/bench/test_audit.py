"""The log's bench leaves nothing behind, even if it is interrupted."""

from __future__ import annotations

from typing import Any

import pytest

from serving.audit.log import AuditLog
from serving.bench import audit as bench


class Log(AuditLog):
    """Notes whether its folder was still there when it was closed."""

    closed: list[bool]

    def close(self) -> None:
        """Close it."""
        self.closed.append(self.folder.is_dir())
        super().close()


def interrupt(*_: Any) -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


def test_an_interrupted_bench_closes_its_log_before_the_folder_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    Log.closed, services = [], []
    close = bench.SiteService.close
    monkeypatch.setattr(bench, "AuditLog", Log)
    monkeypatch.setattr(bench, "record_episode", lambda scenario: ("dampers/jansen", [b"{}"]))
    monkeypatch.setattr(bench, "_answer", interrupt)
    monkeypatch.setattr(bench.SiteService, "close", lambda self: (services.append(self), close(self)))
    with pytest.raises(KeyboardInterrupt):
        bench.bench_audit("dampers/jansen", "skyhook", ticks=1)
    assert Log.closed == [True]
    assert len(services) == 2


def test_a_log_that_is_timed_by_itself_is_closed_when_interrupted(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Log.closed = []
    monkeypatch.setattr(bench, "AuditLog", Log)
    monkeypatch.setattr(Log, "record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench._record(tmp_path / "alone", [None])  # type: ignore[list-item]
    assert Log.closed == [True]
