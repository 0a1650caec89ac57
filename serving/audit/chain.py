"""The hash chain: one record per line, each with a SHA-256 over the hash before it and its own bytes.

A line is ``{"hash":"…","n":12,"kind":"decision",…}``. Hashed are the 32 bytes of the hash before, then the line
without its hash: ``{"n":12,"kind":"decision",…}``, exactly as it is written. Nothing is parsed or sorted again, so a
line can be checked in any language with a few lines of code. The hash before record 1 is 32 zero bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

NOTHING = bytes(32)
"""The hash before the first record."""

_PREFIX = b'{"hash":"'
_START = len(_PREFIX)
_END = _START + 64
_REST = _END + 2
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True)
class Head:
    """Present position of a chain.

    Attributes:
        n: number of its last record, which is also the count of all records ever.
        hash: of that record.
    """

    n: int = 0
    hash: bytes = NOTHING


EMPTY = Head()
"""Head of a chain without records."""


class NotARecord(ValueError):
    """A line that cannot have been written by the log; its text says why."""


@dataclass(frozen=True)
class Line:
    """A line, taken apart as far as checking the chain needs.

    Attributes:
        hash, n, kind: as the line states them.
        content: the bytes that were hashed.
    """

    hash: bytes
    n: int
    kind: bytes
    content: bytes

    def follows(self, before: bytes) -> bool:
        """Whether the hash is right after a given head."""
        return hashlib.sha256(before + self.content).digest() == self.hash

    def fields(self) -> dict[str, Any]:
        """Everything in it."""
        fields: dict[str, Any] = orjson.loads(self.content)
        return fields


def seal(before: Head, kind: str, fields: dict[str, Any]) -> tuple[Head, bytes]:
    """The next record: the chain's new head, and the line with its end.

    Values without a form in JSON become their ``repr``; NaN and infinities become null.
    """
    n = before.n + 1
    try:
        rest = orjson.dumps(fields, default=repr, option=_OPTIONS)
    except TypeError:  # half a Unicode character, or nested beyond reason: better told badly than not at all
        rest = orjson.dumps({"unwritable": ascii(fields)})
    content = b'{"n":%d,"kind":"%s"' % (n, kind.encode()) + (b"," + rest[1:] if fields else b"}")
    digest = hashlib.sha256(before.hash + content).digest()
    return Head(n, digest), _PREFIX + digest.hex().encode() + b'",' + content[1:] + b"\n"


def split(line: bytes) -> Line:
    """Take a line, without its end, apart.

    Raises:
        NotARecord: if it has not the form of one.
    """
    if line[:_START] != _PREFIX or line[_END:_REST] != b'",' or line[-1:] != b"}":
        raise NotARecord("it has not the form of a record")
    told = line[_START:_END]
    try:
        digest = bytes.fromhex(told.decode())
        number, _, rest = line[_REST:].removeprefix(b'"n":').partition(b',"kind":"')
        n = int(number)
    except ValueError:
        raise NotARecord("its hash or number cannot be read") from None
    if digest.hex().encode() != told or str(n).encode() != number:
        raise NotARecord("its hash or number is not written as the log writes it")
    return Line(digest, n, rest[: rest.find(b'"')], b"{" + line[_REST:])
