"""Structured logs: what a record says, that secrets are not in it, and the way from one process to another."""

from __future__ import annotations

import io
import logging
import os
import re
import threading
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.keys import create_key
from serving.access.principal import Grant, Role
from serving.watch.logs import ROOT, LogSink, Receiver, Sender, configure, formatter, keep_to_the_end, redact
from tests.serving.watch.test_streams import alarm, change, decision

TOKEN = "cl_0123456789abcdef_" + "x" * 43
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def record(text: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("cityloop.serving", logging.WARNING, "", 0, text, args, None)
    made.__dict__.update(extra)
    return made


def test_a_record_is_one_line_of_json() -> None:
    line = formatter("json").format(
        record("rolled back\nafter %d ticks", 7, event="rollback", system="drainage", site="estuary", tick=3, who="ada")
    )
    assert "\n" not in line
    content = orjson.loads(line)
    assert content.pop("time").endswith("+00:00")
    assert content == {
        "level": "warning",
        "logger": "cityloop.serving",
        "event": "rollback",
        "system": "drainage",
        "site": "estuary",
        "tick": 3,
        "who": "ada",
        "text": "rolled back\nafter 7 ticks",
    }


@given(st.text(max_size=50))
def test_what_comes_from_outside_begins_no_line_of_its_own(text: str) -> None:
    line = formatter("text").format(record("asked for %s", text, site=text))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


def test_a_trace_begins_no_line_of_its_own() -> None:
    made = record("failed")
    made.exc_info = (ValueError, ValueError("none\n2026-01-01T00:00:00Z info promote by ada\x1b[2J"), None)
    first, *rest = formatter("text").format(made).split("\n")
    assert first.endswith("warning failed")
    assert [row for row in rest if not row.startswith("  ") or "\x1b" in row] == []
    assert "  2026-01-01T00:00:00Z info promote by ada [2J" in rest


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("secret", [TOKEN, JWT])
def test_secrets_are_in_no_record(style: str, secret: str, tmp_path: Path) -> None:
    real = create_key(tmp_path / "keys.json", "plc", [Grant(role=Role.ACT)])[0]
    for one in (secret, real):
        made = record("headers %s", {"authorization": f"Bearer {one}", "x-api-key": one}, who=one, site=f"a {one}")
        try:
            int(f"cannot use {one}")
        except ValueError as error:
            made.exc_info = (type(error), error, error.__traceback__)
        line = formatter(style).format(made)  # type: ignore[arg-type]
        assert one not in line
        assert "[secret]" in line


def test_what_is_no_secret_stays() -> None:
    text = "drainage/estuary: closed-loop class cl_1, bundle f9ec420c9859, eyJ"
    assert redact(text) == text
    assert redact("Bearer abcdef, next") == "Bearer [secret], next"


def test_records_go_from_one_process_to_another(tmp_path: Path) -> None:
    out = io.StringIO()
    path = tmp_path / "s"
    with Receiver(path, out):
        assert path.stat().st_mode & 0o777 == 0o600
        configure("json", path)
        logging.getLogger("cityloop.serving").info("hello", extra={"site": "estuary"})
    assert orjson.loads(out.getvalue())["site"] == "estuary"
    assert not path.exists()


def test_nobody_waits_for_a_reader_and_what_is_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sender = Sender(path)
    sender.setFormatter(formatter("json"))
    for _ in range(5):
        sender.emit(record("lost"))
    out = io.StringIO()
    with Receiver(path, out):
        sender.emit(record("heard"))
    sender.close()
    first, second = out.getvalue().splitlines()
    assert orjson.loads(first)["text"].startswith("5 records were lost")
    assert orjson.loads(second)["text"] == "heard"


class Disk(io.StringIO):
    """A log's file, whose disk may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.refused = True, threading.Event()

    def write(self, text: str) -> int:
        if self.full:
            self.refused.set()
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_are_printed_again_once_a_full_disk_has_room(tmp_path: Path) -> None:
    out = Disk()
    with Receiver(tmp_path / "s", out):
        sender = Sender(tmp_path / "s")
        sender.setFormatter(formatter("text"))
        sender.emit(record("nowhere"))
        assert out.refused.wait(60)
        out.full = False
        sender.emit(record("here"))
        sender.close()
    assert [line.rsplit(" ", 1)[1] for line in out.getvalue().splitlines()] == ["here"]


class Paused(io.StringIO):
    """A log's terminal, whose reader has stopped it."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.written.set()
        assert self.go_on.wait(60)
        return super().write(text)


def test_a_reader_who_stops_holds_up_no_end_and_reads_all_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[object] = []
    monkeypatch.setattr(threading, "excepthook", traces.append)
    out, before = Paused(), set(threading.enumerate())
    receiver = Receiver(tmp_path / "s", out)
    (printing,) = set(threading.enumerate()) - before
    sender = Sender(tmp_path / "s")
    sender.setFormatter(formatter("text"))
    sent = 0
    while not sender._lost:  # until there is no room for another
        sender.emit(record("told %d", sent))
        sent += 1
        assert out.written.wait(60)
    sender.close()
    ending = threading.Thread(target=receiver.close, daemon=True)
    ending.start()
    ending.join(30)
    held_up = ending.is_alive()
    out.go_on.set()
    printing.join(30)
    assert (held_up, printing.is_alive(), traces) == (False, False, [])
    assert [line.rsplit(" ", 1)[1] for line in out.getvalue().splitlines()] == [str(k) for k in range(sent - 1)]
    receiver.close()


def test_a_log_that_was_emptied_begins_anew(tmp_path: Path) -> None:
    """As `logrotate` does with `copytruncate`, where a shell's `>` has opened it."""
    path = tmp_path / "log"
    with path.open("w") as log:
        keep_to_the_end(log.fileno())
        print("before", file=log, flush=True)
        os.truncate(path, 0)
        print("after", file=log, flush=True)
    assert path.read_text() == "after\n"


@pytest.mark.parametrize("letter", ["a", "\x01", "鍵"])
def test_the_longest_record_is_still_one(tmp_path: Path, letter: str) -> None:
    made = record(letter * 100_000, who=letter * 100_000)
    error = ValueError(letter * 100_000 + "the end")
    made.exc_info = (ValueError, error, None)
    out = io.StringIO()
    with Receiver(tmp_path / "s", out):
        sender = Sender(tmp_path / "s")
        sender.setFormatter(formatter("json"))
        sender.emit(made)
        sender.close()
    told = orjson.loads(out.getvalue())
    assert told["text"].endswith("[and 96000 characters more]")
    assert told["trace"].endswith("the end")


def test_changes_and_alarms_are_told_and_ticks_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", ROOT)
    logging.getLogger(ROOT).propagate = True
    sink = LogSink()
    for event in (decision(), change("promote"), change("rollback")):
        sink.record(event)
    sink.alarm(alarm(), "raised", None)
    sink.alarm(alarm(), "shelved", "ben")
    assert [(r.levelname, getattr(r, "event", None), getattr(r, "who", None)) for r in caplog.records] == [
        ("INFO", "promote", "ada"),
        ("WARNING", "rollback", "ada"),
        ("WARNING", "alarm", "service"),
        ("INFO", "alarm", "ben"),
    ]
