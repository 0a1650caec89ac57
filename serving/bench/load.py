"""Load generator: dozens of keep-alive clients in one thread that send raw bytes as fast as they are answered.

They cost little themselves, so the figures are those of the service.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.bench.ledger import WHO, spent_s

NextRequest = Callable[[int], bytes]
"""Number of a client's request → its bytes."""

PATIENCE_S = 10.0
"""How long a client waits for an answer before it counts as none."""


@dataclass
class Tally:
    """What came back.

    Attributes:
        seconds: how long was asked.
        statuses: status → how often; 0: no answer at all.
        untold: refusals for lack of room that did not say when to ask again.
        latency_ms: of every answer.
        odd: the first answer of each status that is neither 200, 429 nor 503.
        spent_s: processor seconds that were spent meanwhile, by each of `serving.bench.ledger.WHO`.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    untold: int = 0
    latency_ms: list[float] = field(default_factory=list)
    odd: dict[int, str] = field(default_factory=dict)
    spent_s: np.ndarray = field(default_factory=lambda: np.zeros(len(WHO)))

    @property
    def per_s(self) -> float:
        """Requests that were answered with 200, a second."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        """Whatever is neither an answer nor a refusal that says when to ask again."""
        return sum(n for status, n in self.statuses.items() if status not in (200, 429, 503)) + self.untold

    def add(self, other: Tally) -> None:
        """Take another's counts in."""
        self.seconds += other.seconds
        self.statuses += other.statuses
        self.untold += other.untold
        self.latency_ms += other.latency_ms
        self.spent_s = self.spent_s + other.spent_s
        self.odd |= {status: text for status, text in other.odd.items() if status not in self.odd}

    @property
    def spent_us(self) -> dict[str, float]:
        """Processor time of an answer, microseconds, by who spent it."""
        return dict(zip(WHO, (self.spent_s / max(self.statuses[200], 1) * 1e6).tolist(), strict=True))

    def quantile_ms(self, q: float) -> float:
        """A quantile of the latency."""
        return float(np.quantile(self.latency_ms, q)) if self.latency_ms else float("nan")


def request(method: str, host: str, path: str, body: bytes = b"", key: str | None = None) -> bytes:
    """The bytes of a request."""
    head = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    if key is not None:
        head.append(f"authorization: Bearer {key}")
    return "\r\n".join([*head, "", ""]).encode() + body


def press(host: str, port: int, clients: Sequence[NextRequest], seconds: float) -> Tally:
    """Let clients ask for a while, each its next request as soon as its last is answered."""
    before = spent_s()
    tally = asyncio.run(_press(host, port, clients, seconds))
    tally.spent_s = spent_s() - before
    return tally


async def _press(host: str, port: int, clients: Sequence[NextRequest], seconds: float) -> Tally:
    tally, started = Tally(), time.perf_counter()
    await asyncio.gather(*(_client(host, port, ask, started + seconds, tally) for ask in clients))
    tally.seconds = time.perf_counter() - started
    return tally


async def _client(host: str, port: int, ask: NextRequest, until: float, tally: Tally) -> None:
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    number = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        try:
            if connection is None:
                connection = await asyncio.open_connection(host, port)
            reader, writer = connection
            writer.write(ask(number))
            number += 1
            status, headers, body = await asyncio.wait_for(read_answer(reader), PATIENCE_S)
        except (OSError, EOFError, ValueError, TimeoutError):
            if connection is not None:
                connection[1].close()
            tally.statuses[0] += 1
            connection = None
            await asyncio.sleep(0.01)
            continue
        tally.latency_ms.append((time.perf_counter() - started) * 1e3)
        tally.statuses[status] += 1
        if status in (429, 503):
            tally.untold += b"retry-after:" not in headers.lower()
        elif status != 200:
            tally.odd.setdefault(status, body[:200].decode(errors="replace"))
        if b"connection: close" in headers.lower():
            writer.close()
            connection = None
    if connection is not None:
        connection[1].close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, headers and body of an answer.

    Raises:
        EOFError: if the connection ends.
        ValueError: if it is no HTTP that a length was given for.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    found = head.lower().partition(b"content-length:")[2]
    if found:
        return status, head, await reader.readexactly(int(found.split(b"\r\n", 1)[0]))
    if b"transfer-encoding: chunked" not in head.lower():
        raise ValueError("an answer without a length")
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return status, head, b"".join(parts)
