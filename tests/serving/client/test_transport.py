"""A tick's question over a real WebSocket: answers to other ticks are dropped, and a lost connection is made anew."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.sync.server import ServerConnection, serve
from websockets.utils import accept_key

from envs.core.errors import CityloopError
from serving.client.admin import Admin
from serving.client.transport import (
    AsyncHttpTransport,
    AsyncSocketTransport,
    HttpTransport,
    Reply,
    SocketTransport,
    Unreachable,
    no_service,
)
from serving.core.deadline import Late


def answer(tick: int) -> str:
    return orjson.dumps({"tick": tick, "commands": {}}).decode()


def misbehave(socket: ServerConnection) -> None:
    """What a tick gets depends on its number."""
    for message in socket:
        tick = orjson.loads(message)["tick"]
        if tick == 1:
            socket.send(answer(0))
            socket.send(answer(1))
        elif tick == 2:  # comes with the next
            continue
        elif tick == 3:
            socket.send(answer(2))
            socket.send(answer(3))
        elif tick == 4:
            error = {"field": "queue", "value": 9, "mend": "wait"}
            socket.send(orjson.dumps({"tick": 4, "error": error, "status": 429, "retry_after_s": 2.5}).decode())
        elif tick == 5:
            socket.send("\x00 garbage")
        elif tick == 6:
            socket.close()
        else:
            socket.send(answer(tick))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(misbehave, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(10)


@pytest.fixture
def deaf() -> Iterator[str]:
    """A service that opens WebSockets and then reads nothing any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened: list[socket.socket] = []

        def open_one() -> None:
            line, _ = server.accept()
            opened.append(line)
            asked = line.recv(65536).decode()
            key = next(row.split(": ")[1] for row in asked.split("\r\n") if row.lower().startswith("sec-websocket-key"))
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_key(key)}
            rows = ["HTTP/1.1 101 Switching Protocols", *(": ".join(row) for row in headers.items())]
            line.sendall("\r\n".join([*rows, "", ""]).encode())

        thread = threading.Thread(target=open_one, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
        for line in opened:
            line.close()


def test_a_message_that_nobody_reads_keeps_nobody_waiting(deaf: str) -> None:
    before = set(threading.enumerate())
    transport = SocketTransport(deaf, {})
    with pytest.raises(Late):
        transport.ask(b" " * (32 << 20), 1, 0.3)  # more than all buffers on the way hold
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


class Asker:
    """Either transport, asked alike."""

    def __init__(self, kind: str, url: str):
        self.runner = asyncio.Runner()
        self.transport: Any = SocketTransport(url, {}) if kind == "sync" else AsyncSocketTransport(url, {})
        self.sync = kind == "sync"

    def ask(self, tick: int, left_s: float = 30.0) -> Reply:
        body = orjson.dumps({"tick": tick})
        if self.sync:
            return self.transport.ask(body, tick, left_s)

        async def ask() -> Reply:
            async with asyncio.timeout(left_s):
                return await self.transport.ask(body, tick)

        return self.runner.run(ask())

    def close(self) -> None:
        if self.sync:
            self.transport.close()
        else:
            self.runner.run(self.transport.close())
        self.runner.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_socket_gives_the_answer_to_its_own_tick_alone(kind: str, url: str) -> None:
    asker = Asker(kind, url)
    try:
        assert orjson.loads(asker.ask(1).content)["tick"] == 1
        with pytest.raises((Late, TimeoutError)):
            asker.ask(2, 0.05)
        assert orjson.loads(asker.ask(3).content)["tick"] == 3
        refused = asker.ask(4)
        assert (refused.status, refused.headers["retry-after"]) == (429, "2.5")
        assert asker.ask(5).content == b"\x00 garbage"
        with pytest.raises(Unreachable):
            asker.ask(6)
        assert orjson.loads(asker.ask(7).content)["tick"] == 7
    finally:
        asker.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_nobody_there_is_unreachable(kind: str) -> None:
    asker = Asker(kind, "ws://127.0.0.1:9")
    with pytest.raises(Unreachable):
        asker.ask(0)
    asker.close()


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Kept(Echo):
    """Keeps the connection."""

    protocol_version = "HTTP/1.1"


@pytest.fixture
def kept() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Kept) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that cuts the connection
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/act"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["http", "ws"])
def test_an_event_loop_that_is_closed_costs_a_connection(kind: str, kept: str, url: str) -> None:
    """As where a plant calls `asyncio.run` at every tick: `decide` asks again, and never raises."""
    transport = AsyncHttpTransport(kept, {}) if kind == "http" else AsyncSocketTransport(url, {})
    body = b'{"tick": 7}'
    assert orjson.loads(asyncio.run(transport.ask(body, 7)).content)["tick"] == 7

    async def again() -> Reply:
        with pytest.raises(Unreachable):
            await transport.ask(body, 7)
        try:
            return await transport.ask(body, 7)
        finally:
            await transport.close()

    assert orjson.loads(asyncio.run(again()).content)["tick"] == 7


def test_a_client_that_was_closed_is_unreachable(kept: str) -> None:
    transport = AsyncHttpTransport(kept, {})

    async def closed() -> None:
        await transport.close()
        await transport.ask(b"1", 0)

    with pytest.raises(Unreachable, match="closed"):
        asyncio.run(closed())


@pytest.fixture
def own_authority(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server with a certificate that no public authority vouches for, and the certificate."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=here"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", "-nodes", *kind, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/act", certificate
    server.shutdown()
    thread.join()
    server.server_close()


def test_whom_the_machine_trusts_may_vouch_for_a_service(
    own_authority: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = own_authority

    def both() -> list[bytes]:
        plain = HttpTransport(url, {})
        try:
            first = plain.ask(b"1", 0, 10.0).content
        finally:
            plain.close()
        return [first, asyncio.run(asked(url))]

    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        both()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert both() == [b"1", b"2"]


async def asked(url: str) -> bytes:
    transport = AsyncHttpTransport(url, {})
    try:
        return (await transport.ask(b"2", 0)).content
    finally:
        await transport.close()


def test_a_service_that_is_not_trusted_is_not_called_missing(own_authority: tuple[str, Path]) -> None:
    address = own_authority[0].removesuffix("/act")
    with Admin(address) as admin, pytest.raises(CityloopError) as error:
        admin.ask("GET", "/v1/systems")
    assert str(error.value).startswith(f"{address} is not trusted ([SSL: CERTIFICATE_VERIFY_FAILED]")
    assert "let SSL_CERT_FILE name the certificate of its authority" in str(error.value)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (httpx.ReadError("[Errno 104] Connection reset by peer"), True),  # plain HTTP where TLS is spoken
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), True),
        (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), True),  # the other way round
        (httpx.ConnectError("[Errno 111] Connection refused"), False),
    ],
)
def test_whoever_mixes_up_http_and_https_is_told(error: Exception, hint: bool) -> None:
    assert ("https:// if it has a certificate" in str(no_service("http://city:8000", error))) == hint
