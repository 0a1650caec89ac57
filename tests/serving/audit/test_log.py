"""The log as the service uses it: order, restarts, several processes, a kill in mid-line, what was altered."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import CityloopError
from serving.audit import AuditLog, AuditSettings, writer
from serving.audit.query import Wanted, records
from serving.audit.records import to_event
from serving.audit.segments import segment_name
from serving.audit.verify import verify
from tests.serving.audit.events import change, decision, shadowed
from tests.serving.audit.written import child, kinds, lines


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
    (tmp_path / "file").chmod(0o600)
    with pytest.raises(CityloopError, match="holds no Ed25519 private key"):
        AuditLog(tmp_path / "log", AuditSettings(key=tmp_path / "file"))
    (tmp_path / "file").chmod(0o640)
    with pytest.raises(CityloopError, match="has mode 640: run 'chmod 600"):
        AuditLog(tmp_path / "log", AuditSettings(key=tmp_path / "file"))


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


@pytest.mark.parametrize("files", [1, 2])
def test_a_file_that_a_killed_process_left_empty_is_deleted(tmp_path: Path, files: int) -> None:
    how = AuditSettings(compress=False)
    log = AuditLog(tmp_path, how)
    log.record(decision(0))
    log.close()
    for k in range(files):
        (tmp_path / "chain-0" / segment_name(4, 1e9 + k)).touch()
    for tick in (1, 2):
        log = AuditLog(tmp_path, how)
        log.record(decision(tick))
        log.close()
        assert verify(tmp_path).ok
    assert kinds(tmp_path) == ["segment", "decision", "stop"] * 3


def test_a_process_that_is_killed_before_the_first_line_of_a_file_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> dict[str, str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "origin", killed)
        with pytest.raises(KeyboardInterrupt):
            AuditLog(tmp_path)
    assert not list((tmp_path / "chain-0").glob("*.jsonl"))
    AuditLog(tmp_path).close()
    assert verify(tmp_path).ok


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
    assert "the log itself found: record 2 does not follow" in problems[1].what


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
