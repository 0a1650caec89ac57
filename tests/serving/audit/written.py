"""What tests of the log read of what was written, and a process that writes until it is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.audit.query import Wanted, records


def lines(folder: Path, chain: str = "chain-0") -> list[dict[str, Any]]:
    return [record for record in records(folder, Wanted()) if record["chain"] == chain]


def kinds(folder: Path) -> list[str]:
    return [record["kind"] for record in lines(folder)]


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


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
