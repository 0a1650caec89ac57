"""Atomic replacement of files and folders, file locks, and caching of file contents.

A reader sees either the old content or the new one, even after a power cut. Results computed from files are cached
until one of the files changes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from envs.core.errors import CityloopError

P = ParamSpec("P")
T = TypeVar("T")

DRAFT = ".tmp"
"""Suffix of unfinished files; one that remains was left by a process that was killed."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux's renameat2: paths are relative to the working directory; swap the two."""


def write_bytes(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file atomically, and wait until it is on disk.

    Args:
        path: path of the file, in an existing folder.
        content: the whole content.
        mode: permissions of the file, before the process's umask is applied.

    Raises:
        OSError: if the file cannot be written; an older file then remains.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{DRAFT}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename2 is None:
            error.filename = str(path)  # the draft's name would mean nothing to a caller
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes, private: bool = False) -> None:
    """Create the file's folder if needed, then write the file as `write_bytes` does.

    Args:
        path: path of the file.
        content: the whole content.
        private: whether only the owner may read and write the file.

    Raises:
        OSError: if the file cannot be written; an older file then remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content, mode=0o600 if private else 0o666)


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically, as `write_whole`."""
    write_whole(path, content.encode())


def write_json(path: Path, content: Any, private: bool = False) -> None:
    """Write a JSON file atomically, as `write_whole`. NaN and infinities raise ValueError, because JSON has neither."""
    write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(), private)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CityloopError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise CityloopError(f"file {path} cannot be read ({error.strerror}): give an existing JSON file") from None
    except ValueError as error:
        raise CityloopError(f"file {path} is not valid JSON ({error}): it was altered or cut off") from None


def exchange(one: Path, other: Path) -> None:
    """Swap the names of two files or folders on one file system, atomically where the system supports it.

    Elsewhere, a process that is killed in between leaves no entry under the second name; its former content then lies
    beside the first, under a temporary name.

    Raises:
        OSError: if they cannot be renamed; both are then unchanged.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux
    if rename is not None and rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return
    aside = one.with_name(f".{one.name}.{os.getpid()}.{secrets.token_hex(4)}{DRAFT}")
    other.rename(aside)
    try:
        one.rename(other)
    except BaseException:
        aside.rename(other)
        raise
    aside.rename(one)


def replace_folder(folder: Path, new: Path) -> None:
    """Move a finished folder to its final path, replacing an existing folder, and wait until it is on disk.

    Args:
        folder: final path.
        new: current path of the finished folder, on the same file system; afterwards the replaced folder, if there was
            one, lies there.

    Raises:
        OSError: if the folder cannot be moved; an older folder then remains.
    """
    sync_tree(new)
    if folder.exists():
        exchange(new, folder)
    else:
        new.rename(folder)
    sync_folder(folder.parent)


def path_in(path: Path | str, folder: Path) -> Path:
    """A path from a user's file, with ``~`` expanded.

    Args:
        path: the path as written.
        folder: folder to which a relative path refers.

    Raises:
        CityloopError: if ``~`` names a user who has no home here.
    """
    try:
        return folder / Path(path).expanduser()
    except RuntimeError:
        raise CityloopError(
            f"path {str(path)!r} starts at the home of somebody who has none here: write it out"
        ) from None


def make_folder(folder: Path, called: str) -> None:
    """Create a folder if it does not exist, and check that it is writable.

    Args:
        folder: the folder; missing parents are created as well.
        called: name of the folder in the error message.

    Raises:
        CityloopError: if the folder cannot be created or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = None if os.access(folder, os.W_OK | os.X_OK) else "one may not write there"
    except OSError as error:
        why = error.strerror
    if why is not None:
        raise CityloopError(f"{called} {folder} cannot be made or written ({why}): give one that you may write")


class Held(Exception):
    """Another process holds a file.

    Attributes:
        holder: process id of the holder, or ``unknown``.
    """

    def __init__(self, holder: str):
        super().__init__(f"held by process {holder}")
        self.holder = holder


def hold(path: Path) -> int:
    """Lock a file until the returned file descriptor is closed or the process ends in any way.

    Args:
        path: path of the file; it is created if missing, and holds the process id of its holder.

    Returns:
        The open file descriptor.

    Raises:
        Held: if another process holds the lock.
        OSError: if the file cannot be created or locked.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise Held(holder) from None
    except BaseException:
        os.close(handle)
        raise
    return handle


def sync_tree(folder: Path) -> None:
    """Flush all files and folders below a folder to disk, so that they survive a power cut.

    Raises:
        OSError: if one of them cannot be opened.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Flush the directory entries of a folder to disk.

    Raises:
        OSError: if the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def kept(files: Callable[P, Iterable[Path]], most: int = 8) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator that caches a function's results by its arguments until one of the files that it reads changes.

    Args:
        files: maps the arguments to the files that the function reads.
        most: number of cached results; the least recently used are dropped.
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        @lru_cache(maxsize=most)
        def keep(stamps: tuple[tuple[int, int], ...], *args: P.args, **kwargs: P.kwargs) -> T:
            return read(*args, **kwargs)

        @wraps(read)
        def look(*args: P.args, **kwargs: P.kwargs) -> T:
            stamps = tuple(map(_stamp, files(*args, **kwargs)))
            return keep(stamps, *args, **kwargs)  # type: ignore[arg-type] # arguments must be hashable

        return look

    return decorate


def _stamp(path: Path) -> tuple[int, int]:
    """Modification time in ns and size in bytes of a file, to detect changes; zeros for a missing file."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0  # reading the file will raise the error
    return found.st_mtime_ns, found.st_size
