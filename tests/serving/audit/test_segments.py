"""Files of a chain: when they end, are compressed and deleted, by whatever clock; and what a kill leaves of them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serving.audit import AuditLog, AuditSettings, segments, writer
from serving.audit.query import Wanted, recent, records
from serving.audit.segments import compress, segment_name
from serving.audit.verify import verify
from tests.serving.audit.events import decision
from tests.serving.audit.written import kinds, lines, until
from tests.serving.operators import Clock


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


def test_what_a_kill_left_of_old_segments_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain has said that they go, and one of them is still there."""
    now, gone = time.time(), []
    monkeypatch.setattr(
        writer,
        "aged_s",
        lambda segments, _: [9e9 if len(segments) == 4 and k < 2 else 0.0 for k in range(len(segments))],
    )
    unlink = Path.unlink

    def kept(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            gone.append((path, path.read_bytes()))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", kept)
    log = AuditLog(tmp_path, AuditSettings(keep_days=2, compress=False))
    for day in range(4):
        monkeypatch.setattr(writer.time, "time", lambda day=day: now + day * writer.DAY_S)
        log.record(decision(day))
        assert log.flush()
    log.close()
    assert len(gone) == 2
    assert verify(tmp_path).ok
    path, content = gone[1]
    path.write_bytes(content)
    assert verify(tmp_path).ok
    unlink(min((tmp_path / "chain-0").glob("*.jsonl")))
    unlink(min((tmp_path / "chain-0").glob("*.jsonl")))
    assert "no record tells that they were deleted" in verify(tmp_path).all_problems[0].what


@pytest.mark.parametrize("wrong", [1000.0, 4e9])
def test_a_clock_that_was_wrong_for_a_while_deletes_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """As on a machine that starts in 1970, or whose time server goes astray."""
    how, now, clock = AuditSettings(keep_days=365, compress=False), time.time(), Clock()
    monkeypatch.setattr(writer.time, "time", clock)
    log = AuditLog(tmp_path, how)
    for k, at_s in enumerate([now, now + 90_000, now + 180_000, wrong, now + 270_000, now + 360_000]):
        clock.now_s = at_s
        log.record(replace(decision(k), at_s=at_s))
        assert log.flush()
    log.close()
    report = verify(tmp_path)
    assert report.ok, report.all_problems
    assert [r["tick"] for r in lines(tmp_path) if r["kind"] == "decision"] == [0, 1, 2, 3, 4, 5]
    since = Wanted("intersections", since=now + 170_000, until=now + 400_000)
    for found in (recent(tmp_path, since), list(records(tmp_path, since))):
        assert [record["tick"] for record in found] == [2, 4, 5]


@pytest.mark.parametrize(
    "days", [[0, 1, 2, -30, 3, 4], [0, 1, 2, 730, 731, 732, 3, 4], [0, 1, 2, -30, -29, 730, 731, 3, 4]]
)
def test_however_a_clock_goes_astray_a_year_is_not_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: list[int]
) -> None:
    """Back before the log begins, and ahead for longer than a day: what is kept for a year is still there."""
    now, clock = time.time(), Clock()
    monkeypatch.setattr(writer.time, "time", clock)
    log = AuditLog(tmp_path, AuditSettings(keep_days=365, compress=False))
    for k, day in enumerate(days):
        clock.now_s = now + day * writer.DAY_S
        log.record(replace(decision(k), at_s=clock.now_s))
        assert log.flush()
    log.close()
    report = verify(tmp_path)
    assert report.ok, report.all_problems
    assert [r["tick"] for r in lines(tmp_path) if r["kind"] == "decision"] == list(range(len(days)))


def test_a_file_that_was_deleted_while_it_was_compressed_stays_deleted(tmp_path: Path) -> None:
    plain = tmp_path / segment_name(1, 0.0)
    plain.write_bytes(b"line\n")
    replaced = os.replace

    def deleted_meanwhile(work: Path, target: Path) -> None:
        replaced(work, target)
        plain.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments.os, "replace", deleted_meanwhile)
        with pytest.raises(FileNotFoundError):
            compress(plain)
    assert list(tmp_path.iterdir()) == []


def test_after_a_file_of_which_nothing_can_be_read_the_chain_goes_on_from_the_one_before(tmp_path: Path) -> None:
    """As where an editor saved it with other line ends: each start began a chain of its own, from record 1."""
    how = AuditSettings(compress=False)
    for run in range(2):
        log = AuditLog(tmp_path, how)
        log.record(decision(run))
        log.close()
    last = max((tmp_path / "chain-0").glob("*.jsonl"))
    last.write_bytes(last.read_bytes().replace(b"\n", b"\r\n"))
    problems = []
    for run in range(2, 5):
        log = AuditLog(tmp_path, how)
        log.record(decision(run))
        assert log.flush()
        assert [record["tick"] for record in log.recent(Wanted(what="decision"), 1)] == [run]
        log.close()
        problems.append(len(verify(tmp_path).all_problems))
    assert problems[0] > 0
    assert problems == problems[:1] * 3, "each start afterwards goes on as ever"
