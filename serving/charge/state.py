"""State that must outlive the process: roles, rollback, overrides. One JSON file a site, replaced as a whole.

In a rolling update two processes serve a site and write its file. Each writes its own changes alone, so that neither
undoes those of the other.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from pydantic import Field, ValidationError

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem
from envs.core.machine.files import make_folder, write_bytes
from envs.core.site import Site
from serving.charge.overrides import Override
from serving.charge.roles import Roles


class SiteState(Frozen):
    """The state of a site.

    Attributes:
        site_hash: of the site; overrides of another site mean nothing here.
        configured: roles of the configuration when it was last applied.
        roles: the roles now.
        canary: whether the challenger acts in the current episode.
        episode: the name of the current episode, if it has one.
        tripped: reason why the fallback decides instead of the controller in charge; None if it does not.
        overrides: agent → the command by hand.
        started: roles that a process was started with when they were last applied. A deployment may have asked for
            others since, while it ran; None: not recorded.
        folder: the state folder that it was saved in; None: not recorded.
    """

    site_hash: str
    configured: Roles
    roles: Roles
    canary: bool = False
    episode: str | None = None
    tripped: str | None = None
    overrides: dict[str, Override] = Field(default_factory=dict)
    started: Roles | None = None
    folder: str | None = None


ROLES = ("configured", "roles")
"""Fields of the roles."""

CHARGE = ("canary", "tripped")
"""Fields of the controller in charge; they mean nothing with other roles."""


def merged(before: SiteState, after: SiteState, found: SiteState | None) -> SiteState:
    """Merge one process's change of state with a state that others have saved meanwhile.

    Fields that this process has not changed are taken from the saved state; where both changed a field, its own holds.
    """
    if found is None or after.site_hash != before.site_hash:
        return after
    if found.site_hash != before.site_hash:  # a process that serves another site by this name came later
        return found
    if _differing(before, after, ROLES):
        ours = [*ROLES, *CHARGE]
    else:
        ours = [] if _differing(before, found, ROLES) else _differing(before, after, CHARGE)
    ours += _differing(before, after, ("episode", "started", "folder"))
    overrides = _merged_overrides(before.overrides, after.overrides, found.overrides)
    return found.model_copy(update={name: getattr(after, name) for name in ours} | {"overrides": overrides})


def _differing(one: SiteState, other: SiteState, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _merged_overrides(
    before: Mapping[str, Override], after: Mapping[str, Override], found: Mapping[str, Override]
) -> dict[str, Override]:
    """Commands by hand of both; a new one takes precedence over the end of an old one, which may just have expired."""
    held = dict(found)
    for agent in before.keys() | after.keys():
        old, new = before.get(agent), after.get(agent)
        if new is not None and new != old:
            held[agent] = new
        elif new is None and held.get(agent) == old:
            held.pop(agent, None)
    return held


Relocate = Callable[[str], str]
"""A controller's name, or the path of a bundle as it was → where it is."""


def relocation(before: str, after: str) -> Relocate:
    """New paths of bundles, if the state folder and its surroundings have been moved, or restored from a backup.

    Paths are saved in full. A path below the old place is mapped to the new one, if the bundle is there.

    Args:
        before: old path of the state folder.
        after: its present path.
    """
    old, new = Path(before), Path(after)
    while old.name == new.name != "":
        old, new = old.parent, new.parent

    def relocate(ref: str) -> str:
        if not Path(ref).is_relative_to(old):
            return ref
        found = new / Path(ref).relative_to(old)
        return str(found) if found.is_dir() else ref

    return relocate


def relocated(roles: Roles, relocate: Relocate) -> Roles:
    """Roles with the new paths of their bundles."""
    challenger = None if roles.challenger is None else relocate(roles.challenger)
    changes = {"champion": relocate(roles.champion), "challenger": challenger}
    return roles.model_copy(update=changes | {"former": tuple(map(relocate, roles.former))})


def moved(state: SiteState, folder: str) -> SiteState:
    """A state with the present paths of bundles, if the state folder has been moved."""
    if state.folder is None or state.folder == folder:
        return state
    relocate = relocation(state.folder, folder)
    started = None if state.started is None else relocated(state.started, relocate)
    changes = {"configured": relocated(state.configured, relocate), "roles": relocated(state.roles, relocate)}
    return state.model_copy(update=changes | {"started": started, "folder": folder})


