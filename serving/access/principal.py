"""Principals as plain records: roles, grants by system and site, and the settings of access."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen

PATTERN = re.compile(r"[A-Za-z0-9_.*-]{1,100}")
"""Names of systems and sites in a grant; ``*`` stands for anything."""

ALL = "*"

MAX_SECRET_MIB = 8
"""Largest file of secrets that is read; `keys.MAX_BYTES` lies below it."""


class Role(IntEnum):
    """What somebody may do; each role may do all that is below it."""

    READ = 1
    ACT = 2
    OPERATE = 3
    ADMINISTER = 4


class Grant(BaseModel):
    """A role at the systems and sites that fit two patterns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    system: str = ALL
    site: str = ALL

    @field_validator("role", mode="before")
    @classmethod
    def _role(cls, value: object) -> object:
        if isinstance(value, Role):
            return value
        if isinstance(value, str) and value.upper() in Role.__members__:
            return Role[value.upper()]
        raise ValueError(f"choose {', '.join(role.name.lower() for role in Role)}")

    @field_validator("system", "site")
    @classmethod
    def _pattern(cls, value: str) -> str:
        if not PATTERN.fullmatch(value):
            raise ValueError("use letters, digits, '.', '_', '-', and '*' for anything")
        return value

    def covers(self, role: Role, system: str, site: str) -> bool:
        """Whether it allows something at a place; ``*`` as a place is all of them."""
        return self.role >= role and fnmatchcase(system, self.system) and fnmatchcase(site, self.site)

    def plain(self) -> dict[str, str]:
        """The form in files and tokens."""
        return {"role": self.role.name.lower(), "system": self.system, "site": self.site}


@dataclass(frozen=True)
class Principal:
    """Somebody whose key or token was accepted.

    Attributes:
        name: for the audit log.
        grants: its roles and places.
        rate_s, burst: rate of its requests; None: the service's setting.
    """

    name: str
    grants: tuple[Grant, ...]
    rate_s: float | None = None
    burst: float | None = None

    def may(self, role: Role, system: str = "", site: str = "") -> bool:
        """Whether it has a role at a place; without a place: for the service as a whole."""
        return _may(self.grants, role, system or ALL, site or ALL)


@lru_cache(maxsize=4096)
def _may(grants: tuple[Grant, ...], role: Role, system: str, site: str) -> bool:
    return any(grant.covers(role, system, site) for grant in grants)


ANYBODY = Principal("anonymous", (Grant(role=Role.ADMINISTER),))
"""The caller of an open service."""


class JwtSettings(Frozen):
    """Which signed tokens are accepted; they are made elsewhere, e.g. by the city's identity provider.

    A token names its holder in ``sub`` and its grants in ``grants``: ``[{"role": "act", "system": "drainage", "site":
    "estuary"}]``. It needs ``exp``, ``nbf`` and ``aud``. It cannot be revoked, so it may not live long.
    """

    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA"]
    key_file: Path = Field(
        description="the secret of HS*, at least 32 bytes, mode 600; else the public key as PEM, or a JWK Set of them"
    )
    audience: str = Field(default="cityloop", min_length=1)
    issuer: str | None = None
    leeway_s: float = Field(default=10.0, ge=0, le=300)
    max_life_s: float = Field(default=86_400.0, gt=0)


class AccessSettings(Frozen):
    """Who is let in. Neither keys nor tokens: everybody, which is for loopback alone."""

    keys: Path | None = Field(default=None, description="the file of `cityloop keys`, mode 600")
    jwt: JwtSettings | None = None
    rate_s: float = Field(
        default=200.0, gt=0, description="requests a second of a caller, unless its key says otherwise"
    )
    burst: float = Field(default=400.0, ge=1, description="requests at once")

    @property
    def open(self) -> bool:
        """Whether everybody is let in."""
        return self.keys is None and self.jwt is None


def read_regular_file(path: Path, what: str, most_mib: int) -> tuple[bytes, int]:
    """Content and mode of a regular file; one of another kind, such as a FIFO, may never end.

    Raises:
        CityloopError: if it cannot be read, is of another kind, or is larger than ``most_mib`` MiB.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read((most_mib << 20) + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise CityloopError(f"{what} {path} cannot be read ({error.strerror}): give an existing file") from None
    if not stat.S_ISREG(mode):
        raise CityloopError(f"{what} {path} is no regular file: give one")
    if len(content) > most_mib << 20:
        raise CityloopError(f"{what} {path} is larger than {most_mib} MiB: remove what is no longer needed from it")
    return content, mode


def read_secret_file(path: Path, what: str) -> bytes:
    """Read a file that no other user of the machine may open.

    Raises:
        CityloopError: if it cannot be read, is too large, or others may read it.
    """
    content, mode = read_regular_file(path, what, MAX_SECRET_MIB)
    if mode & 0o077:
        raise CityloopError(f"{what} {path} has mode {mode & 0o777:o}: run 'chmod 600 {path}'")
    return content


def problem_unquoted(error: ValidationError) -> str:
    """Place and text of pydantic's first error, without the value, which may be a secret."""
    one: Any = error.errors(include_input=False, include_url=False)[0]
    told = one["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, one['loc']))}: {told}" if one["loc"] else told
