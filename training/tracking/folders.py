"""Run folders: written so that a kill leaves no partial file, and locked by one run at a time.

They are shared by the trainer, the evaluator and the exporter, which determine the contents of the files.
"""

from __future__ import annotations

import io
import itertools
import os
import platform
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import yaml

from envs.core.errors import CityloopError
from envs.core.machine import files
from envs.core.machine.files import write_text, write_whole
from envs.core.scenario import Scenario

RUNS = Path("runs")
"""Folder of all runs, relative to the working directory."""

LOCK = "run.lock"
"""Lock file of a run folder, locked by the process that writes there; the lock ends with the process."""

SPEED = "time/agent_steps_per_s"
"""Tag of agents' decisions per second of an update, sampling and learning included, validation excluded."""

PACKAGES = {
    "cityloop": "cityloop",
    "numpy": "numpy",
    "gymnasium": "gymnasium",
    "sumo": "libsumo",
    "swmm": "swmm-toolkit",
    "torch": "torch",
    "ray": "ray",
}
"""Name in `versions` → distribution."""


def versions() -> dict[str, str]:
    """Versions behind a result: Python, the packages that affect it, and the commit (``-dirty``: with changes)."""
    found = {"python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"commit": _commit()}


def _commit() -> str:
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return "unknown"
    git = ["git", "-C", str(home)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changes = [*git, "status", "--porcelain", "--untracked-files=no"]
        dirty = subprocess.run(changes, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("-dirty" if dirty.strip() else "")


def stamp() -> str:
    """The current local time as ``YYYYmmdd-HHMMSS``."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a learner's state in torch's format, atomically.

    It is serialised in memory first, because torch's own error on a full disk does not name the cause.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file atomically, with keys in the given order."""
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def refuse_taken(path: Path, whole: bool = False) -> None:
    """Check that a folder can be made at a path without overwriting anything.

    Args:
        path: path of the folder.
        whole: whether a finished folder replaces an empty one at the path, see `staged`.

    Raises:
        CityloopError: if the path is taken, or not writable.
    """
    if whole and path.is_dir() and path.samefile(Path.cwd()):
        raise CityloopError(f"{path} is the folder that you are in, and a finished one takes its place: give a new one")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CityloopError(f"{path} exists already: give a new or an empty folder")
    files.make_folder(path.parent, "folder")


def free_path(parent: Path, name: str) -> Path:
    """The first of ``name``, ``name-2``, ``name-3``, … that does not exist."""
    tries = (parent / (name if k == 1 else f"{name}-{k}") for k in itertools.count(1))
    return next(path for path in tries if not path.exists())


def new_folder(parent: Path, name: str) -> Path:
    """Create a folder with the first free name (`free_path`), also if other processes do so at the same time.

    Raises:
        CityloopError: if the parent is not writable.
    """
    files.make_folder(parent, "folder")
    while True:
        folder = free_path(parent, name)
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` on success, and is removed otherwise.

    Raises:
        CityloopError: if ``path`` is taken, or is the working directory.
    """
    refuse_taken(path, whole=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        yield draft
        refuse_taken(path, whole=True)
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class RunFolder:
    """Folder of a run, locked by this process until it is closed or the process ends. Use ``with``.

    Attributes:
        path: ``runs/<system>/<scenario>/<algo>/<stamp>-s<seed>/``, or the user's choice.
    """

    def __init__(self, path: Path, made: bool = False):
        self.path, self._made = path, made
        try:
            self._lock = files.hold(path / LOCK)
        except files.Held as held:
            raise CityloopError(
                f"run folder {path} is held by another run (process {held.holder}): wait for it to end, or stop it"
            ) from None

    @classmethod
    def create(
        cls, scenarios: Sequence[Scenario], algo: str, seed: int, out: Path | None = None, root: Path = RUNS
    ) -> Self:
        """A new run's folder.

        Args:
            scenarios: scenarios of the run; several of them share a folder named by their number.
            algo: algorithm, e.g. ``mappo``.
            seed: seed of the run.
            out: a new or empty folder; default: a new one under ``root``.
            root: folder of all runs.

        Raises:
            CityloopError: if ``out`` is not empty.
        """
        if out is None:
            name = scenarios[0].name if len(scenarios) == 1 else f"{len(scenarios)}-scenarios"
            return cls(new_folder(root / scenarios[0].system / name / algo, f"{stamp()}-s{seed}"), made=True)
        refuse_taken(out)
        made = not out.exists()
        out.mkdir(exist_ok=True)
        return cls(out, made)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the folder of an existing run, to continue writing there.

        Raises:
            CityloopError: if it does not exist, is not the folder of a run, or is locked by another run.
        """
        if not any((path / name).is_file() for name in ("config.yaml", LOCK)):  # a copy may leave out the lock
            raise CityloopError(f"{path} is no run folder: give one that `cityloop train` made")
        return cls(path)

    def close(self) -> None:
        """Release the folder. May be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close()
        if error is not None and [each.name for each in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink()  # refused before the start: leave no new folder
            if self._made:
                self.path.rmdir()


def tensorboard(folder: Path, purge_after: int | None = None) -> Any:
    """A TensorBoard writer (`torch.utils.tensorboard.SummaryWriter`) into a folder; close it.

    Args:
        folder: folder of the events.
        purge_after: existing events of later steps are discarded.
    """
    from torch.utils.tensorboard import SummaryWriter

    if not isinstance(threading.excepthook, _PassedOn):
        threading.excepthook = _PassedOn(threading.excepthook)
    return SummaryWriter(str(folder), purge_step=None if purge_after is None else purge_after + 1)


class _PassedOn:
    """Exception hook for threads that ignores TensorBoard's, because the next write or flush raises them again.

    Args:
        before: the hook for all other threads.
    """

    def __init__(self, before: Callable[[threading.ExceptHookArgs], object]):
        self._before = before

    def __call__(self, failed: threading.ExceptHookArgs) -> None:
        if type(failed.thread).__module__ != "tensorboard.summary.writer.event_file_writer":
            self._before(failed)