class StateStore:
    """Keeps the state of one site in a file; without a folder, only as long as the process lives.

    Args:
        folder: the service's state folder.
        site: the site.
        keep: whether to write; otherwise the state is only read, and no folder is made.

    Attributes:
        folder: the state folder's path from the root; None: there is none.

    Raises:
        CityloopError: if the folder cannot be written, or the file is not a state file.
    """

    def __init__(self, folder: Path | None, site: Site, keep: bool = True):
        self._path = None if folder is None else folder / "sites" / site.system / f"{site.name}.json"
        self.folder = None if folder is None else os.path.realpath(folder)  # as bundles are kept
        self._keep = keep and self._path is not None
        self._relocate: Relocate = str
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._unwritten: list[tuple[SiteState, SiteState]] = []
        if self._path is not None and keep:
            make_folder(self._path.parent, "state folder")

    def load(self) -> SiteState | None:
        """The last saved state, with changes that are still to be written; None if there is none.

        Raises:
            CityloopError: if the file cannot be read.
        """
        if self._path is None:
            return None
        unwritten = list(self._unwritten)  # first: meanwhile a thread may write them, and they may be merged twice
        self._seen = self._stamp()
        state = self._read(self._path)
        for before, after in unwritten:
            state = merged(before, after, state)
        return state

    def note(self, before: SiteState, after: SiteState) -> None:
        """Queue a change, which stays queued until it is written."""
        if self._keep:
            self._unwritten.append((before, after))

    def write(self) -> None:
        """Write all queued changes, whole or not at all, and wait until they are on the disk.

        Raises:
            OSError: if they cannot be written.
        """
        if self._path is None or not self._keep:
            return
        with self._lock:
            changes = list(self._unwritten)
            try:
                with _alone_in(self._path.parent):
                    self._merge(self._path, changes)
            except OSError:
                if changes and all(one[1] == following[0] for one, following in pairwise(changes)):
                    self._unwritten[: len(changes)] = [(changes[0][0], changes[-1][1])]
                raise
            del self._unwritten[: len(changes)]

    def _merge(self, path: Path, changes: list[tuple[SiteState, SiteState]]) -> None:
        own = self._stamp() == self._seen
        try:
            found = self._read(path)
        except CityloopError:  # nothing of it can be kept
            found = None
        state = found
        for before, after in changes:
            state = merged(before, after, state)
        if state is None or state == found:
            return
        write_bytes(path, state.model_dump_json(indent=1).encode(), mode=0o600)
        if own:
            self._seen = self._stamp()

    def _read(self, path: Path) -> SiteState | None:
        found = _read(path)
        if found is None or self.folder is None:
            return None
        if found.folder is not None and found.folder != self.folder:
            self._relocate = relocation(found.folder, self.folder)
        return moved(found, self.folder)

    def asked_before(self, started: Roles, saved: SiteState) -> bool:
        """Whether a configuration asks for the same roles as when a state was saved, even if it and bundles have moved.

        Args:
            started: roles that it asks for.
            saved: the loaded state.
        """
        before = saved.started or saved.configured
        if saved.folder is None:  # then a bundle beside the configuration was known by its bare name
            bare = relocated(started, lambda ref: Path(ref).name if Path(ref).name in before.refs else ref)
            return before in (started, bare)
        return before in (started, relocated(started, self._relocate))

    def changed(self) -> bool:
        """Whether another process of the same service has replaced the file."""
        if self._path is None or self._lock.locked():  # this process is writing it
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


def _read(path: Path) -> SiteState | None:
    try:
        return SiteState.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):  # whether it can be made is for others to say
        return None
    except OSError as error:
        raise CityloopError(f"state file {path} cannot be read ({error.strerror}): move it away") from None
    except ValidationError as error:
        problem = first_problem(error)
        raise CityloopError(
            f"state file {path} cannot be used ({problem}): correct it, or move the file away"
        ) from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against writes of other processes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
