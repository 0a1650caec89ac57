"""Folders for regenerable caches: generated networks, code compiled by numba, matplotlib's font list."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

NUMBA, MATPLOTLIB = "NUMBA_CACHE_DIR", "MPLCONFIGDIR"
"""Environment variables that set the cache folders of numba and matplotlib, in this process and its children."""

CACHE = "CITYLOOP_CACHE"
"""Environment variable: the folder that a user wants for all of this."""


def find_caches() -> None:
    """Give numba and matplotlib a cache folder if their defaults are not writable. Call it before they are imported.

    By default numba caches beside the code, then in the user's cache folder, and otherwise refuses to work. Matplotlib
    caches beside the user's settings, and otherwise searches for fonts in every process. A read-only installation, run
    by a user without a home, has none of these folders.
    """
    code, settings = Path(__file__).parents[2], Path(os.environ.get("XDG_CONFIG_HOME") or _home(".config"))
    places = (NUMBA, "numba", (code, _user_cache())), (MATPLOTLIB, "matplotlib", (settings,))
    for variable, name, usual in places:
        if variable not in os.environ and not any(can_be_made(folder) for folder in usual):
            with suppress(OSError):  # nowhere to write: both libraries report it when it matters
                os.environ[variable] = str(cache_folder() / name)


def cache_folder() -> Path:
    """The cache folder of this project; it may not exist yet.

    It is ``$CITYLOOP_CACHE``, else ``cityloop`` in the user's cache folder if that is writable, else a private
    temporary folder.

    Raises:
        OSError: if no folder is writable.
    """
    if named := os.environ.get(CACHE):
        return Path(named)
    usual = _user_cache()
    return usual / "cityloop" if can_be_made(usual) else _own_folder()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or _home(".cache"))


def _home(name: str) -> str:
    return os.path.expanduser(f"~/{name}")


def can_be_made(folder: Path) -> bool:
    """Whether this user may write in a folder, or create it if it does not exist."""
    # `Path.exists` raises where a home is closed to its user, as systemd's ProtectHome leaves it.
    there = next((one for one in (folder, *folder.parents) if os.path.exists(one)), folder)
    return folder.is_absolute() and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """A temporary folder shared by all processes of this user.

    If another user could write there, a fresh folder is made instead, because code in the cache is executed.
    """
    folder = Path(tempfile.gettempdir()) / f"cityloop-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    return Path(tempfile.mkdtemp(prefix="cityloop-"))
