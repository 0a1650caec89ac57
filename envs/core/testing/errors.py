"""The assertion of contract checks, and the error that it raises."""

from __future__ import annotations

from typing import Any


class ContractError(Exception):
    """A system violates the contract; the message says how."""


def need(condition: Any, message: str) -> None:
    """Assert a condition of the contract.

    Raises:
        ContractError: with the message, if the condition does not hold.
    """
    if not condition:
        raise ContractError(message)
