"""Where what can be made again is kept: networks that were generated, what numba compiled, matplotlib's fonts."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

NUMBA, MATPLOTLIB = "NUMBA_CACHE_DIR", "MPLCONFIGDIR"
"""The environment variables that name folders to these two, in this process and its children."""

CACHE = "CITYLOOP_CACHE"
"""Environment variable: the folder that a user wants for all of this."""


def find_caches() -> None:
    """Name folders of our own to numba and matplotlib where they would find none; call it before they are imported.

    By itself numba keeps things beside the code, else in the user's cache, or refuses to work; matplotlib keeps them
    where the user's settings are, or looks for all fonts anew in every process. An installation that may only be read,
    run by a user without a home, has none of these.
    """
    code, settings = Path(__file__).parents[1], Path(os.environ.get("XDG_CONFIG_HOME") or _home(".config"))
    places = (NUMBA, "numba", (code, _user_cache())), (MATPLOTLIB, "matplotlib", (settings,))
    for variable, name, usual in places:
        if variable not in os.environ and not any(can_be_made(folder) for folder in usual):
            with suppress(OSError):  # nowhere to write: they say so where it matters
                os.environ[variable] = str(cache_folder() / name)


def cache_folder() -> Path:
    """``$CITYLOOP_CACHE``, else ``cityloop`` in the user's cache, else one of the user's own among temporary folders.

    It may not exist yet.

    Raises:
        OSError: if nothing can be written anywhere.
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
    """Whether this user may write in a folder, or make it where it is not there."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    return folder.is_absolute() and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """One for all processes of this user; a fresh one if somebody else could write there, as what lies in it is run."""
    folder = Path(tempfile.gettempdir()) / f"cityloop-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    return Path(tempfile.mkdtemp(prefix="cityloop-"))
