"""Until when numba keeps what it compiled: a service need not compile for a minute at every start."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def forget_stale(package: Path) -> None:
    """Remove what numba keeps beside a package's code, as far as any of its sources is newer.

    By itself numba asks only whether the file in which a function stands has changed: what the function calls, or a
    constant that it was compiled with, may be in another. Call it before anything of the package is compiled. It takes
    less than a millisecond; what is removed, whoever needs it compiles again.
    """
    with suppress(OSError):  # an installation that may only be read does not change
        newest = max(source.stat().st_mtime for source in package.rglob("*.py"))
        if newest > time.time():  # a clock that was wrong: then nothing would ever last
            return
        for index in package.rglob("__pycache__/*.nbi"):
            with suppress(FileNotFoundError):  # another process was quicker
                if index.stat().st_mtime < newest:
                    index.unlink()
