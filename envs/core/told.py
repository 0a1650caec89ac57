"""What is wrong with a user's files is said once, and not again by each of the processes that read them."""

from __future__ import annotations

import logging
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path


@lru_cache(maxsize=1024)
def warn_once(logger: logging.Logger, path: Path, sentence: str) -> None:
    """Warn, unless it was said of that file before, or this process was started by one that has said so.

    Args:
        logger: whose warning it is.
        path: the file that it is about.
        sentence: the warning.
    """
    if parent_process() is None:
        logger.warning("%s", sentence)
