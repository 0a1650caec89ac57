"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a key may do; each includes those before it."""

    READ = 1
    ACT = 2
    OPERATE = 3
    ADMINISTER = 4


EVERYWHERE = "*"
"""Stands for every system, or every site."""


@dataclass(frozen=True)
class Principal:
    """Somebody who has shown who they are.

    Attributes:
        name: for the audit log.
        roles: ``system/site``, ``system/*`` or ``*`` → the highest role there.
    """

    name: str
    roles: Mapping[str, Role]

    def may(self, role: Role, system: str = "", site: str = "") -> bool:
        """Whether they may do this there; no system and site: to the service as a whole."""
        places = (f"{system}/{site}", f"{system}/{EVERYWHERE}", EVERYWHERE) if system else (EVERYWHERE,)
        return any(self.roles.get(place, 0) >= role for place in places)


ANYBODY = Principal("anonymous", {EVERYWHERE: Role.ADMINISTER})
"""Everybody, where the service is open."""
