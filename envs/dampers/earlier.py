"""Names in the checkpoints of training runs that were begun before a renaming: such runs resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "_moment": "_state",
    "_alone": "_uncontrolled",
    "alone": "uncontrolled",
    "_alone_rms": "_uncontrolled_rms",
}
"""Attribute of a plant that is saved → its name now. Classes have their earlier name beside the present one."""


def renamed(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Saved attributes under their present names."""
    return {RENAMED.get(name, name): value for name, value in saved.items()}
