"""Ports of this machine: those that are asked for, and free ones."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

from envs.core.errors import CityloopError
from serving.cluster.loopback import LOOPBACK

PORTS = range(20_000, 32_000)
"""Range of free ports: below those that Linux gives to outgoing connections, and beside Ray's own (52365)."""


def check_port(host: str, port: int, another: str = "--port or --host") -> None:
    """Refuse an address that cannot be listened on.

    Args:
        host: an IPv4 address.
        port: of it.
        another: options that choose another address, for the error.

    Raises:
        CityloopError: if the port is in use, not allowed, or the host is not this machine's.
    """
    if not 1 <= port <= 65535:
        raise CityloopError(f"port is {port}: give one from 1 to 65535")
    if ":" in host:  # Ray Serve 2.60 waits in vain for a proxy that listens on IPv6
        raise CityloopError(f"host is {host!r}: give an IPv4 address of this machine, such as {LOOPBACK}")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CityloopError(f"port {port} on {host} cannot be used ({reason}): choose another {another}") from None


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on at this moment.

    Raises:
        CityloopError: if there are not so many.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            found.append(port)
        if len(found) == count:
            return found
    raise CityloopError(f"this machine has no {count} free ports from {PORTS.start} to {PORTS.stop - 1}: close some")
