"""Cleaning up after a service that was killed: a small process that outlives it by seconds.

SIGKILL leaves a process no time to end what it started. Ray's processes notice and end by themselves; HAProxy does not,
and would keep the port, so that the service could not be started again. This file is also the program of that process,
so it needs nothing but Python.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

END_S = 3.0
"""Seconds for processes to end by themselves."""


class Guardian:
    """A process that waits for this one to end; `dismiss` it where this one has cleaned up itself.

    It has a session of its own, so that what ends a terminal's or a supervisor's group of processes spares it.

    Args:
        folder: working folder of all processes that must not outlive this one; it is removed, too.
    """

    def __init__(self, folder: Path):
        # Nobody else has the other end of its standard input: it ends when this process does, however that ends.
        program = [sys.executable, "-I", "-S", __file__, str(folder)]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Id of the guarding process."""
        return self._process.pid

    def dismiss(self) -> None:
        """End it; nothing is cleaned up. May be called twice."""
        self._process.kill()
        self._process.communicate()


def end_users(folder: Path) -> None:
    """Wait for the processes that work in a folder to end, and end the remaining ones.

    Ray's agents lose their parent where Ray is stopped while it starts; by their log files they are still found.
    """
    deadline = time.monotonic() + END_S
    while users := _users(folder):
        if time.monotonic() > deadline:
            for pid in users:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _users(folder: Path) -> list[int]:
    """Other processes that have a file of a folder open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) != os.getpid() and any(file.startswith(f"{folder}/") for file in _open_files(entry)):
            found.append(int(entry.name))
    return found


def _open_files(entry: Path) -> Iterator[str]:
    """Files that a process has open; none if it has ended, or is somebody else's."""
    with suppress(OSError):
        for link in (entry / "fd").iterdir():
            with suppress(OSError):  # it has just closed this one
                yield os.readlink(link)


def _wait(folder: Path) -> None:
    sys.stdin.buffer.read()
    end_users(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _wait(Path(sys.argv[1]))
