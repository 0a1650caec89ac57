"""Locks on the files that one service alone may write: a second service is refused before it has written anything.

A lock ends with the process that holds it, however that ends, so none is stale. The service's own processes take none:
in a rolling update two of them share all of this.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Self

import sqlalchemy as sql

from envs.core.errors import CityloopError
from envs.core.machine.files import Held, hold
from serving.booking.connection import file_of
from serving.booking.database import database_of
from serving.config import ServiceConfig

LOCK = "service.lock"
"""The file in each folder of a service that it holds."""

LOCK_END = "-lock"
"""End of the name of a database's lock file, after the database's own."""


def check_held(config: ServiceConfig) -> None:
    """Refuse what another service holds, at once: opening many sites takes a minute. Nothing is made or kept here.

    Raises:
        CityloopError: if another service holds some of it.
    """
    for path, called in _files(config).items():
        if path.exists():
            with suppress(OSError):
                os.close(_hold(path, called))


class Holding:
    """Locks on everything that a service writes; use ``with``, or close it.

    Args:
        config: of the service.

    Raises:
        CityloopError: if another service holds some of it.
    """

    def __init__(self, config: ServiceConfig):
        self._handles: dict[Path, int] = {}
        self.extend(config)

    def extend(self, config: ServiceConfig) -> None:
        """Hold what another configuration writes, too.

        Raises:
            CityloopError: if another service holds some of it; then it is as before.
        """
        before = set(self._handles)
        try:
            for path, called in _files(config).items():
                if path not in before:
                    # An error: no locks on this file system; or the file cannot be made, which its writer reports.
                    with suppress(OSError):
                        self._handles[path] = _hold(path, called)
        except CityloopError:
            self._release(self._handles.keys() - before)
            raise

    def limit(self, config: ServiceConfig) -> None:
        """Hold no longer what a configuration does not write."""
        self._release(self._handles.keys() - _files(config).keys())

    def close(self) -> None:
        """Hold nothing. May be called twice."""
        self._release(set(self._handles))

    def _release(self, paths: Collection[Path]) -> None:
        for path in paths:
            os.close(self._handles.pop(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hold(path: Path, called: str) -> int:
    try:
        return hold(path)
    except Held as found:
        raise CityloopError(
            f"{called} is in use by another service (process {found.holder}): stop that one, or give another"
        ) from None


def _files(config: ServiceConfig) -> dict[Path, str]:
    """File to hold → name for messages. Each file once: another handle of the same file would be refused."""
    folders = {"state folder": config.state}
    if config.audit is not None:
        folders |= {"audit folder": config.audit.folder, "anchors folder": config.audit.anchors}
    found = {folder.resolve() / LOCK: f"{called} {folder}" for called, folder in folders.items() if folder is not None}
    for site in config.sites:
        file = None
        with suppress(sql.exc.ArgumentError):  # no URL, which whoever opens it says
            file = None if site.booking is None else file_of(sql.make_url(database_of(site.booking)))
        if file is not None:
            found.setdefault(file.resolve().with_name(file.resolve().name + LOCK_END), f"database {file}")
    return found
