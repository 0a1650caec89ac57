"""Anchors: the position of a chain, kept outside it. Only an anchor shows that the chain's end was cut off.

An anchor is a small JSON file that is replaced whole after every sync: chain, number and hash of the last record that
is safely on disk, signed if there is a key. Whoever can replace both the log and the anchor can still go back to an
older pair of them. Keep anchors on another disk, or heads (`cityloop audit head`) with somebody else.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from envs.core.errors import CityloopError
from envs.core.machine.files import write_bytes
from serving.access.principal import read_secret_file
from serving.audit.chain import Head

FILE = "anchor.json"
"""Name of a chain's anchor beside its segments; in a folder of anchors it is named after the chain."""


@dataclass(frozen=True)
class Anchor:
    """Position of a chain at some time.

    Attributes:
        chain: its name.
        head: its last record.
        at_s: of the anchor, seconds since 1970.
        signature: Ed25519 over the rest; None: not signed.
    """

    chain: str
    head: Head
    at_s: float
    signature: bytes | None = None

    @property
    def _signed(self) -> dict[str, Any]:
        return {"chain": self.chain, "n": self.head.n, "hash": self.head.hash.hex(), "at_s": self.at_s}

    def write(self, path: Path, key: Ed25519PrivateKey | None = None) -> None:
        """Write it, signed if there is a key, whole or not at all.

        Raises:
            OSError: if it cannot be written; an older one stays.
        """
        content = self._signed
        if key is not None:
            content["signature"] = b64encode(key.sign(orjson.dumps(self._signed))).decode()
        write_bytes(path, orjson.dumps(content) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Anchor:
        """Read one.

        Raises:
            CityloopError: if it cannot be read or is not an anchor.
        """
        try:
            raw = orjson.loads(path.read_bytes())
            signature = raw.get("signature")
            head = Head(_number(raw["n"]), bytes.fromhex(raw["hash"]))
            signed = None if signature is None else b64decode(signature, validate=True)
            return cls(str(raw["chain"]), head, float(raw["at_s"]), signed)
        except OSError as error:
            raise CityloopError(f"anchor {path} cannot be read ({error.strerror}): give an anchor's file") from None
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            raise CityloopError(f"anchor {path} is none: give a file that the audit log wrote") from None

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether the signature is there and right."""
        try:
            key.verify(self.signature or b"", orjson.dumps(self._signed))
        except InvalidSignature:
            return False
        return True


def _number(value: object) -> int:
    """The number of a record; refuses numbers that the log never writes, and JSON may not represent."""
    if type(value) is not int:
        raise ValueError
    return value


def signing_key(path: Path) -> Ed25519PrivateKey:
    """A private key from its PEM file (``openssl genpkey -algorithm ed25519``).

    Raises:
        CityloopError: if there is none in it, or others may read it.
    """
    key = _loaded(load_pem_private_key, read_secret_file(path, "key file"), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise CityloopError(
            f"key file {path} holds no Ed25519 private key without a password: make one with "
            "'openssl genpkey -algorithm ed25519'"
        )
    return key


def checking_key(path: Path) -> Ed25519PublicKey:
    """The public key from the PEM file of either half.

    Raises:
        CityloopError: if there is none in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CityloopError(f"key file {path} cannot be read ({error.strerror}): give an existing file") from None
    key = _loaded(load_pem_public_key, content) or _loaded(load_pem_private_key, content, None)
    if isinstance(key, Ed25519PrivateKey):
        key = key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise CityloopError(f"key file {path} holds no Ed25519 key: give the public half of the log's key")
    return key


def _loaded(load: Callable[..., object], *arguments: object) -> object:
    """A key of a known kind that needs no password; None otherwise."""
    try:
        return load(*arguments)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
