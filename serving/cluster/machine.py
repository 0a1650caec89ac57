"""Requirements on the machine before Ray starts: the limit of open files, and space for the service's own folder."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from envs.core.errors import CityloopError
from envs.core.machine.sockets import SHORT

LEAST_FILES = 256
"""Files that Ray and HAProxy have open at a time, with room for a few clients: with fewer they wait for ever."""


def check_files() -> None:
    """Check the limit of open files.

    Raises:
        CityloopError: if this machine allows for too few.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        raise CityloopError(f"a process may open {soft} files here: allow for more with 'ulimit -n 4096'")


LEAST_ROOM_MB = 20
"""Space for Ray, HAProxy and their logs, with a reserve: without space Ray tries for ever."""


class OwnFolder:
    """A folder for the service's own files while it runs.

    No other user of the machine may enter it: HAProxy's socket there gives its listening sockets to whoever asks. It
    is locked against `systemd-tmpfiles`, which removes files there that have not changed for days.

    Attributes:
        path: of it.

    Raises:
        CityloopError: if there is no room for it, or it cannot be made.
    """

    def __init__(self) -> None:
        free_mb = shutil.disk_usage(SHORT).free / 1e6
        if free_mb < LEAST_ROOM_MB:
            raise CityloopError(
                f"folder {SHORT} has {free_mb:.1f} MB left, and Ray needs {LEAST_ROOM_MB}: make room there"
            )
        try:
            self.path = Path(tempfile.mkdtemp(prefix="cl-", dir=SHORT))
            self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise CityloopError(f"folder {SHORT} cannot be written ({error.strerror}): see that it can") from None
        with suppress(OSError):  # no file system for locks
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def check(self) -> None:
        """Make sure that it still exists: without it no process of Ray can be started again.

        Raises:
            CityloopError: if it is not.
        """
        with suppress(OSError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._handle)):
                return
        raise CityloopError(
            f"folder {self.path} was removed, in which Ray and HAProxy work: start the service anew, and let whatever "
            f"cleans {SHORT} spare it"
        )

    def remove(self) -> None:
        """Remove it. May be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


MOST_CONNECTIONS = 4096
"""Connections that HAProxy keeps at a time, as Ray Serve sets it."""

FILES_EACH, FILES_BESIDE = 2.5, 64
"""Files that HAProxy asks for: for each connection, and besides."""


def connections() -> int:
    """Number of connections that HAProxy may keep: it does not start if it might run out of files with them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, int((most - FILES_BESIDE) / FILES_EACH))
