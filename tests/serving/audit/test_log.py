"""The log as the service uses it: order, restarts, several processes, a full disk, a full queue, a kill in mid-line."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import load_policy
from envs import CityloopError
from serving.audit import AuditLog, AuditSettings, writer
from serving.audit import log as log_module
from serving.audit.kept import find_shipped
from serving.audit.query import Wanted, records
from serving.audit.records import to_event, to_fields
from serving.audit.verify import verify
from tests.serving.audit.events import change, decision, shadowed
from tests.serving.bundles import bundle


def lines(folder: Path, chain: str = "chain-0") -> list[dict[str, Any]]:
    return [record for record in records(folder, Wanted()) if record["chain"] == chain]


def kinds(folder: Path) -> list[str]:
    return [record["kind"] for record in lines(folder)]


def test_every_event_is_there_in_order_as_it_was(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    events = [decision(0, requests=[1.5, -0.0], findings=("a", "b"), imputed={"x[0]": None}), shadowed(), change()]
    for event in events:
        log.record(event)
    log.close()
    assert kinds(tmp_path) == ["segment", "decision", "shadow", "change", "stop"]
    found = [to_event(r["kind"], r) for r in lines(tmp_path) if r["kind"] in ("decision", "shadow", "change")]
    assert found == events


@given(st.text(), st.recursive(st.none() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=5))
@settings(deadline=None, max_examples=30)
def test_whatever_an_event_holds_is_written(tmp_path_factory: pytest.TempPathFactory, text: str, value: Any) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = AuditLog(folder)
    log.record(change(text, detail={"value": value, "odd": {1: object(), "\ud800": b"\xff"}}))
    log.record(change("after"))
    log.close()
    assert kinds(folder) == ["segment", "change", "change", "stop"]
    assert log.healthy
    assert verify(folder).ok


def test_a_restart_goes_on_with_the_chain(tmp_path: Path) -> None:
    for k in range(3):
        log = AuditLog(tmp_path)
        log.record(decision(k))
        log.close()
        log.close()
    report = verify(tmp_path)
    assert report.ok
    assert kinds(tmp_path) == ["segment", "decision", "stop"] * 3
    assert report.chains[0].segments == 3


def test_segments_end_at_their_size_and_are_compressed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings(segment_mb=0.002))
    for k in range(5):
        log.record(decision(k))
        assert log.flush()
    until(lambda: len(list(tmp_path.glob("chain-0/*.gz"))) >= 1 and len(list(tmp_path.glob("chain-0/*.jsonl"))) == 1)
    log.close()
    assert verify(tmp_path).ok
    assert [r["tick"] for r in lines(tmp_path) if r["kind"] == "decision"] == list(range(5))


def test_a_segment_begins_every_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path)
    log.record(decision())
    assert log.flush()
    tomorrow = time.time() + writer.DAY_S
    monkeypatch.setattr(writer.time, "time", lambda: tomorrow)
    log.record(decision())
    log.close()
    headers = [record["why"] for record in lines(tmp_path) if record["kind"] == "segment"]
    assert headers == ["start", "day"]
    assert verify(tmp_path).ok


def test_old_segments_are_deleted_and_the_chain_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = AuditSettings(keep_days=2, compress=False)
    log = AuditLog(tmp_path, how)
    now = time.time()
    for day in range(6):
        monkeypatch.setattr(writer.time, "time", lambda day=day: now + day * writer.DAY_S)
        log.record(decision(day))
        assert log.flush()
    log.close()
    report = verify(tmp_path)
    assert report.ok, report.all_problems
    assert report.chains[0].first > 1
    assert "pruned" in kinds(tmp_path)
    assert [r["tick"] for r in lines(tmp_path) if r["kind"] == "decision"] == [3, 4, 5]
    min((tmp_path / "chain-0").glob("*.jsonl")).unlink()
    assert "no record tells that they were deleted" in verify(tmp_path).all_problems[0].what


def test_processes_that_share_a_folder_have_a_chain_each(tmp_path: Path) -> None:
    logs = [AuditLog(tmp_path) for _ in range(3)]
    for k in range(6):
        logs[k % 3].record(decision(k))
    for log in logs:
        assert log.flush()
    assert [record["tick"] for record in logs[0].recent(Wanted("intersections"), 4)] == [2, 3, 4, 5]
    ticks = [record["tick"] for record in records(tmp_path, Wanted(what="decision"))]
    assert ticks == list(range(6))
    for log in logs:
        log.close()
    report = verify(tmp_path)
    assert report.ok
    assert [chain.chain for chain in report.chains] == ["chain-0", "chain-1", "chain-2"]
    again = AuditLog(tmp_path)
    assert again.status["chain"] == "chain-0"
    again.close()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CityloopError, match="cannot be written"):
        AuditLog(tmp_path / "file")
    with pytest.raises(CityloopError, match="key file"):
        AuditLog(tmp_path / "log", AuditSettings(key=tmp_path / "file"))


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


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end


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
    log.record(decision())
    assert log.flush()
    assert log.healthy
    log.close()
    assert kinds(tmp_path / "audit") == ["segment", "decision", "decision", "stop"]


CHILD = """
import sys
from pathlib import Path
from serving.audit import AuditLog, AuditSettings
from tests.serving.audit.events import decision
log = AuditLog(Path(sys.argv[1]), AuditSettings(segment_mb=0.05))
k = 0
while True:
    log.record(decision(k, body=b"x" * (k % 7000)))
    k += 1
    if k % 50 == 0:
        log.flush()
        print(k, flush=True)
