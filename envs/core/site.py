"""Sites: the fixed facts of a plant as plain data, enough to encode readings and guard commands without a simulator."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from envs.core.frozen import Frozen
from envs.core.readings import Axes

ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
"""Writes plain data, models of pydantic included."""


class Site(Frozen):
    """Base of every system's site.

    Attributes:
        system: name of its system.
        name: name for people and for addresses, e.g. ``cologne8``.
    """

    system: str
    name: str

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # fields may be mappings

    @property
    def agents(self) -> tuple[str, ...]:
        """Identifiers of the agents, in the order of every array."""
        raise NotImplementedError

    @property
    def axes(self) -> Axes:
        """Axis of the readings → its identifiers."""
        raise NotImplementedError

    @property
    def limits(self) -> dict[str, Any]:
        """Facts for a client of the service, as plain data: timing and each agent's range."""
        return {}

    @property
    def hash(self) -> str:
        """Short content hash of all fields but `unhashed`, name included; at equal sites commands mean the same."""
        content = self.model_dump_json(exclude=self.unhashed)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def plant(self) -> Any:
        """The physical plant, as plain data: equal for a site and its variants, regardless of name and operation."""
        return self.agents

    @property
    def plant_hash(self) -> str:
        """Short content hash of `plant`."""
        return hashlib.sha256(ANYTHING.dump_json(self.plant)).hexdigest()[:16]

    @property
    def unhashed(self) -> Any:
        """Fields that do not change what a command means, left out of the hash (pydantic's ``exclude``); None: none."""
        return None

    def save(self, path: Path) -> None:
        """See `Frozen.to_file`."""
        self.to_file(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a site from JSON.

        Raises:
            CityloopError: if the file is missing or does not hold a site of this class.
        """
        return cls.from_file(path, "site file")
