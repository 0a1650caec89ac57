"""Where numba keeps what it compiled, and until when: a service need not compile for a minute at every start."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
"""The environment variable that names the folder to numba, in this process and its children."""


def find_cache() -> None:
    """Name a folder of our own where numba would find none and refuse to work; call it before numba is imported.

    By itself it keeps things beside the code, else in the user's cache. An installation that may only be read, run by a
    user without a home, has neither.
    """
    code, home = Path(__file__).parents[1], Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if VARIABLE in os.environ or os.access(code, os.W_OK) or _can_be_made(home):
        return
    with suppress(OSError):  # nowhere to write: numba says so where it is needed
        os.environ[VARIABLE] = str(_own_folder())


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


def _can_be_made(folder: Path) -> bool:
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    return folder.is_absolute() and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """One for all processes of this user; a fresh one if somebody else could write there, as what lies in it is run."""
    folder = Path(tempfile.gettempdir()) / f"cityloop-numba-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    return Path(tempfile.mkdtemp(prefix="cityloop-numba-"))
