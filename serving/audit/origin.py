"""Origin of records: versions and a digest of the code, to tell another program from a fault."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("cityloop", "numpy", "scipy", "onnxruntime", "orjson")
ROOMS = ("envs", "agents", "serving")
ROOT = Path(__file__).resolve().parent.parent.parent


@cache
def origin() -> dict[str, str]:
    """Versions of deciding libraries, the kind of machine, and ``code``: a digest of all participating source files."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from its folder
            found[package] = "not installed"
    return {"code": _code(), **found}


def _code() -> str:
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in (".py", ".json", ".yaml", ".inp") and path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
