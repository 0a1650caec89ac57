"""Bundles that are kept beside the log, so that decisions can be replayed once their files are gone."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from agents import load_policy
from envs import CityloopError
from envs.core.machine.files import DRAFT
from serving.audit import AuditLog
from serving.audit import log as log_module
from serving.audit.kept import Altered, find_bundle, find_shipped
from tests.serving.audit.events import decision
from tests.serving.audit.written import kinds, lines
from tests.serving.bundles import bundle


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
