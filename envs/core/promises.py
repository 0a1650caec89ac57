"""How checks say that the contract is not kept."""

from __future__ import annotations

from typing import Any


class BrokenPromiseError(Exception):
    """A system does not keep the contract; the message says how."""


def need(condition: Any, message: str) -> None:
    """Insist on a condition.

    Raises:
        BrokenPromiseError: if it does not hold.
    """
    if not condition:
        raise BrokenPromiseError(message)
