"""Run folders: where a run keeps what it made, written so that a kill leaves nothing half-written, and held by one run.

Shared by the trainer, the evaluator and the exporter. What goes into the files is theirs to say.
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

from envs.core import files
from envs.core.errors import CityloopError
from envs.core.files import write_text, write_whole
from envs.core.scenario import Scenario

RUNS = Path("runs")
"""Where runs lie, from the folder in which the command was given."""

LOCK = "run.lock"
"""The file in a run folder that the process which writes there holds locked; the lock ends with the process."""

SPEED = "time/agent_steps_per_s"
"""Tag of an update's decisions of agents over the seconds that it took to sample and to learn; validation is apart."""

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
    """What a result was made with: Python, the packages that decide it, and the commit (``-dirty``: with changes)."""
    found = {"python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"commit": _commit()}


def _commit() -> str:
    home = Path(__file__).resolve().parent.parent
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
    """This moment as ``YYYYmmdd-HHMMSS``, local time."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a learner's state as torch has it, whole or not at all.

    Of a file that torch itself writes to a full disk, the error does not say so.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def write_yaml(path: Path, content: Any) -> None:
    """Write YAML whole or not at all, keys in their order."""
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def refuse_taken(path: Path, whole: bool = False) -> None:
    """Make sure that a folder can be made at a path; nothing is ever overwritten.

    Args:
        path: of the folder.
        whole: whether a finished folder takes the place of an empty one that is there, see `staged`.

    Raises:
        CityloopError: if something is there already, or one may not write there.
    """
    if whole and path.is_dir() and path.samefile(Path.cwd()):
        raise CityloopError(f"{path} is the folder that you are in, and a finished one takes its place: give a new one")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CityloopError(f"{path} exists already: give a new or an empty folder")
    files.make_folder(path.parent, "folder")


def free_path(parent: Path, name: str) -> Path:
    """The first of ``name``, ``name-2``, ``name-3``, … that is not there yet."""
    tries = (parent / (name if k == 1 else f"{name}-{k}") for k in itertools.count(1))
    return next(path for path in tries if not path.exists())


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder of the first free of these names (`free_path`): others may do so at the same moment.

    Raises:
        CityloopError: if one may not write there.
    """
    files.make_folder(parent, "folder")
    while True:
        folder = free_path(parent, name)
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``path`` when all went well, and vanishes otherwise.

    Raises:
        CityloopError: if ``path`` is taken, or the folder that this process is in.
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
    """One run's folder, held by this process until it is closed or ends. Use ``with``.

    Attributes:
        path: ``runs/<system>/<scenario>/<algo>/<stamp>-s<seed>/``, or what the user gave.
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
            scenarios: what is run on; several of them share a folder named by their number.
            algo: e.g. ``mappo``.
            seed: the run's seed.
            out: a new or empty folder to use instead of one under ``root``.
            root: where runs lie.

        Raises:
            CityloopError: if ``out`` holds something already.
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
        """An existing run's folder, to go on writing there.

        Raises:
            CityloopError: if it does not exist, is no run's folder, or another run holds it.
        """
        if not (path / LOCK).is_file():
            raise CityloopError(f"{path} is no run folder: give one that `cityloop train` made")
        return cls(path)

    def close(self) -> None:
        """Let go of the folder. May be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close()
        if error is not None and [each.name for each in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink()  # refused before it began: nothing is left, or the empty folder that was given
            if self._made:
                self.path.rmdir()


def tensorboard(folder: Path, purge_after: int | None = None) -> Any:
    """A TensorBoard writer (`torch.utils.tensorboard.SummaryWriter`) into a folder; close it.

    Args:
        folder: where events go.
        purge_after: events of later steps that are there already do not count any more.
    """
    from torch.utils.tensorboard import SummaryWriter

    if not isinstance(threading.excepthook, _PassedOn):
        threading.excepthook = _PassedOn(threading.excepthook)
    return SummaryWriter(str(folder), purge_step=None if purge_after is None else purge_after + 1)


class _PassedOn:
    """A hook for errors of threads that leaves out those of TensorBoard's: whoever writes or flushes next raises them.

    Args:
        before: the hook for all others.
    """

    def __init__(self, before: Callable[[threading.ExceptHookArgs], object]):
        self._before = before

    def __call__(self, failed: threading.ExceptHookArgs) -> None:
        if type(failed.thread).__module__ != "tensorboard.summary.writer.event_file_writer":
            self._before(failed)
