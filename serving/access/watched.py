"""A file that lists who is let in, read again as soon as it has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from envs.core.errors import CityloopError

LOGGER = logging.getLogger("cityloop.access")

Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """What a file holds now.

    One that is gone lets nobody in. One that has been spoilt leaves what it held before in force, and says so: a slip
    of the pen must not take a city's plants away from their policies.

    Args:
        path: of the file.
        read: makes its content, or raises `CityloopError`.
        what: it is called so in messages.

    Attributes:
        content: what was read; None if the file is gone.
        problem: what is wrong with it since it was last read well, if anything.

    Raises:
        CityloopError: if the file cannot be used at the start.
    """

    def __init__(self, path: Path, read: Callable[[Path], Content], what: str):
        self._path, self._read, self._what = path, read, what
        self._mark = _mark(path)
        self.content: Content | None = read(path)
        self.problem: str | None = None

    def look(self) -> Content | None:
        """Its content, read again if the file has changed."""
        mark = _mark(self._path)
        if mark != self._mark:
            self._mark = mark
            self._take_up(gone=mark is None)
        return self.content

    def _take_up(self, gone: bool) -> None:
        if gone:
            self.content, self.problem = None, f"{self._what} {self._path} is gone: nobody is let in by it"
        else:
            try:
                self.content, self.problem = self._read(self._path), None
                LOGGER.info("%s was read again: %s", self._what, self._path)
            except CityloopError as error:
                self.problem = f"{error}; what it held before it was changed holds"
        if self.problem:
            LOGGER.error(self.problem)


def _mark(path: Path) -> tuple[int, ...] | None:
    """What differs as soon as the file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
