"""The real thing for tests: the service in a process of its own, over Ray Serve, and gone afterwards."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.cluster.processes import alive, family

START_S, STOP_S = 300, 60
"""Far more than it takes: on a busy machine a service starts Ray a second time."""

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


def running(content: dict[str, Any], log: Path | None = None) -> AbstractContextManager[Running]:
    """Serve a configuration."""
    return started([sys.executable, "-c", PROGRAM, json.dumps(content, default=str)], log)


@contextmanager
def started(line: Sequence[str], log: Path | None = None) -> Iterator[Running]:
    """Run a command that serves, and says so as `cityloop serve --json` does."""
    with open(log or os.devnull, "wb") as errors:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors if log else None)
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


LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""Addresses of this machine alone, as `listeners` gives them: IPv4, IPv4 in IPv6, IPv6."""


def listeners(pids: list[int]) -> dict[str, str]:
    """Address → program of everything that these processes listen on."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[fields[9]] = fields[1].split(":")[0]
    found = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue  # it has just ended
        for link in links:
            inode = link.removeprefix("socket:[").removesuffix("]")
            if inode in sockets:
                found[f"{name} {inode}"] = sockets[inode]
    return found
