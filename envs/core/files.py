"""Files and folders replaced as a whole: whoever reads one sees the old content or the new, after a power cut too.

And what was read, kept until a file is changed.
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
"""How a file ends that is not finished; one that lies there was left by a process that was killed."""

HERE, EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux's renameat2."""


def write_bytes(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file, and wait until it is on the disk.

    Args:
        path: of the file; its folder is there.
        content: all of it.
        mode: its permissions, less those that the process withholds (umask).

    Raises:
        OSError: if it cannot be written; an older one stays.
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
            error.filename = str(path)  # nobody else knows of the draft
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes, private: bool = False) -> None:
    """Write a file as `write_bytes` does, and make its folder first.

    Args:
        path: of the file.
        content: all of it.
        private: whether it is for its owner alone.

    Raises:
        OSError: if it cannot be written; an older one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content, mode=0o600 if private else 0o666)


def write_text(path: Path, content: str) -> None:
    """Write text whole or not at all."""
    write_whole(path, content.encode())


def write_json(path: Path, content: Any, private: bool = False) -> None:
    """Write JSON whole or not at all, as `write_whole`. NaN and infinities are refused: they are not JSON."""
    write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(), private)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CityloopError: if it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise CityloopError(f"file {path} cannot be read ({error.strerror}): give an existing JSON file") from None
    except ValueError as error:
        raise CityloopError(f"file {path} is not valid JSON ({error}): it was altered or cut off") from None


def exchange(one: Path, other: Path) -> None:
    """Let two files or folders of a file system change names, both at once where it can.

    Elsewhere a process that is killed in between leaves the second name to nobody, and what had it beside the first.

    Raises:
        OSError: if they cannot be renamed; both are then as they were.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux
    if rename is not None and rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0:
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
    """Let a finished folder take the place of another, or of none, and wait until it is on the disk.

    Args:
        folder: its place.
        new: where it is now, on the same file system; afterwards the other is there, if there was one.

    Raises:
        OSError: if it cannot be; an older one stays.
    """
    sync_tree(new)
    if folder.exists():
        exchange(new, folder)
    else:
        new.rename(folder)
    sync_folder(folder.parent)


def placed(path: Path | str, folder: Path) -> Path:
    """A path that somebody wrote: a relative one starts at the folder, ``~`` at the home that it names.

    Raises:
        CityloopError: if that is nobody's home.
    """
    try:
        return folder / Path(path).expanduser()
    except RuntimeError:
        raise CityloopError(
            f"path {str(path)!r} starts at the home of somebody who has none here: write it out"
        ) from None


def make_folder(folder: Path, called: str) -> None:
    """Make a folder, unless it is there, and make sure that files can be put there.

    Args:
        folder: the folder; those above it are made as well.
        called: what it is to whoever named it, for the message.

    Raises:
        CityloopError: if it cannot be made, or one may not write there.
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
        holder: its number, as far as it is known.
    """

    def __init__(self, holder: str):
        super().__init__(f"held by process {holder}")
        self.holder = holder


def hold(path: Path) -> int:
    """Hold a file until the handle that is returned is closed, or the process ends, however it does.

    Args:
        path: of the file; it is made where it is not there, and tells whose it is.

    Raises:
        Held: if somebody else does.
        OSError: if it cannot be made, or locked.
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
    """Make all that others wrote into a folder last a power cut.

    Raises:
        OSError: if something in it cannot be opened.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Make the names of a folder's files last.

    Raises:
        OSError: if the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def kept(files: Callable[P, Iterable[Path]], most: int = 8) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep what a function makes of files, for the same arguments, until one of the files is changed.

    Args:
        files: arguments → the files that are read.
        most: so many results are kept, those that were last asked for.
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        @lru_cache(maxsize=most)
        def keep(stamps: tuple[tuple[int, int], ...], *args: P.args, **kwargs: P.kwargs) -> T:
            return read(*args, **kwargs)

        @wraps(read)
        def look(*args: P.args, **kwargs: P.kwargs) -> T:
            stamps = tuple(map(_stamp, files(*args, **kwargs)))
            return keep(stamps, *args, **kwargs)  # type: ignore[arg-type] # hashable, or there is nothing to keep it by

        return look

    return decorate


def _stamp(path: Path) -> tuple[int, int]:
    """What tells whether a file was changed: when, and its size; zeros for one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0  # whoever reads it says so
    return found.st_mtime_ns, found.st_size
