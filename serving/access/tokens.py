"""Signed tokens (JWT), checked with the algorithm and keys that are configured, whatever a token says of itself.

A provider that changes its key signs with the old and the new one for a while: a JWK Set holds both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from envs.core.errors import CityloopError
from serving.access.principal import (
    Grant,
    JwtSettings,
    Principal,
    problem_unquoted,
    read_regular_file,
    read_secret_file,
)
from serving.access.watched import WatchedFile

LOGGER = logging.getLogger("cityloop.access")

MIN_SECRET = 32
"""Least bytes of a secret, as RFC 7518, section 3.2, asks of HS256."""

MIN_RSA_BITS = 2048
"""Least bits of an RSA key, as RFC 7518, section 3.3, asks."""

MAX_NAME = 64
"""Longest name of a holder."""

MAX_KEYS_MIB, MAX_KEYS = 1, 100
"""Largest file of public keys, and most keys in it: a request may wait for it to be read, and for each to be tried."""

_GRANTS = TypeAdapter(tuple[Grant, ...])


class _JwkSet(BaseModel):
    keys: list[dict[str, Any]]


@dataclass(frozen=True)
class TokenKey:
    """A key to check signatures with: a secret or a public key.

    Attributes:
        ident: its ``kid`` (RFC 7515, section 4.1.4); None: it has none, and is tried for every token.
    """

    key: Any
    ident: str | None = None


class Tokens:
    """Checks tokens.

    Raises:
        CityloopError: if the key does not suit the algorithm.
    """

    def __init__(self, settings: JwtSettings, now: Callable[[], float] = time.time):
        self._settings, self._now = settings, now
        self._file = WatchedFile(settings.key_file, lambda path: read_keys(path, settings.algorithm), "key of tokens")

    @property
    def problem(self) -> str | None:
        """Fault of the file of the key since it was last read well; None if there is none."""
        self._file.look()
        return self._file.problem

    @property
    def gone(self) -> bool:
        """Whether the file of the key is gone, so that nobody is let in by it."""
        return self._file.look() is None

    def principal(self, token: str) -> Principal | None:
        """The holder of a token; None if it is not accepted."""
        claims = self._claims(token)
        if claims is None:
            return None
        s = self._settings
        try:
            ends, begins, name = float(claims["exp"]), float(claims["nbf"]), claims["sub"]
            grants = _GRANTS.validate_python(claims.get("grants", ()))
        except (ValidationError, ValueError, TypeError, OverflowError):
            return None
        now = self._now()
        in_time = begins - s.leeway_s <= now < ends + s.leeway_s and ends - begins <= s.max_life_s
        named = isinstance(name, str) and 1 <= len(name) <= MAX_NAME and name.isprintable()  # for the audit log
        if not in_time or not grants or not named:
            return None
        return Principal(f"jwt:{name}", grants)

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token, if one of the keys signed it."""
        import jwt

        s = self._settings
        options: Any = {
            "require": ["exp", "nbf", "aud", "sub", *(["iss"] if s.issuer else [])],
            # With the clock of this object.
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        }
        try:
            wanted = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            return None
        for one in self._file.look() or ():
            if one.ident is not None and wanted is not None and one.ident != wanted:
                continue
            try:
                # Never the algorithm that the token's own header asks for.
                return jwt.decode(
                    token, one.key, algorithms=[s.algorithm], audience=s.audience, issuer=s.issuer, options=options
                )
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
                continue
        return None


def read_keys(path: Path, algorithm: str) -> list[TokenKey]:
    """The keys of a file, one at least.

    Args:
        path: a secret for HS*; else a public key as PEM, or a JWK Set (RFC 7517) of several, as identity providers
            publish it: keys for something else are passed over, and RSA keys that are too short.
        algorithm: they are for.

    Raises:
        CityloopError: if there is none that fits.
    """
    if algorithm.startswith("HS"):
        return [TokenKey(_secret(path, algorithm))]
    content, _ = read_regular_file(path, "key of tokens", MAX_KEYS_MIB)
    keys = _set(path, content, algorithm) if content.lstrip().startswith(b"{") else [_pem(path, content, algorithm)]
    short = [one for one in keys if algorithm.startswith("RS") and one.key.key_size < MIN_RSA_BITS]
    if len(short) == len(keys):
        raise CityloopError(f"key of tokens {path} has {short[0].key.key_size} bits: give at least {MIN_RSA_BITS}")
    for one in short:  # to refuse the set would keep keys in force that it no longer has
        LOGGER.warning("key of tokens %s: one of %d bits is passed over", path, one.key.key_size)
    return [one for one in keys if one not in short]


def _secret(path: Path, algorithm: str) -> bytes:
    secret = read_secret_file(path, "secret of tokens").strip()
    if secret.startswith((b"-----BEGIN", b"ssh-")):
        raise CityloopError(f"{path} is a public-key file: {algorithm} needs a random secret")
    if len(secret) < MIN_SECRET:
        raise CityloopError(f"secret of tokens {path} has {len(secret)} bytes: give at least {MIN_SECRET}")
    return secret


def _pem(path: Path, content: bytes, algorithm: str) -> TokenKey:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from jwt import InvalidKeyError, PyJWS

    try:
        key = load_pem_public_key(content)
    except Exception:  # cryptography raises errors of many kinds
        raise CityloopError(f"key of tokens {path} is no public key in PEM, and no JWK Set: give one") from None
    try:
        PyJWS().get_algorithm_by_name(algorithm).prepare_key(key)
    except (TypeError, InvalidKeyError):
        raise CityloopError(
            f"key of tokens {path} is of another kind than {algorithm} needs: give one that fits"
        ) from None
    return TokenKey(key)


def _set(path: Path, content: bytes, algorithm: str) -> list[TokenKey]:
    from jwt import PyJWK, PyJWS, PyJWTError

    try:
        found = _JwkSet.model_validate_json(content)
    except ValidationError as error:
        raise CityloopError(f"key of tokens {path} is no JWK Set: {problem_unquoted(error)}") from None
    if len(found.keys) > MAX_KEYS:
        raise CityloopError(f"key of tokens {path} is a JWK Set of {len(found.keys)} keys: give {MAX_KEYS} at most")
    suits = PyJWS().get_algorithm_by_name(algorithm)
    keys = []
    for one in found.keys:
        if one.get("use", "sig") != "sig" or one.get("alg", algorithm) != algorithm:
            continue
        if "d" in one:
            raise CityloopError(f"key of tokens {path} holds a private key: give the public ones alone")
        try:
            key = PyJWK(one, algorithm).key
            suits.prepare_key(key)
        except (PyJWTError, TypeError, ValueError):  # of another kind
            continue
        keys.append(TokenKey(key, one.get("kid")))
    if not keys:
        raise CityloopError(f"key of tokens {path} is a JWK Set without a key for {algorithm}: give one that has it")
    return keys
