"""Copies of sites and bundles beside the records, named after their content, to replay decisions with.

A bundle may be exported anew under its old name long before anybody asks what the old one did; so the log keeps its
own copy of each that acted. Bundles are small, and each is kept once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from agents import shipped_policies
from agents.policy import MODEL
from agents.shipped import CARD
from envs.core.errors import CityloopError
from envs.core.machine.files import DRAFT, write_bytes
from envs.core.registry import SYSTEMS, get_system
from envs.core.site import Site

FOLDER = "kept"
"""Paths of kept copies in the log's folder: ``kept/sites/<sha256>.json``, ``kept/bundles/<model>-<all files>/``."""


_SITE = re.compile(r"[0-9a-f]{64}")
_BUNDLE = re.compile(r"([0-9a-f]{64})?-[0-9a-f]{32}")


class Altered(CityloopError):
    """A kept copy was altered."""


def site_file(folder: Path, sha256: str) -> Path:
    """Path of a kept site."""
    return folder / FOLDER / "sites" / f"{sha256}.json"


def bundle_folder(folder: Path, name: str) -> Path:
    """Path of a kept bundle."""
    return folder / FOLDER / "bundles" / name


def keep_site(folder: Path, content: bytes) -> str:
    """Keep a site's JSON; returns its SHA-256.

    Raises:
        OSError: if it cannot be written.
    """
    sha256 = sha256_of(content)
    _keep(site_file(folder, sha256), content)
    return sha256


def read_bundle(source: Path) -> dict[str, bytes]:
    """The files of a bundle.

    Raises:
        OSError: if one cannot be read.
    """
    return {path.name: path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()}


def keep_bundle(folder: Path, content: Mapping[str, bytes]) -> tuple[str, dict[str, str]]:
    """Keep the files of a bundle; returns the copy's name, and file → SHA-256.

    Raises:
        OSError: if it cannot be written.
    """
    files = {name: sha256_of(text) for name, text in content.items()}
    # One model may have had several cards, as results are added to them; what it sees, and its bounds, stand there.
    name = f"{files.get(MODEL, '')}-{digest_of(files)}"
    for file, text in content.items():
        _keep(bundle_folder(folder, name) / file, text)
    return name, files


def sha256_of(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """Digits for files and their SHA-256."""
    return sha256_of(json.dumps(dict(sorted(files.items()))).encode())[:32]


def _keep(path: Path, content: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def load_site(folder: Path, system: str, sha256: str) -> Site:
    """A kept site.

    Raises:
        CityloopError: if it is not there.
        Altered: if it was altered.
    """
    content = read_site(folder, sha256)
    try:
        return get_system(system).site_class.model_validate_json(content)
    except ValidationError:
        path = site_file(folder, sha256)
        raise CityloopError(f"{path} is no site of this version: replay it with the code that wrote it") from None


def read_site(folder: Path, sha256: str) -> bytes:
    """A kept site's JSON.

    Raises:
        CityloopError: if it is not there.
        Altered: if it was altered, or a record was that names it.
    """
    _check_name(sha256, _SITE)
    path = site_file(folder, sha256)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CityloopError(f"{path} cannot be read ({error.strerror}): the log's folder is not complete") from None
    if sha256_of(content) != sha256:
        raise Altered(f"{path} was altered: its SHA-256 is not what it is called after")
    return content


def find_bundle(folder: Path, name: str) -> Path:
    """The folder of a kept bundle.

    Raises:
        CityloopError: if it is not there.
        Altered: if it was altered, or a record was that names it.
    """
    _check_name(name, _BUNDLE)
    path = bundle_folder(folder, name)
    try:
        files = {one.name: sha256_of(one.read_bytes()) for one in path.iterdir() if not one.name.endswith(DRAFT)}
    except OSError as error:
        raise CityloopError(f"{path} cannot be read ({error.strerror}): the log's folder is not complete") from None
    if name != f"{files.get(MODEL, '')}-{digest_of(files)}":
        raise Altered(f"{path} was altered: its files are not what it is called after")
    return path


def _check_name(name: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(name):
        raise Altered(f"nothing that is kept is called {name!r}: the record that names it was altered")


def find_shipped(sha256: str) -> Path | None:
    """The shipped bundle with a model of that SHA-256, if there is one that can be read."""
    for system in SYSTEMS:
        for folder in shipped_policies(system).values():
            with suppress(OSError):
                if f'"{sha256}"'.encode() in (folder / CARD).read_bytes():
                    return folder
    return None
