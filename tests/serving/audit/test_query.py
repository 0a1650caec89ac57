"""Searching the log: what was asked for, and where a search ends."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from serving.audit import AuditLog, AuditSettings
from serving.audit.query import Wanted, heads, recent
from tests.serving.audit.events import change, decision


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
