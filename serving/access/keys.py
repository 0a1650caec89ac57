"""The file of API keys: made, listed and revoked by `cityloop keys`, and read again by the service when it changes.

A key is 256 random bits, shown once. The file keeps its BLAKE2b hash, salted with the key's own id. A slow hash such as
argon2 protects passwords that people choose; nobody guesses 256 bits, and its 50 ms would be spent at every tick.

The file is replaced as a whole, so a reader sees either the old keys or the new ones. Only its owner may open it.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import math
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from envs.core.errors import CityloopError
from envs.core.machine.files import write_bytes
from serving.access.principal import ALL, Grant, Principal, problem_unquoted, read_secret_file
from serving.access.watched import WatchedFile

TOKEN = re.compile(r"cl_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
"""A key: a name for scanners to find it by, its id, and 256 random bits."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""Allowed names of keys."""

LONGEST_H = 100 * 365 * 24
"""Longest life of a key that has an end, in hours."""

MAX_BYTES = 4 << 20
"""Largest file that is written, some 9 000 keys; keys that have ended make room."""

TAKEN = ("anonymous", "service", "configuration", "booking")
"""Callers of other kinds in the audit log."""

_NEVER = bytes(32)
"""A hash that no token has."""


class Key(BaseModel):
    """A key as it is kept; the key itself is not in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    name: str
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    grants: tuple[Grant, ...] = Field(min_length=1)
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    rate_s: float | None = Field(default=None, gt=0)
    burst: float | None = Field(default=None, ge=1)

    def ends_s(self) -> float:
        """When it ends to be accepted, seconds since 1970: of a revoked key at no time, whatever a clock says."""
        if self.revoked is not None:
            return -math.inf
        return math.inf if self.expires is None else self.expires.timestamp()

    def ended(self) -> datetime:
        """When it was revoked or expired, or expires."""
        return self.revoked or self.expires or datetime.max.replace(tzinfo=UTC)

    def plain(self) -> dict[str, Any]:
        """For people and machines; without the hash."""
        content = self.model_dump(mode="json", exclude={"hash", "grants"})
        return content | {"grants": [grant.plain() for grant in self.grants]}


class Keys(BaseModel):
    """All keys of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()

    @field_validator("keys")
    @classmethod
    def _ids_of_their_own(cls, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        twice = [ident for ident, times in Counter(key.id for key in keys).items() if times > 1]
        if twice:
            raise ValueError(f"several keys have the id {twice[0]}")
        return keys


def load_keys(path: Path) -> Keys:
    """The keys of a file.

    Raises:
        CityloopError: if it cannot be used, or others may read it.
    """
    content = read_secret_file(path, "file of keys")
    try:
        return Keys.model_validate_json(content)
    except ValidationError as error:
        raise CityloopError(f"file of keys {path} cannot be used ({problem_unquoted(error)}): restore it") from None


def create_key(
    path: Path,
    name: str,
    grants: Sequence[Grant],
    life_s: float | None = None,
    rate_s: float | None = None,
    burst: float | None = None,
) -> tuple[str, Key]:
    """Make a key; the file is made if there is none.

    Args:
        path: the file of keys.
        name: of its holder, for the audit log.
        grants: its roles and places.
        life_s: seconds for which it is accepted; None: until it is revoked.
        rate_s: requests a second, if not the service's.
        burst: requests at once, if not the service's.

    Returns:
        The key, which is stored nowhere else, and its entry in the file.

    Raises:
        CityloopError: if the name is taken or not allowed, the rate is invalid, or the file cannot be used.
    """
    if rate_s is not None and not 0 < rate_s < math.inf:
        raise CityloopError(f"rate is {rate_s}: give requests a second, above 0")
    if not NAME.fullmatch(name) or name in TAKEN:
        raise CityloopError(f"name {name!r} cannot be a key's: use letters, digits, '.', '_', '@' and '-'")
    now = time.time()
    ends = None if life_s is None else datetime.fromtimestamp(round(now + life_s), UTC)
    with _changing(path) as keys:
        if any(key.name == name and key.ends_s() > now for key in keys):
            raise CityloopError(f"there is a key called {name!r}: revoke it first, or choose another name")
        ident, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        token = f"cl_{ident}_{secret}"
        key = Key(
            id=ident,
            name=name,
            hash=hash_of(ident, token).hex(),
            grants=tuple(grants),
            created=datetime.fromtimestamp(int(now), UTC),
            expires=ends,
            rate_s=rate_s,
            burst=burst,
        )
        keys.append(key)
    return token, key


def revoke_key(path: Path, name: str) -> Key:
    """Revoke the key of a name or id; running services see it at their next request.

    Raises:
        CityloopError: if there is no such key, or it is revoked already.
    """
    with _changing(path) as keys:
        now = time.time()
        found = [k for k, key in enumerate(keys) if name in (key.name, key.id) and key.ends_s() > now]
        if not found:
            names = ", ".join(key.name for key in keys if key.ends_s() > now) or "none"
            raise CityloopError(f"no key that is accepted is called {name!r}: there is {names}")
        key = keys[found[0]].model_copy(update={"revoked": datetime.fromtimestamp(int(now), UTC)})
        keys[found[0]] = key
    return key


def parse_grants(texts: Sequence[str]) -> list[Grant]:
    """Grants as people write them: ``act:drainage/estuary``, ``read:*/*``, ``operate:transit``.

    Raises:
        CityloopError: if one is invalid.
    """
    grants = []
    for text in texts:
        role, _, place = text.partition(":")
        system, _, site = place.partition("/")
        try:
            grants.append(Grant.model_validate({"role": role, "system": system or ALL, "site": site or ALL}))
        except ValidationError as error:
            raise CityloopError(
                f"grant {text!r} is none ({problem_unquoted(error)}): write it like act:drainage/estuary"
            ) from None
    return grants


LIFE = re.compile(r"(\d{1,6})([hdwy])")
HOURS = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def parse_life(text: str) -> float | None:
    """A time as people write it, in seconds: ``12h``, ``90d``, ``4w``, ``1y``; None for ``never``.

    Raises:
        CityloopError: if it is invalid.
    """
    if text == "never":
        return None
    match = LIFE.fullmatch(text)
    hours = int(match[1]) * HOURS[match[2]] if match else 0
    if not 0 < hours <= LONGEST_H:
        raise CityloopError(f"expires is {text!r}: give hours, days, weeks or years such as 12h, 90d, 4w, 1y, or never")
    return 3600.0 * hours


def hash_of(ident: str, token: str) -> bytes:
    """The hash of a key that the file keeps."""
    return hashlib.blake2b(token.encode(), digest_size=32, salt=bytes.fromhex(ident), person=b"cityloop key").digest()


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys, to be changed by one process at a time; written if nothing goes wrong."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CityloopError(f"folder of {path} cannot be used ({error.strerror}): make it first") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = list(load_keys(path).keys) if path.exists() else []
        yield keys
        _write(path, keys)
    finally:
        os.close(folder)


def _write(path: Path, keys: list[Key]) -> None:
    """Write the file; if it would be too large, without keys that have ended, the oldest first."""
    now = time.time()
    ended = sorted((key for key in keys if key.ends_s() <= now), key=Key.ended)
    content = _content(keys)
    while len(content) > MAX_BYTES and ended:
        half = (len(ended) + 1) // 2
        dropped, ended = {key.id for key in ended[:half]}, ended[half:]
        keys = [key for key in keys if key.id not in dropped]
        content = _content(keys)
    if len(content) > MAX_BYTES:
        raise CityloopError(
            f"file of keys {path} has no room for another key beside {len(keys) - 1}: revoke some that nobody needs"
        )
    try:
        write_bytes(path.resolve(), content, mode=0o600)
    except OSError as error:
        raise CityloopError(f"file of keys {path} cannot be written ({error.strerror}): choose another place") from None


def _content(keys: list[Key]) -> bytes:
    plain = {"version": 1, "keys": [key.plain() | {"hash": key.hash} for key in keys]}
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2) + b"\n"


class KeyFile:
    """The keys that are accepted now, see `WatchedFile`.

    Raises:
        CityloopError: if the file cannot be used at the start.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time):
        self._now = now
        self._file = WatchedFile(path, lambda at: _known(load_keys(at)), "file of keys")

    @property
    def problem(self) -> str | None:
        """Fault of the file since it was last read well; None if there is none."""
        self._file.look()
        return self._file.problem

    @property
    def gone(self) -> bool:
        """Whether the file is gone, so that nobody is let in by it."""
        return self._file.look() is None

    def principal(self, token: str) -> Principal | None:
        """The holder of a token; None if it is unknown or has expired."""
        known = self._file.look() or {}
        match = TOKEN.fullmatch(token)
        ident = match[1] if match else "0" * 16
        kept, ends_s, principal = known.get(ident, (_NEVER, 0.0, None))
        same = hmac.compare_digest(kept, hash_of(ident, token))
        return principal if match and same and self._now() < ends_s else None


def _known(keys: Keys) -> dict[str, tuple[bytes, float, Principal]]:
    return {
        key.id: (bytes.fromhex(key.hash), key.ends_s(), Principal(key.name, key.grants, key.rate_s, key.burst))
        for key in keys.keys
    }
