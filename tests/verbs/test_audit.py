"""``cityloop audit``: output for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cityloop
from envs import CityloopError
from serving.audit import AuditLog, AuditSettings
from tests.serving.audit.events import change, decision
from tests.serving.plants import Stub, body_of, grid, service, tick_of
from verbs.audit import moment

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cityloop.main(arguments)
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> str:
    log = AuditLog(tmp_path / "audit", AuditSettings(compress=False))
    for k in range(5):
        log.record(decision(k))
    log.record(change("override", site="other"))
    log.close()
    return str(tmp_path / "audit")


def test_verify_says_that_a_log_is_whole(run: Run, folder: str) -> None:
    code, out, err = run("audit", "verify", folder)
    assert code == 0
    assert "whole" in out
    assert "Traceback" not in err


def test_verify_says_what_is_wrong_and_ends_in_1(run: Run, folder: str) -> None:
    (segment,) = Path(folder).glob("chain-0/*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"tick":3', b'"tick":4'))
    code, out, _ = run("audit", "verify", folder)
    assert code == 1
    assert "NOT WHOLE" in out
    code, out, _ = run("audit", "verify", folder, "--json")
    assert code == 1
    found = json.loads(out)
    assert not found["ok"]
    assert found["problems"][0]["record"] == 5
    assert found["problems"][0]["segment"] == segment.name


def test_a_head_is_printed_to_be_kept_and_to_be_verified(run: Run, folder: str) -> None:
    code, out, _ = run("audit", "head", folder, "--json")
    assert code == 0
    head = json.loads(out)["heads"]["chain-0"]
    assert head["records"] == 8
    assert run("audit", "verify", folder, "--head", head["head"])[0] == 0
    assert run("audit", "verify", folder, "--head", "0" * 64)[0] == 1


def test_show_prints_what_is_asked_for(run: Run, folder: str) -> None:
    def ticks(*arguments: str) -> list[Any]:
        code, out, _ = run("audit", "show", folder, "--json", *arguments)
        assert code == 0
        return [record.get("tick", record["kind"]) for record in json.loads(out)["records"]]

    assert ticks("--last", "3") == [4, "change", "stop"]
    assert ticks("--what", "decision", "--last", "2") == [3, 4]
    assert ticks("--what", "override") == ["change"]
    assert ticks("--site", "intersections/other") == ["change"]
    assert ticks("--site", "grid2x2", "--what", "decision", "--since", "2023-11-14T22:13:23+00:00") == [3, 4]
    code, out, _ = run("audit", "show", folder)
    assert code == 0
    assert "max-pressure" in out


def test_show_obeys_no_reason_that_would_command_the_terminal(run: Run, tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditSettings(compress=False))
    log.record(change("override", reason="night\x1b[8m work\x9b1A\x00\r"))
    log.close()
    code, out, _ = run("audit", "show", str(tmp_path))
    assert code == 0
    assert "night [8m work 1A" in out
    assert not [mark for mark in out if (ord(mark) < 32 and mark != "\n") or 127 <= ord(mark) < 160]


def test_show_prints_what_was_altered_as_far_as_it_can(run: Run, folder: str) -> None:
    (segment,) = Path(folder).glob("chain-0/*.jsonl")
    text = segment.read_bytes()
    segment.write_bytes(text.replace(b'"tick":', b'"tock":').replace(b'"reason":', b'"treason":'))
    code, out, err = run("audit", "show", folder)
    assert code == 0
    assert "Traceback" not in err
    assert "see 'audit verify'" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("verify", "nowhere"), "nowhere holds no audit log"),
        (("show", "nowhere"), "nowhere holds no audit log"),
        (("head", "nowhere"), "nowhere holds no audit log"),
        (("verify", "FOLDER", "--head", "12"), "head '12' is no hash"),
        (("verify", "FOLDER", "--anchor", "none"), "anchor none does not exist"),
        (("verify", "FOLDER", "--key", "none"), "key file none cannot be read"),
        (("show", "FOLDER", "--since", "noon"), "time 'noon' is none"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(
    run: Run, folder: str, arguments: tuple[str, ...], sentence: str
) -> None:
    code, _, err = run("audit", *(folder if word == "FOLDER" else word for word in arguments))
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err


def test_times_are_absolute_or_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verbs.audit.time.time", lambda: 1000.0)
    assert moment("1.5m") == 910.0
    assert moment("1970-01-02") == 86_400.0
    assert moment("1970-01-01T02:00:00+01:00") == 3600.0
    assert moment(None) is None
    with pytest.raises(CityloopError, match="is none"):
        moment("tomorrow")


def test_replay_says_what_came_out_otherwise(run: Run, tmp_path: Path) -> None:
    site = grid()
    log = AuditLog(tmp_path / "audit", AuditSettings(compress=False))
    one = service(site, sinks=(log,))
    log.keep_site(site, "max-pressure")
    one.act(body_of(tick_of(site)))
    one.close()
    log.close()
    code, out, _ = run("replay", str(tmp_path / "audit"))
    assert code == 0
    assert "1 decisions" in out
    code, out, _ = run("replay", str(tmp_path / "audit"), "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["decisions"], told["reproduced"]) == (0, True, 1, {"champion": 1})
    (segment,) = (tmp_path / "audit").glob("chain-0/*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'{"stage":0}', b'{"stage":1}', 1))
    code, out, _ = run("replay", str(tmp_path / "audit"), "--site", "grid2x2", "--json")
    assert code == 1
    (difference,) = json.loads(out)["differences"]
    assert (difference["step"], difference["site"], difference["tick"]) == ("commands", "grid2x2", 0)
    assert run("replay", str(tmp_path / "audit"))[0] == 1
    code, _, err = run("replay", str(tmp_path / "audit"), "--site", "elsewhere")
    assert code == 2
    assert "no decision that fits" in err
    code, _, err = run("replay", str(tmp_path / "audit"), "--bundle", str(tmp_path / "none"))
    assert code == 2
    assert "Traceback" not in err


def test_replay_counts_fallbacks_beneath_commands_by_hand_as_what_they_are(run: Run, tmp_path: Path) -> None:
    site, policy = grid(), Stub("max-pressure")
    log = AuditLog(tmp_path / "audit", AuditSettings(compress=False))
    one = service(site, policy, sinks=(log,))
    log.keep_site(site, "max-pressure")

    def fail(*_: Any) -> Any:
        raise ValueError("no")

    policy.then = fail
    overrides = one.standing.overrides
    overrides.put(overrides.make(None, 0, "works", "me", 60.0))
    one.act(body_of(tick_of(site)))
    one.close()
    log.close()
    code, out, err = run("replay", str(tmp_path / "audit"))
    assert code == 0
    assert "by the manual: equal to the last bit" in out
    assert "in 1 of those that are equal, the fallback stood in for a reason that is taken as recorded" in out + err
