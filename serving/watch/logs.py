"""The service's own log: one line of JSON or text per record, without secrets, from every process to one place.

Processes of a service send their records to the one that started it, over a Unix socket that only its owner may open.
Sending never waits: where nobody reads fast enough records are lost, and their number is logged.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

import orjson

from serving.alarms.book import Alarm, Happening
from serving.core.events import Decision, Event, Shadowed, SiteChange, Structure

Style = Literal["json", "text"]

FIELDS = ("event", "system", "site", "tick", "who")
"""Fields of a record beside its text: ``LOGGER.info("…", extra={"event": "promote", "site": "estuary"})``."""

ROOT = "cityloop"
"""The parent of all loggers of the service."""

MAX_RECORD = 64_000
"""Longest record, bytes."""

MOST_FIELD, MOST_TEXT, MOST_TRACE = 200, 4_000, 5_000
"""Longest field, text and end of a trace, in characters; as JSON they take six bytes each at most."""

_SECRETS = (
    re.compile(r"cl_[0-9a-f]{16}_[A-Za-z0-9_-]+"),
    re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*"),
    re.compile(r"(?i)(?<=bearer )[^\s,'\"]+"),
    re.compile(r"(?i)(?<=bearer\.)[^\s,'\"]+"),
    re.compile(r"(?i)(?<=x-api-key: )[^\s,'\"]+"),
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def redact(text: str) -> str:
    """A text without keys and tokens."""
    for secret in _SECRETS:
        text = secret.sub("[secret]", text)
    return text


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, event, fields, text."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        content |= {field: _plain(getattr(record, field)) for field in FIELDS if hasattr(record, field)}
        content["text"] = _text(record)
        if record.exc_info:
            content["trace"] = _trace(self, record)
        return orjson.dumps(content).decode()


class TextFormatter(logging.Formatter):
    """A record as a line for people; neither text from outside nor a trace can begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a trace below it if there is one."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = "".join(f" {f}={_plain(getattr(record, f))}" for f in FIELDS if hasattr(record, f))
        line = _CONTROL.sub(" ", f"{when} {record.levelname.lower()} {_text(record)}{about}")
        trace = _trace(self, record).splitlines() if record.exc_info else []
        return "\n  ".join([line, *(_CONTROL.sub(" ", row) for row in trace)])


def _plain(value: object) -> object:
    return value if isinstance(value, int) else redact(str(value))[:MOST_FIELD]


def _text(record: logging.LogRecord) -> str:
    text = redact(record.getMessage())
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]} [and {len(text) - MOST_TEXT} characters more]"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    assert record.exc_info
    return redact(formatter.formatException(record.exc_info))[-MOST_TRACE:]  # the end of a trace has the error


def formatter(style: Style) -> logging.Formatter:
    """The formatter of a style."""
    return JsonFormatter() if style == "json" else TextFormatter()


def configure(style: Style = "text", target: Path | None = None, level: str = "INFO") -> logging.Handler:
    """Configure the service's logging in this process; an earlier configuration is undone.

    Args:
        style: format of the lines.
        target: the socket of a `Receiver`; standard error if not given.
        level: lowest level of logged records.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr) if target is None else Sender(target)
    handler.setFormatter(formatter(style))
    root = logging.getLogger(ROOT)
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
    return handler


def say(text: str, out: TextIO | None = None) -> None:
    """Print a line. If the disk of the log is full, the line is lost and nothing else happens.

    Args:
        text: the line.
        out: stream; standard error if not given.
    """
    with suppress(OSError):
        print(text, file=out or sys.stderr, flush=True)


def keep_to_the_end(file: int) -> None:
    """Write to an open file at its end: after a rotation that empties it, it would begin with a hole."""
    with suppress(OSError):
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)


class Sender(logging.Handler):
    """Sends records to a `Receiver`, if it reads; never waits."""

    def __init__(self, target: Path):
        super().__init__()
        self._target, self._lost = str(target), 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            if self._lost:
                self._send(self._of_lost(record))
                self._lost = 0
            self._send(record)
        except OSError:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def _send(self, record: logging.LogRecord) -> None:
        self._socket.sendto(self.format(record).encode(), self._target)

    def _of_lost(self, record: logging.LogRecord) -> logging.LogRecord:
        text = f"{self._lost} records were lost: nobody read them in time"
        return logging.LogRecord(record.name, logging.WARNING, "", 0, text, (), None)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


class Receiver:
    """Prints the records of other processes; use ``with``.

    Args:
        path: of its socket; short, as names of Unix sockets have at most 107 characters.
        out: stream; standard error if not given.
    """

    def __init__(self, path: Path, out: TextIO | None = None):
        self.path, self._out = path, out
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._thread = threading.Thread(target=self._read, name="logs", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._socket:
            while line := self._socket.recv(MAX_RECORD):
                say(line.decode(errors="replace"), self._out)

    def close(self) -> None:
        """Print all received records, and end. A slow reader of them holds up nobody: the thread goes on printing, and
        closes the socket behind the last. May be called twice.
        """
        with suppress(OSError):  # the thread has closed it
            self._socket.shutdown(socket.SHUT_RD)  # a last message would wait for room among the records
        self._thread.join(1.0)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LogSink:
    """Logs changes by people and rules; ticks and reports of monitors are left to the audit log."""

    def __init__(self) -> None:
        self._log = logging.getLogger(f"{ROOT}.events")

    def record(self, event: Event) -> None:
        """Log a change."""
        if isinstance(event, SiteChange):
            about = {"event": event.what, "system": event.system, "site": event.site, "who": event.who}
            level = logging.WARNING if event.what == "rollback" else logging.INFO
            self._log.log(level, "%s by %s: %s", event.what, event.who, event.reason, extra=about)
        elif not isinstance(event, (Decision, Shadowed, Structure)):
            self._log.warning("an event of an unknown kind: %s", type(event).__name__)

    def alarm(self, alarm: Alarm, what: Happening, who: str | None) -> None:
        """Log a change of an alarm."""
        about = {"event": "alarm", "system": alarm.system, "site": alarm.site, "who": who or "service"}
        level = logging.WARNING if what == "raised" else logging.INFO
        self._log.log(level, "alarm %s %s: %s", alarm.key, what, alarm.text, extra=about)

    def close(self) -> None:
        """Nothing is under way."""
