"""Closing all open parts of a process as it ends, even if some of them fail."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

LOGGER = logging.getLogger("cityloop.serving")


class Closes(Protocol):
    """Something that can be closed."""

    def close(self) -> None:
        """Release its resources."""


def close_all(parts: Iterable[Closes]) -> None:
    """Close all of them in order, whatever fails: the first error is raised in the end, others are logged."""
    first: Exception | None = None
    for part in parts:
        try:
            part.close()
        except Exception as error:
            if first is not None:
                LOGGER.exception("%s cannot be closed either", type(part).__name__)
            first = first or error
    if first is not None:
        raise first
