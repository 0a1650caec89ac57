"""Warnings about a user's files that are logged once, not again by every process that reads the files."""

from __future__ import annotations

import logging
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path


@lru_cache(maxsize=1024)
def warn_once(logger: logging.Logger, path: Path, sentence: str) -> None:
    """Log a warning about a file, unless it was logged before or this process is a child, whose parent logs it.

    Args:
        logger: logger of the warning.
        path: file that the warning is about.
        sentence: text of the warning.
    """
    if parent_process() is None:
        logger.warning("%s", sentence)
