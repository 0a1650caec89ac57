"""The log as the service uses it: order, restarts, several processes, a full disk, a full queue, a kill in mid-line."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import load_policy
from envs import CityloopError
from envs.core.machine.files import DRAFT
from serving.audit import AuditLog, AuditSettings, segments, writer
from serving.audit import log as log_module
from serving.audit.kept import Altered, find_bundle, find_shipped
from serving.audit.query import Wanted, heads, recent, records
from serving.audit.records import to_event
from serving.audit.segments import compress, segment_name
from serving.audit.verify import verify
from tests.serving.audit.events import change, decision, shadowed
from tests.serving.audit.written import child, kinds, lines, until
from tests.serving.bundles import bundle
from tests.serving.operators import Clock


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


def test_a_search_ends_in_what_was_altered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path, AuditSettings(compress=False))
    log.record(decision(0))
    log.close()
    (path,) = tmp_path.glob("chain-0/*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + b"\n" * 5000)
    assert [record["kind"] for record in recent(tmp_path, Wanted())] == ["segment", "decision", "stop"]
    monkeypatch.setattr("serving.audit.query.SEARCHED_BYTES", 4000)
    (record,) = recent(tmp_path, Wanted())
    assert (record["kind"], record["n"]) == ("unsearched", None)
    assert heads(tmp_path)["chain-0"].n == 3


def test_a_bundle_is_kept_once_where_its_first_decision_stands_in_the_same_batch(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "tiny")
    log = AuditLog(tmp_path / "audit")
    sha256 = load_policy(folder).card.sha256
    items = log._items([(log_module._Bundle(folder), 0), (decision(0, bundle=sha256), 0)])
    log.close()
    assert [kind for kind, _ in items] == ["bundle", "decision"]
    assert items[0][1]["kept"].startswith(sha256)


def test_what_a_killed_process_left_half_written_does_not_alter_a_kept_bundle(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    folder = bundle(tmp_path / "tiny")
    name = log._items([(log_module._Bundle(folder), 0)])[0][1]["kept"]
    log.close()
    half = find_bundle(tmp_path / "audit", name) / f".policy.onnx.1.ab{DRAFT}"
    half.write_bytes(b"half")
    assert find_bundle(tmp_path / "audit", name) == half.parent
    half.with_name("more").write_bytes(b"put in")
    with pytest.raises(Altered):
        find_bundle(tmp_path / "audit", name)


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
