"""Signatures of bundles: Ed25519 over the checksums of all files of a bundle, stored beside them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem
from envs.core.machine.files import DRAFT, write_bytes

SIGNATURE = "signature.json"
"""Name of the signature's file."""

MAKE_KEY = "openssl genpkey -algorithm ed25519 -out KEY.pem"
"""Command that makes a key."""

PURPOSE = b"cityloop bundle 1\n"
"""Prefix of the signed message, so that a signature over other content is not valid for a bundle."""


class Signature(Frozen):
    """A signature.

    Attributes:
        key: the public key, 32 bytes in base64.
        signature: 64 bytes in base64.
    """

    key: str
    signature: str


def sign(bundle: Path, key_file: Path) -> str:
    """Sign a bundle; an older signature is replaced.

    Args:
        bundle: folder of the bundle.
        key_file: a private key in PEM; `MAKE_KEY` makes one.

    Returns:
        The public key, for `check_signature`.

    Raises:
        CityloopError: if the bundle cannot be read, or the key is invalid.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except OSError as error:
        raise CityloopError(f"key {key_file} cannot be read ({error.strerror}): make one with '{MAKE_KEY}'") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CityloopError(f"key {key_file} is no private key without password: '{MAKE_KEY}' makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CityloopError(f"key {key_file} is no Ed25519 key: '{MAKE_KEY}' makes one")
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    signature = base64.b64encode(key.sign(_message(bundle))).decode()
    content = Signature(key=public, signature=signature).model_dump_json(indent=1) + "\n"
    try:
        write_bytes(bundle / SIGNATURE, content.encode())
    except OSError as error:
        raise CityloopError(f"{bundle / SIGNATURE} cannot be written ({error.strerror}): copy the bundle") from None
    return public


def check_signature(bundle: Path, trusted: Sequence[str]) -> str:
    """Verify that one of the trusted keys has signed the bundle in its present form.

    Args:
        bundle: folder of the bundle.
        trusted: public keys in base64.

    Returns:
        The key of the signature.

    Raises:
        CityloopError: if the bundle is unsigned, signed by another key, or altered since; or a trusted key is invalid.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    known = {key: Ed25519PublicKey.from_public_bytes(public_key(key)) for key in trusted}
    try:
        found = Signature.model_validate_json((bundle / SIGNATURE).read_bytes())
    except OSError as error:
        if not bundle.is_dir():
            raise CityloopError(f"bundle {bundle} cannot be read ({error.strerror}): give a bundle's folder") from None
        raise CityloopError(f"bundle {bundle} is not signed: sign it with 'cityloop sign'") from None
    except ValidationError as error:
        raise CityloopError(f"{bundle / SIGNATURE}: {first_problem(error)}") from None
    if found.key not in known:
        raise CityloopError(
            f"bundle {bundle} is signed by key {found.key[:12]}…, which is not among the trusted keys: sign it "
            "with one that is, or trust it too"
        )
    try:
        known[found.key].verify(base64.b64decode(found.signature, validate=True), _message(bundle))
    except (InvalidSignature, binascii.Error):
        raise CityloopError(f"bundle {bundle} was altered since it was signed: restore it, or sign it anew") from None
    return found.key


def public_key(text: str) -> bytes:
    """Decode a public key from base64.

    Raises:
        CityloopError: if it is invalid.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise CityloopError(
            f"trusted key {text[:20]!r} is no Ed25519 public key in base64: 'cityloop sign' tells yours"
        )
    return key


def _message(bundle: Path) -> bytes:
    """The signed message: name and SHA-256 of every file, except for the signature and its drafts."""
    try:
        files = sorted(path for path in bundle.iterdir() if path.name != SIGNATURE and not _draft(path.name))
        sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    except OSError as error:
        raise CityloopError(f"bundle {bundle} cannot be read ({error.strerror}): give a bundle's folder") from None
    return PURPOSE + "".join(sums).encode()


def _draft(name: str) -> bool:
    """Whether a file is a draft of the signature by `write_bytes`, in progress or left by a killed process."""
    return name.startswith(f".{SIGNATURE}.") and name.endswith(DRAFT)