"""


def child(folder: Path, code: str = CHILD) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_chain_is_whole_after_the_next_start(tmp_path: Path, kills: int) -> None:
    for k in range(kills):
        with child(tmp_path) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(1 + 7 * k % 11)]
            process.send_signal(signal.SIGKILL)
        flushed = int(told[-1])
        report = verify(tmp_path)
        assert report.ok, report.all_problems
        last = [record for record in lines(tmp_path) if record["kind"] in ("segment", "decision")]
        start = max(k for k, record in enumerate(last) if record.get("why") == "start")
        ticks = [record["tick"] for record in last[start:] if record["kind"] == "decision"]
        assert ticks == list(range(len(ticks)))
        assert len(ticks) >= flushed  # what was flushed has survived
    AuditLog(tmp_path).close()
    assert verify(tmp_path).ok


@given(st.integers(0, 2), st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_a_line_that_was_torn_is_cut_off_and_recorded(
    tmp_path_factory: pytest.TempPathFactory, kept: int, share: float
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    how = AuditSettings(anchors=folder / "anchors")
    log = AuditLog(folder / "log", how)
    log.record(decision(0))
    assert log.flush()
    log.close()
    (path,) = (folder / "log").glob("chain-0/*.jsonl")
    rows = path.read_bytes().splitlines(keepends=True)
    part = rows[kept][: 1 + round(share * (len(rows[kept]) - 2))]
    path.write_bytes(b"".join(rows[:kept]) + part)
    for anchor in (folder / "anchors").iterdir():
        anchor.unlink()  # it has seen more, as a machine that lost power does not: what is anchored is on the disk
    if kept:
        assert verify(folder / "log").ok
    log = AuditLog(folder / "log", how)
    log.record(decision(1))
    log.close()
    assert verify(folder / "log").ok
    (recovered,) = [r for r in lines(folder / "log") if r["kind"] == "recovered"]
    assert recovered["bytes"] == len(part)
    assert part.startswith(recovered["text"].encode())


def test_a_log_that_was_altered_is_not_mended(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings(compress=False))
    log.record(decision(0))
    log.record(decision(1))
    log.close()
    (path,) = tmp_path.glob("chain-0/*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"tick":0', b'"tick":7', 1))
    AuditLog(tmp_path, AuditSettings(compress=False)).close()
    assert "damaged" in kinds(tmp_path)
    problems = verify(tmp_path).all_problems
    assert next((one.segment, one.record) for one in problems) == (path.name, 2)
    assert "when it was opened again: record 2 does not follow" in problems[1].what


def test_an_end_that_was_cut_off_is_told_before_the_anchor_moves_on(tmp_path: Path) -> None:
    how = AuditSettings(compress=False)
    log = AuditLog(tmp_path, how)
    for k in range(3):
        log.record(decision(k))
    log.close()
    (path,) = tmp_path.glob("chain-0/*.jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    for _ in range(2):  # and not only the next time
        AuditLog(tmp_path, how).close()
    (problem,) = verify(tmp_path).all_problems
    assert "records 3 to 5 are missing at the end: an anchor has seen them" in problem.what


def test_nothing_that_is_handed_over_stops_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.record(object())  # type: ignore[arg-type]
    log.record(decision())
    log.close()
    assert kinds(tmp_path) == ["segment", "unwritable", "decision", "stop"]
    assert log.healthy


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


def test_recent_reads_what_is_asked_for(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings(segment_mb=0.005))
    for k in range(20):
        log.record(decision(k, site="a" if k % 4 else "b"))
        if k % 3 == 0:
            assert log.flush()
    log.record(change(site="a"))
    assert log.flush()
    assert [r.get("tick") for r in log.recent(Wanted("intersections", "b"))] == [0, 4, 8, 12, 16]
    assert [r.get("tick") for r in log.recent(Wanted(site="b"), 2)] == [12, 16]
    since = decision(12).at_s
    assert [r.get("tick") for r in log.recent(Wanted(site="b", since=since))] == [12, 16]
    assert log.recent(Wanted("drainage")) == []
    last = log.recent(Wanted(), 1)[0]
    assert orjson.loads(orjson.dumps(last)) == last
    log.close()


def test_a_search_that_goes_too_far_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path)
    for k in range(20):
        log.record(decision(k, site="b" if k == 0 else "a"))
    assert log.flush()
    monkeypatch.setattr("serving.audit.query.SEARCHED_BYTES", 5000)
    assert [r["kind"] for r in log.recent(Wanted(site="b"))] == ["unsearched"]
    log.close()


def test_a_bundle_is_kept_once_where_its_first_decision_stands_in_the_same_batch(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "tiny")
    log = AuditLog(tmp_path / "audit")
    sha256 = load_policy(folder).card.sha256
    items = log._items([(log_module._Bundle(folder), 0), (decision(0, bundle=sha256), 0)])
    log.close()
    assert [kind for kind, _ in items] == ["bundle", "decision"]
    assert items[0][1]["kept"].startswith(sha256)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, os.strerror(errno.EACCES)), CityloopError("no card")])
def test_a_bundle_that_cannot_be_found_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def find(*_: Any) -> Path:
        raise error

    monkeypatch.setattr(log_module.kept, "find_shipped", find)
    log = AuditLog(tmp_path)
    log.record(decision(0, bundle="ab" * 32))
    assert log.flush()
    log.close()
    assert kinds(tmp_path) == ["segment", "bundle", "decision", "stop"]
    assert lines(tmp_path)[1]["kept"] is None
    assert lines(tmp_path)[1]["not_kept"] in ("it cannot be read (Permission denied)", "no card")


def test_a_shipped_card_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle(tmp_path / "tiny")
    shipped = {"broken": tmp_path / "nowhere", "tiny": folder}
    monkeypatch.setattr("serving.audit.kept.shipped_policies", lambda system: shipped)
    assert find_shipped(load_policy(folder).card.sha256) == folder
