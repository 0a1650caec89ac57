"""What must outlive the process: roles, who is in charge, overrides. One JSON file a site, replaced as a whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pydantic import Field, ValidationError

from envs.core.errors import CityloopError
from envs.core.files import make_folder, write_bytes
from envs.core.frozen import Frozen, first_problem
from envs.core.site import Site
from serving.charge.overrides import Override
from serving.charge.roles import Roles


class SiteState(Frozen):
    """The state of a site.

    Attributes:
        site_hash: of the site that it belongs to; overrides of another site mean nothing here.
        configured: the roles that the configuration asked for when it was last obeyed.
        roles: the roles now.
        canary: whether the challenger acts in the current episode.
        episode: the name of the current episode, if it has one.
        tripped: why the fallback decides instead of who is in charge; None if it does not.
        overrides: agent → the command by hand.
    """

    site_hash: str
    configured: Roles
    roles: Roles
    canary: bool = False
    episode: str | None = None
    tripped: str | None = None
    overrides: dict[str, Override] = Field(default_factory=dict)


class Store:
    """Keeps the state of one site in a file; without a folder, only as long as the process lives.

    Args:
        folder: the service's state folder.
        site: the site.

    Raises:
        CityloopError: if the folder cannot be written, or the file is none.
    """

    def __init__(self, folder: Path | None, site: Site):
        self._path = None if folder is None else folder / "sites" / site.system / f"{site.name}.json"
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        if self._path is not None:
            make_folder(self._path.parent, "state folder")

    def load(self) -> SiteState | None:
        """The state as it was last saved; None if it never was.

        Raises:
            CityloopError: if the file cannot be read.
        """
        if self._path is None:
            return None
        with self._lock:
            try:
                self._seen = self._stamp()
                return SiteState.model_validate_json(self._path.read_bytes())
            except FileNotFoundError:
                return None
            except OSError as error:
                raise CityloopError(
                    f"state file {self._path} cannot be read ({error.strerror}): move it away"
                ) from None
            except ValidationError as error:
                problem = first_problem(error)
                raise CityloopError(f"state file {self._path}: {problem}; or move the file away") from None

    def save(self, state: SiteState) -> None:
        """Replace the file, whole or not at all, and wait until it is on the disk.

        Raises:
            OSError: if it cannot be written.
        """
        if self._path is None:
            return
        with self._lock:
            write_bytes(self._path, state.model_dump_json(indent=1).encode(), mode=0o600)
            self._seen = self._stamp()

    def changed(self) -> bool:
        """Whether somebody else has replaced the file: another process of the same service."""
        if self._path is None or self._lock.locked():  # this process is at it itself
            return False
        stamp = self._stamp()
        return stamp is not None and stamp != self._seen

    def writable(self) -> bool:
        """Whether the folder can be written, at this moment."""
        return self._path is None or os.access(self._path.parent, os.W_OK)

    def _stamp(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
