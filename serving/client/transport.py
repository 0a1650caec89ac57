"""Transports of a tick's question and answer: HTTP, or a WebSocket for fast plants; each for threads and for asyncio.

A transport asks once and waits no longer than it is told. It never returns the answer to another question: HTTP pairs
questions and answers by itself, and a WebSocket's messages for other ticks are dropped.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import orjson

from envs.core.errors import CityloopError
from serving.core.deadline import Late, Worker

MAX_ANSWER_BYTES = 4 << 20
"""Longest message that is accepted."""

LAST_PORT = 65_535


def bearer(key: str | None, name: str) -> dict[str, str]:
    """The header that a key travels in; none without a key.

    Args:
        key: of `cityloop keys create`.
        name: what to call it in the error, which must not show it.

    Raises:
        CityloopError: if it cannot be a key.
    """
    if key and not (key.isascii() and key.isprintable()):
        raise CityloopError(f"{name} has characters that no key has: copy it once more")
    return {"authorization": f"Bearer {key}"} if key else {}


def trust() -> ssl.SSLContext:
    """Trusted authorities for HTTPS: those that the machine trusts (as a WebSocket's TLS does), and httpx's own list.

    A city's service has a certificate of its own authority: the machine trusts that, or ``SSL_CERT_FILE`` names it.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def scheme_of(url: str, *schemes: str) -> str:
    """The scheme of a service's address.

    Raises:
        CityloopError: if it is none of these, or there can be no host of that name, or no such port.
    """
    try:
        found = httpx.URL(url)
        named = bool(found.host) and found.raw_host.decode("ascii").encode("idna")  # as the resolver does
    except (httpx.InvalidURL, UnicodeError):
        found, named = httpx.URL(), False
    if found.scheme not in schemes or not named or (found.port or 0) > LAST_PORT:
        raise CityloopError(f"url is {url!r}: give an address such as http://127.0.0.1:8000")
    return found.scheme


def no_service(url: str, error: Exception) -> CityloopError:
    """The error for an address where no trusted service answers."""
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        mend = "let SSL_CERT_FILE name the certificate of its authority, or give the name and time that it holds for"
        return CityloopError(f"{url} is not trusted ({text}): {mend}")
    mend = "start one with 'cityloop serve', or give its --url"
    listens = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) or "SSL" in text
    if listens:  # with TLS, perhaps, or without
        mend += ", https:// if it has a certificate and http:// if not"
    return CityloopError(f"no service answers at {url} ({text}): {mend}")


@dataclass(frozen=True)
class Reply:
    """An answer as it came.

    Attributes:
        status: of HTTP; 200 for a WebSocket's messages that are no error.
        headers: of HTTP, names in lower case.
        content: the body.
    """

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Unreachable(Exception):
    """No answer came, and the question may be asked again; the text has the reason."""


class Transport(Protocol):
    """Transport for threads."""

    def ask(self, body: bytes, tick: int, left_s: float) -> Reply:
        """Ask one tick.

        Raises:
            Late: if nothing came within ``left_s``.
            Unreachable: if the connection failed.
        """
        ...

    def close(self) -> None:
        """Close the connection. May be called twice."""
        ...


