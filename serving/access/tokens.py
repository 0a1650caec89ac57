"""Signed tokens (JWT), checked with the one algorithm and key that are configured, whatever a token says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from envs.core.errors import CityloopError
from serving.access.principal import Grant, JwtSettings, Principal, read_secret_file

MIN_SECRET = 32
"""Bytes of a secret, as RFC 7518, section 3.2, asks of HS256."""

MIN_RSA_BITS = 2048
"""Of an RSA key, as RFC 7518, section 3.3, asks."""

MAX_NAME = 64
"""Longest name of a holder."""

_GRANTS = TypeAdapter(tuple[Grant, ...])


class Tokens:
    """Checks tokens.

    Raises:
        CityloopError: if the key does not suit the algorithm.
    """

    def __init__(self, settings: JwtSettings, now: Callable[[], float] = time.time):
        self._settings, self._now = settings, now
        self._key = _secret(settings) if settings.algorithm.startswith("HS") else _public(settings)

    def principal(self, token: str) -> Principal | None:
        """Whose token it is; None if it is not accepted."""
        import jwt

        s = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[s.algorithm],  # never what the token's own header asks for
                audience=s.audience,
                issuer=s.issuer,
                options={
                    "require": ["exp", "nbf", "aud", "sub", *(["iss"] if s.issuer else [])],
                    # With this clock, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            ends, begins, name = float(claims["exp"]), float(claims["nbf"]), claims["sub"]
            grants = _GRANTS.validate_python(claims.get("grants", ()))
        except (jwt.PyJWTError, ValidationError, ValueError, TypeError, OverflowError):
            return None
        now = self._now()
        in_time = begins - s.leeway_s <= now < ends + s.leeway_s and ends - begins <= s.max_life_s
        if not in_time or not grants or not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
            return None
        return Principal(f"jwt:{name}", grants)


def _secret(settings: JwtSettings) -> bytes:
    secret = read_secret_file(settings.key_file, "secret of tokens").strip()
    if secret.startswith(b"-----BEGIN") or secret.startswith(b"ssh-"):
        raise CityloopError(f"{settings.key_file} is a public-key file: {settings.algorithm} needs a random secret")
    if len(secret) < MIN_SECRET:
        raise CityloopError(f"secret of tokens {settings.key_file} has {len(secret)} bytes: give at least {MIN_SECRET}")
    return secret


def _public(settings: JwtSettings) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from jwt import InvalidKeyError, PyJWS

    path = settings.key_file
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise CityloopError(f"key of tokens {path} cannot be read ({error.strerror}): give an existing file") from None
    except Exception:  # what cryptography raises of its own is of many kinds
        raise CityloopError(f"key of tokens {path} is no public key in PEM: give one") from None
    try:
        PyJWS().get_algorithm_by_name(settings.algorithm).prepare_key(key)
    except (TypeError, InvalidKeyError):
        raise CityloopError(
            f"key of tokens {path} is of another kind than {settings.algorithm} needs: give one that fits"
        ) from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise CityloopError(f"key of tokens {path} has {key.key_size} bits: give at least {MIN_RSA_BITS}")
    return key
