"""Nesting depth of JSON, before it is read: a reader may need memory, or a stack, for every level."""

from __future__ import annotations

import re

MAX_DEPTH = 16
"""Deepest nesting of a body; a tick has three levels."""

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def _count(body: bytes, mark: bytes, most: int) -> int:
    """Count of a byte, up to one more than matters: `bytes.find` is far faster than `bytes.count`."""
    at = -1
    for found in range(most + 1):
        at = body.find(mark, at + 1)
        if at < 0:
            return found
    return most + 1


def too_deep(body: bytes, most: int = MAX_DEPTH) -> bool:
    """Whether JSON is nested more than ``most`` levels deep; whether it is valid JSON is not checked.

    Few brackets cannot be deep, and a tick has one a column: most bodies are only counted.
    """
    if _count(body, b"[", most) + _count(body, b"{", most) <= most:
        return False
    depth = 0
    for token in _TOKENS.finditer(body):
        mark = body[token.start()]
        if mark in b"[{":
            depth += 1
            if depth > most:
                return True
        elif mark in b"]}":
            depth -= 1
    return False
