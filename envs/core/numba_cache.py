"""Invalidation of numba's on-disk cache. Caching saves a service a minute of compilation at every start."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def forget_stale(package: Path) -> None:
    """Remove numba's cache entries beside a package's code that are older than any source of the package.

    Numba itself checks only the file that defines the function. Functions that it calls and constants that it was
    compiled with may lie in other files. Call this before anything of the package is compiled; it takes less than a
    millisecond. Removed entries are recompiled on demand.
    """
    with suppress(OSError):  # a read-only installation does not change
        newest = max(source.stat().st_mtime for source in package.rglob("*.py"))
        if newest > time.time():  # the clock was wrong: no entry would ever be new enough
            return
        for index in package.rglob("__pycache__/*.nbi"):
            with suppress(FileNotFoundError):  # another process has removed it
                if index.stat().st_mtime < newest:
                    index.unlink()
