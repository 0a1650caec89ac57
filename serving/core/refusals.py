"""Refusals of the service: one exception, with its HTTP status.

Every protocol turns errors into refusals by `as_refusal`, and only gives them its form.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from envs.core.errors import CityloopError, ReadingError

LOGGER = logging.getLogger("cityloop.serving")


class Refused(Exception):
    """A request that is not carried out.

    Attributes:
        status: of HTTP.
        field, value, mend: the field at fault, its value, and what would be accepted.
        retry_after_s: when it may be asked again, where time mends it.
        close: whether the connection is of no further use.
    """

    status = 400

    def __init__(
        self, field: str, value: object, mend: str, *, retry_after_s: float | None = None, close: bool = False
    ):
        self.field, self.value, self.mend = field, value, mend
        self.retry_after_s, self.close = retry_after_s, close
        super().__init__(f"{field} is {value!r}: {mend}")

    def content(self) -> dict[str, Any]:
        """The body of the answer."""
        return problem(self.field, self.value, self.mend)


class Unauthenticated(Refused):
    """The caller is unknown."""

    status = 401


class Forbidden(Refused):
    """The caller may not do this."""

    status = 403


class NotServed(Refused):
    """A system, site or agent that is not served here."""

    status = 404

    def __init__(self, field: str, value: str, known: Sequence[str]):
        super().__init__(field, brief(value), f"choose {', '.join(known)}" if known else "there is none")


class Conflict(Refused):
    """The request conflicts with the present state."""

    status = 409


class TooLong(Refused):
    """A body beyond the limit; the rest of it is dropped."""

    status = 413

    def __init__(self, limit: int):
        super().__init__("body", f"more than {limit} bytes", f"send at most {limit} bytes", close=True)


class Stalled(Refused):
    """A body that stops half way; its sender is not waited for."""

    status = 408

    def __init__(self, seconds: float):
        super().__init__("body", None, f"it was not whole after {seconds:g} s: send it at once", close=True)


class Encoded(Refused):
    """A body in a content encoding, which the service does not decode."""

    status = 415

    def __init__(self, encoding: str):
        super().__init__("content-encoding", brief(encoding), "send the body as it is, without an encoding", close=True)


class Unprocessable(Refused):
    """A readable request that cannot be carried out."""

    status = 422


class Limited(Refused):
    """The key exceeds its rate."""

    status = 429


class Busy(Refused):
    """The service has more to do than it can: ask again later, and decide locally until then."""

    status = 503


class Fault(Refused):
    """A fault of the service."""

    status = 500

    def __init__(self) -> None:
        super().__init__("service", None, "this is a fault of the service: its log has the trace")


def as_refusal(error: Exception, what: str) -> Refused:
    """An error as a refusal.

    Args:
        error: an unforeseen one goes to the log, and its text is not sent.
        what: was asked for, for the log.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, ReadingError):
        return Unprocessable(brief(error.field), error.value, error.mend)
    if isinstance(error, CityloopError):
        return Unprocessable("body", None, str(error))
    LOGGER.error("%s failed", what, exc_info=error)
    return Fault()


def problem(field: str, value: object, mend: str) -> dict[str, Any]:
    """The body of every refusal."""
    return {"error": {"field": field, "value": value, "mend": mend}}


def words_of(problem: Mapping[str, Any]) -> str:
    """The refusal of another process as one sentence; see `problem`. A value of None is left out: nobody gave it."""
    field, value = problem.get("field"), problem.get("value")
    given = "" if value is None else f" is {brief(value)!r}"
    return f"{field}{given}: {problem.get('mend')}"


def retry_after(seconds: float) -> str:
    """The value of a ``Retry-After`` header: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))


def brief(value: object) -> Any:
    """A value, shortened so that it can be repeated to its sender."""
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= 60 else text[:57] + "..."