class AsyncTransport(Protocol):
    """Transport for an event loop; as `Transport`, but the caller keeps the time."""

    async def ask(self, body: bytes, tick: int) -> Reply:
        """Ask one tick."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class HttpTransport:
    """One kept-alive connection.

    Args:
        url: of the tick.
        headers: sent with each.
    """

    def __init__(self, url: str, headers: Mapping[str, str]):
        self._url, self._headers, self._trust = url, dict(headers), trust()
        self._open()

    def _open(self) -> None:
        # httpx's own timeouts hold for each read; a service that trickles would outlast any number of them.
        self._worker = Worker("service client")
        self._http = httpx.Client(headers=self._headers, trust_env=False, verify=self._trust)

    def ask(self, body: bytes, tick: int, left_s: float) -> Reply:
        """See `Transport`. If an earlier request that was given up still hangs, a new connection is made."""
        if self._worker.stuck:
            self.close()
            self._open()
        http = self._http

        def post() -> Reply:
            answer = http.post(self._url, content=body, timeout=left_s)
            return Reply(answer.status_code, answer.content, answer.headers)

        try:
            return self._worker.run(post, left_s)
        except httpx.TimeoutException:
            raise Late("no answer in time") from None
        except (httpx.HTTPError, RuntimeError) as error:  # the latter where a closed client is used
            raise Unreachable(str(error) or type(error).__name__) from None

    def close(self) -> None:
        """See `Transport`."""
        self._worker.close()
        with suppress(Exception):  # a request that was given up may still use it
            self._http.close()


class AsyncHttpTransport:
    """One kept-alive connection; see `HttpTransport`."""

    def __init__(self, url: str, headers: Mapping[str, str]):
        self._url = url
        self._http = httpx.AsyncClient(headers=dict(headers), trust_env=False, timeout=None, verify=trust())

    async def ask(self, body: bytes, tick: int) -> Reply:
        """See `AsyncTransport`."""
        try:
            answer = await self._http.post(self._url, content=body)
        except (httpx.HTTPError, RuntimeError) as error:  # the latter where the client, or its event loop, is closed
            raise Unreachable(str(error) or type(error).__name__) from None
        return Reply(answer.status_code, answer.content, answer.headers)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        await self._http.aclose()


class SocketTransport:
    """A WebSocket: one message a tick, one back.

    Args:
        url: of the loop, ``ws://`` or ``wss://``.
        headers: sent when it connects.
    """

    def __init__(self, url: str, headers: Mapping[str, str]):
        self._url, self._headers = url, dict(headers)
        self._socket: Any = None
        self._sender: Worker | None = None

    def _open(self, left_s: float) -> None:
        from websockets.sync.client import connect

        self._socket = connect(
            self._url,
            additional_headers=self._headers,
            open_timeout=left_s,
            close_timeout=0.1,
            compression=None,
            max_size=MAX_ANSWER_BYTES,
            proxy=None,
        )
        self._sender = Worker("service client")

    def _send(self, text: str, left_s: float) -> None:
        """Send a message. If the other end does not read, sending would block for ever: the connection is then cut."""
        connection, sender = self._socket, self._sender
        assert sender is not None
        try:
            sender.run(lambda: connection.send(text), left_s)
        except Late:
            with suppress(OSError):
                socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)  # which wakes the thread that sends
            self.close()
            raise

    def ask(self, body: bytes, tick: int, left_s: float) -> Reply:
        """See `Transport`."""
        from websockets.exceptions import WebSocketException

        until = time.monotonic() + left_s
        try:
            if self._socket is None:
                self._open(left_s)
            self._send(body.decode(), max(until - time.monotonic(), 0.0))
            while True:
                reply = _reply(self._socket.recv(timeout=max(until - time.monotonic(), 0.0)), tick)
                if reply is not None:
                    return reply
        except TimeoutError:
            raise Late("no answer in time") from None
        except (WebSocketException, OSError) as error:
            self.close()
            raise Unreachable(str(error) or type(error).__name__) from None

    def close(self) -> None:
        """See `Transport`."""
        connection, self._socket = self._socket, None
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if connection is not None:
            with suppress(Exception):
                connection.close()


class AsyncSocketTransport:
    """A WebSocket; see `SocketTransport`."""

    def __init__(self, url: str, headers: Mapping[str, str]):
        self._url, self._headers = url, dict(headers)
        self._socket: Any = None

    async def ask(self, body: bytes, tick: int) -> Reply:
        """See `AsyncTransport`."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        try:
            if self._socket is None:
                self._socket = await connect(
                    self._url,
                    additional_headers=self._headers,
                    close_timeout=0.1,
                    compression=None,
                    max_size=MAX_ANSWER_BYTES,
                    proxy=None,
                )
            await self._socket.send(body.decode())
            while True:
                reply = _reply(await self._socket.recv(), tick)
                if reply is not None:
                    return reply
        except (WebSocketException, OSError, RuntimeError) as error:  # the last where its event loop is closed
            await self.close()
            raise Unreachable(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """See `AsyncTransport`."""
        connection, self._socket = self._socket, None
        if connection is not None:
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), 0.2)


def _reply(message: str | bytes, tick: int) -> Reply | None:
    """A message as a reply; None if it answers another tick."""
    content = message.encode() if isinstance(message, str) else message
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Reply(200, content)
    if not isinstance(answer, dict):
        return Reply(200, content)
    told = answer.get("tick")
    if told is not None and told != tick:
        return None
    problem = answer.get("error")
    if not isinstance(problem, dict):
        return Reply(200, content)
    status = answer.get("status")
    retry = answer.get("retry_after_s")
    headers = {"retry-after": str(retry)} if isinstance(retry, (int, float)) else {}
    return Reply(status if type(status) is int else 422, content, headers)
