"""The real thing for tests: the service in a process of its own, over Ray Serve, and gone afterwards."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.cluster.processes import alive, family

START_S, STOP_S = 180, 60
"""Far more than it takes; a machine may be busy with other things."""

PROGRAM = """
import json, sys
from serving.config import ServiceConfig
from serving.run import serve
serve(ServiceConfig.make(json.loads(sys.argv[1])), as_json=True)
"""


@dataclass
class Running:
    """A service: its process, its address, and what it said when it started."""

    process: subprocess.Popen[bytes]
    url: str
    said: dict[str, Any]

    def family(self) -> list[int]:
        return family(self.process.pid)


@contextmanager
def running(content: dict[str, Any], log: Path | None = None) -> Iterator[Running]:
    """Serve a configuration."""
    with open(log or os.devnull, "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(content, default=str)],
            stdout=subprocess.PIPE,
            stderr=errors if log else None,
        )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "it did not start in time"
        line = process.stdout.readline()
        assert line, "it ended before it served"
        said = orjson.loads(line)
        yield Running(process, said["url"], said)
    finally:
        members = family(process.pid)
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            for pid in [process.pid, *members]:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
