"""Authentication: the holder of an API key (`keys`) or a signed token (`tokens`) in a request's headers, within a rate.

What the holder may do is up to the `Principal`. Without keys and tokens everything is open, to ``anonymous``;
`serving.config` allows that on loopback alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers

from serving.access.keys import KeyFile
from serving.access.limits import Buckets
from serving.access.principal import ANYBODY, AccessSettings, Principal
from serving.access.tokens import Tokens
from serving.core.refusals import Limited, Unauthenticated, retry_after

LOGGER = logging.getLogger("cityloop.access")

PROTOCOL = "cityloop.v1"
BEARER = "cityloop.bearer."
"""A browser cannot set headers of a WebSocket: it offers the subprotocols ``cityloop.v1, cityloop.bearer.TOKEN``."""


BURST_S = 2.0
"""Burst of a key with a rate of its own, in seconds of that rate."""

NONE = "send a key of `cityloop keys create`: 'Authorization: Bearer KEY'"
"""Advice for a request without a key."""

UNKNOWN = "it is not accepted: unknown, misspelt, revoked, or of another time or service; ask for another"
"""Advice for a key that is not accepted."""


class Access:
    """Authenticates callers.

    Args:
        settings: keys and tokens.
        clock, now: monotonic seconds, and seconds since 1970.

    Attributes:
        open: whether everybody is let in.

    Raises:
        CityloopError: if the keys or the key of tokens cannot be used.
    """

    def __init__(
        self,
        settings: AccessSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ):
        self.settings = settings or AccessSettings()
        self.open = self.settings.open
        self._keys = None if self.settings.keys is None else KeyFile(self.settings.keys, now)
        self._tokens = None if self.settings.jwt is None else Tokens(self.settings.jwt, now)
        self._buckets = Buckets(clock)

    def announce(self) -> None:
        """Log at the start whether keys are needed."""
        if self.open:
            LOGGER.warning(
                "the service is open: whoever reaches it may do everything; see `cityloop keys create --help`"
            )
        else:
            LOGGER.info("only those with a key or token are let in")

    @property
    def problem(self) -> str | None:
        """Fault of the files of keys since they were last read well; None if there is none."""
        problems = [one.problem for one in (self._keys, self._tokens) if one is not None and one.problem]
        return "; ".join(problems) or None

    @property
    def shut(self) -> str | None:
        """Reason why nobody is let in: every file of keys is gone; None if somebody may be."""
        files = [one for one in (self._keys, self._tokens) if one is not None]
        return self.problem if files and all(one.gone for one in files) else None

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The caller, by ``Authorization: Bearer …`` or ``X-API-Key``; counts against the caller's rate.

        Args:
            headers: with names in lower case, or case-insensitive.

        Raises:
            Unauthenticated: if nobody that is known.
            Limited: if it asks too often.
        """
        principal = self.identify(headers)
        self.count(principal)
        return principal

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """The caller, without counting the request.

        Raises:
            Unauthenticated: if nobody that is known.
        """
        if self.open:
            return ANYBODY
        credential = _credential(headers)
        found = None
        if credential and self._keys is not None:
            found = self._keys.principal(credential)
        if credential and found is None and self._tokens is not None:
            found = self._tokens.principal(credential)
        if found is None:
            raise Unauthenticated("authorization", None, UNKNOWN if credential else NONE)
        return found

    def count(self, principal: Principal) -> None:
        """Count one request of a caller.

        Raises:
            Limited: if that is too many.
        """
        if self.open:  # a flood from this machine is stopped by the bounded queues; there is nobody to tell apart
            return
        rate, burst = principal.rate_s or self.settings.rate_s, principal.burst or self.settings.burst
        if principal.rate_s and not principal.burst:  # the service's burst would let a slow key ask for minutes' worth
            burst = min(burst, max(1.0, BURST_S * rate))
        wait = self._buckets.take(principal.name, rate, burst)
        if wait:
            raise Limited("rate", None, f"ask again in {retry_after(wait)} s", retry_after_s=wait)

    def same(self, headers: Mapping[str, str], principal: Principal) -> bool:
        """Whether these headers still authenticate the same caller: keys end and are revoked while streams are open."""
        try:
            return self.identify(headers) == principal
        except Unauthenticated:
            return False


def credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that authenticate a caller, to be kept while a stream is open."""
    return {name: headers[name] for name in ("authorization", "x-api-key", "sec-websocket-protocol") if name in headers}


def _credential(headers: Mapping[str, str]) -> str | None:
    """The one key or token in the headers; None if there is none.

    Raises:
        Unauthenticated: if there are several.
    """
    if isinstance(headers, Headers):
        for name in ("authorization", "x-api-key"):
            if len(headers.getlist(name)) > 1:
                raise Unauthenticated(name, None, "it is there more than once: send one key alone")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offers = [offer.strip() for offer in headers.get("sec-websocket-protocol", "").split(",")]
    found = [
        token.strip() if scheme.lower() == "bearer" else "",
        headers.get("x-api-key", "").strip(),
        *(offer.removeprefix(BEARER) for offer in offers if offer.startswith(BEARER)),
    ]
    found = [one for one in found if one]
    if len(found) > 1:
        raise Unauthenticated("authorization", None, "there are several keys: send one alone")
    return found[0] if found else None
