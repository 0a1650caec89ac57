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
    """The present content of a file of keys.

    A file that is gone lets nobody in. A file that cannot be read any more leaves its last content in force, and
    reports the fault: a typing error must not take a city's plants away from their policies.

    Args:
        path: of the file.
        read: makes its content, or raises `CityloopError`.
        what: its name in messages.

    Attributes:
        content: as last read; None if the file is gone.
        problem: its fault since it was last read well; None if there is none.

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
    """A mark that changes whenever the file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
