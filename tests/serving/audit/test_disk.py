"""The log where its disk is full, hangs, or cannot be written: nothing waits, nothing is lost in silence."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from envs import CityloopError
from serving.audit import AuditLog, AuditSettings, writer
from serving.audit import log as log_module
from serving.audit.records import to_fields
from serving.audit.verify import verify
from tests.serving.audit.events import change, decision, shadowed
from tests.serving.audit.written import child, kinds, lines, until


class Disk:
    """Stands between the log and its files: full, or so slow that a write waits to be let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.room: int | None = None
        self.let_through = threading.Event()
        self.let_through.set()
        self.entered = threading.Event()
        monkeypatch.setattr(writer, "write", self.write)
        monkeypatch.setattr(log_module, "RETRY_S", 0.01)

    def write(self, file: int, content: bytes) -> None:
        self.entered.set()
        assert self.let_through.wait(30)
        if self.room is None:
            os.write(file, content)
            return
        os.write(file, content[: self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_full_disk_is_loud_and_loses_nothing_that_the_queue_can_hold(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path)
    disk.room = 100  # a part of the line gets through
    with caplog.at_level(logging.WARNING):
        for k in range(10):
            log.record(decision(k))
        until(lambda: not log.healthy)
        assert "No space left on device" in str(log.degraded)
        disk.room = None
        until(lambda: log.healthy)
        assert log.flush()
    assert "No space left on device" in caplog.text
    assert "can be written again" in caplog.text
    log.close()
    assert kinds(tmp_path) == ["segment", *["decision"] * 10, "stop"]
    assert verify(tmp_path).ok
    assert not log.lost


def test_a_disk_that_recovers_as_the_log_closes_gets_every_record_once(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path)

    def full_until_it_closes(file: int, content: bytes) -> None:
        monkeypatch.setattr(writer, "write", disk.write)
        assert log._closing.wait(30)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, "write", full_until_it_closes)
    log.record(change("rollback"))
    log.close()
    assert kinds(tmp_path) == ["segment", "change", "stop"]
    assert verify(tmp_path).ok


@pytest.mark.parametrize("count", [1, 3, 20])
def test_records_for_which_there_was_no_room_at_the_end_are_a_gap_before_the_stop(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """The disk has room for a short line: the chain told of an orderly end, and nobody of what was missing."""

    def short_alone(file: int, content: bytes) -> None:
        disk.room = 0 if b'"kind":"decision"' in content else None
        disk.write(file, content)

    log = AuditLog(tmp_path, AuditSettings(queue_records=5))
    monkeypatch.setattr(writer, "write", short_alone)
    log.record(decision(0))
    until(lambda: not log.healthy)
    for k in range(1, count):  # five wait, others are lost at once
        log.record(decision(k))
    log.close()
    *_, gap, stop = lines(tmp_path)
    assert (gap["kind"], gap["lost"], gap["kinds"], stop["kind"]) == ("gap", count, {"decision": count}, "stop")
    assert "No space left on device" in gap["why"]
    assert (gap["from_s"], gap["to_s"]) == (decision(0).at_s, decision(count - 1).at_s)
    assert log.lost == {"decision": count}
    assert [one["lost"] for one in verify(tmp_path).chains[0].gaps] == [count]
    assert "unwritten: None" not in caplog.text


def test_what_could_not_be_synced_is_not_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    log = AuditLog(tmp_path, AuditSettings(sync_s=60.0))
    log.record(decision(0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        assert not log.flush()
    assert "Input/output error" in str(log.degraded)
    assert log.flush()
    assert log.healthy
    log.close()


def test_what_the_queue_cannot_hold_is_counted_and_the_count_is_chained(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path, AuditSettings(queue_records=10))
    disk.room = 0
    log.record(decision(0))
    until(lambda: not log.healthy)
    for k in range(1, 30):
        log.record(decision(k))
    log.record(shadowed(30))
    log.record(change("rollback"))  # there is room for changes where decisions are lost, and those of shadows
    assert log.lost == {"decision": 20, "shadow": 1}
    assert "audit log" in caplog.text
    disk.room = None
    assert log.flush(20)  # what waited is written: there is room again
    assert log.healthy
    log.record(decision(30))
    log.close()
    gap = next(record for record in lines(tmp_path) if record["kind"] == "gap")
    assert (gap["lost"], gap["kinds"]) == (21, {"decision": 20, "shadow": 1})
    assert "No space left on device" in gap["why"]
    report = verify(tmp_path)
    assert report.ok
    assert [one["lost"] for one in report.chains[0].gaps] == [21]
    ticks = [record.get("tick", record["kind"]) for record in lines(tmp_path)]
    assert ticks[-5:] == [9, "gap", "change", 30, "stop"]


def test_no_answer_waits_for_a_disk_that_hangs(tmp_path: Path, disk: Disk) -> None:
    log = AuditLog(tmp_path, AuditSettings(queue_records=5))
    disk.entered.clear()
    disk.let_through.clear()
    log.record(decision(0))
    assert disk.entered.wait(10)
    for k in range(1, 20):
        log.record(decision(k))  # would hang here
    assert log.lost == {"decision": 15}
    assert "15 records lost" in str(log.degraded)
    disk.let_through.set()
    until(lambda: log.healthy)
    log.close()
    assert [r["lost"] for r in lines(tmp_path) if r["kind"] == "gap"] == [15]
    assert verify(tmp_path).ok


def test_large_ticks_do_not_fill_the_memory(tmp_path: Path, disk: Disk) -> None:
    log = AuditLog(tmp_path, AuditSettings(queue_mb=1))
    disk.let_through.clear()
    for k in range(10):
        log.record(decision(k, body=b" " * 300_000))
    assert log.lost["decision"] == 7
    disk.let_through.set()
    log.close()
    assert verify(tmp_path).ok


@pytest.mark.parametrize("broken", ["write", "sync_folder"])
def test_a_new_segment_that_could_not_be_begun_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    one = writer.Writer(tmp_path, AuditSettings(segment_mb=1e-6, compress=False))
    with monkeypatch.context() as ill:
        ill.setattr(writer, broken, refuse)
        ill.setattr(writer.os, "ftruncate", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                one.append([("decision", to_fields(decision()))])
    one.append([("decision", to_fields(decision()))])
    one.close()
    report = verify(tmp_path)
    assert report.ok, report.all_problems
    assert kinds(tmp_path) == ["segment", "segment", "decision", "segment", "stop"]


def test_an_anchor_that_cannot_be_written_is_told_but_the_chain_goes_on(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", AuditSettings(anchors=tmp_path / "anchors"))
    (tmp_path / "anchors" / "chain-0.json").unlink()
    (tmp_path / "anchors").rmdir()
    log.record(decision())
    assert log.flush()
    assert "anchor" in str(log.degraded)
    (tmp_path / "anchors").mkdir()
    assert log.flush()
    assert log.healthy, "without another record: a service that is not ready gets no tick"
    log.record(decision())
    assert log.flush()
    log.close()
    assert kinds(tmp_path / "audit") == ["segment", "decision", "decision", "stop"]


def test_a_real_limit_of_the_disk_is_survived(tmp_path: Path) -> None:
    code = """
import logging, resource, sys, time
from pathlib import Path
from serving.audit import AuditLog, AuditSettings
from tests.serving.audit.events import decision
log = AuditLog(Path(sys.argv[1]), AuditSettings(queue_records=20))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
while log.healthy:
    log.record(decision())
print(log.degraded, flush=True)
for _ in range(100):
    log.record(decision())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while not log.healthy:
    time.sleep(0.01)
log.close()
print(sum(log.lost.values()))
"""
    with child(tmp_path, code) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    why, lost = out.strip().splitlines()
    assert "cannot be written" in why or "records lost" in why
    report = verify(tmp_path)
    assert report.ok
    assert sum(gap["lost"] for gap in report.chains[0].gaps) == int(lost) >= 80


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "truncated", "added to"])
def test_a_file_that_somebody_else_has_a_hand_in_is_left_for_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """As by a rotation of logs, or a cleaner: what comes then would go to where nobody finds it."""
    log = AuditLog(tmp_path, AuditSettings(compress=False))
    log.record(decision(0))
    assert log.flush()
    (path,) = tmp_path.glob("chain-0/*.jsonl")
    aside = tmp_path / "aside"
    if how == "truncated":
        os.truncate(path, 0)
    elif how == "added to":
        with path.open("ab") as file:
            file.write(b"more\n")
    else:
        path.rename(aside)
        if how == "replaced":
            path.write_bytes(aside.read_bytes())
        elif how == "removed":
            aside.unlink()
    log.record(decision(1))
    log.close()
    assert kinds(tmp_path)[-4:] == ["segment", "damaged", "decision", "stop"]
    assert log.healthy
    assert path.name in caplog.text
    found = verify(tmp_path)
    assert not found.ok
    assert any(f"{path.name} " in one.what for one in found.all_problems)


def test_a_folder_that_goes_away_and_comes_back_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "RETRY_S", 0.01)
    log = AuditLog(tmp_path)
    log.record(decision(0))
    assert log.flush()
    (tmp_path / "chain-0").rename(tmp_path / "away")
    log.record(decision(1))
    until(lambda: not log.healthy)
    assert "No such file or directory" in str(log.degraded)
    (tmp_path / "away").rename(tmp_path / "chain-0")
    until(lambda: log.healthy)
    log.close()
    assert kinds(tmp_path) == ["segment", "decision", "segment", "damaged", "decision", "stop"]


def test_segments_of_another_user_are_refused_and_not_taken_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start as the wrong user called a whole chain damaged, for good."""
    writer.Writer(tmp_path, AuditSettings(compress=False)).close()
    before = sorted(tmp_path.rglob("*.jsonl"))
    with monkeypatch.context() as other:
        other.setattr("os.access", lambda *_: False)  # who tests may be root, who reads anything
        with pytest.raises(CityloopError, match=f"audit segment {before[0]} may not be read: let the service's user"):
            writer.Writer(tmp_path, AuditSettings(compress=False))
    assert sorted(tmp_path.rglob("*.jsonl")) == before
    writer.Writer(tmp_path, AuditSettings(compress=False)).close()
    assert verify(tmp_path).ok
