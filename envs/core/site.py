"""What is fixed about a plant, as plain data: enough to encode readings and to guard commands, without a simulator."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

from envs.core.frozen import Frozen
from envs.core.readings import Axes


class Site(Frozen):
    """Base of every system's site.

    Attributes:
        system: the system it belongs to.
        name: a name for people and for addresses, e.g. ``cologne8``.
    """

    system: str
    name: str

    @property
    def agents(self) -> tuple[str, ...]:
        """Identifiers of the deciding agents, in the order of every array."""
        raise NotImplementedError

    @property
    def axes(self) -> Axes:
        """Identifiers along every axis that the readings use."""
        raise NotImplementedError

    @property
    def limits(self) -> dict[str, Any]:
        """What a client of the service should know of this place, as plain data: timing and each agent's range."""
        return {}

    @property
    def hash(self) -> str:
        """A short content hash: equal exactly when a command means the same at both sites."""
        content = self.model_dump_json(exclude=self.history)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def place(self) -> Any:
        """What stands there, as plain data: equal for a site and its variants, whatever they are called and however
        they are run.
        """
        return self.agents

    @property
    def history(self) -> Any:
        """What of the site is only known from the past (pydantic's ``exclude``): it does not change what it is."""
        return None

    def save(self, path: Path) -> None:
        """See `Frozen.to_file`."""
        self.to_file(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a site from JSON.

        Raises:
            CityloopError: if the file is missing or is no such site.
        """
        return cls.from_file(path, "site file")
