"""Invalidation of numba's on-disk cache. Caching saves a service a minute of compilation at every start."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def forget_stale(package: Path) -> None:
    """Remove numba's cache entries of a package's code that are older than any source of the package.

    Numba itself checks only the file that defines the function. Functions that it calls and constants that it was
    compiled with may lie in other files. Call this before anything of the package is compiled; it takes a few
    milliseconds. Removed entries are recompiled on demand.
    """
    with suppress(OSError):  # a cache that cannot be written to does not change
        sources = list(package.rglob("*.py"))
        newest = max(source.stat().st_mtime for source in sources)
        if newest > time.time():  # the clock was wrong: no entry would ever be new enough
            return
        for source in {source.parent: source for source in sources}.values():
            for index in _folder_of(source).glob("*.nbi"):
                with suppress(FileNotFoundError):  # another process has removed it
                    if index.stat().st_mtime < newest:
                        index.unlink()


def _folder_of(source: Path) -> Path:
    """Numba's cache folder for the functions of a file: beside it, in the user's cache, or in NUMBA_CACHE_DIR."""
    from numba import njit

    names: dict[str, Any] = {}
    exec(compile("def probe(): ...", source, "exec"), names)  # numba asks in which file a function lies
    try:
        return Path(njit(cache=True)(names["probe"]).stats.cache_path)
    except RuntimeError:  # numba can write nowhere, and will say so
        return source.parent / "__pycache__"
