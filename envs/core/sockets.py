"""Where sockets lie: what names them has room for short paths only, and batch systems have long temporary folders."""

from __future__ import annotations

import os
import tempfile

LONGEST = 107
"""Bytes of a socket's path, by ``unix(7)`` less the zero that ends it."""

SHORT = "/tmp"
"""Where a folder with a short path can be made."""


def socket_folder(name: str) -> str:
    """The temporary folder, or `SHORT` where a socket's path would be too long in it.

    Args:
        name: of the socket, in the folder.
    """
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(f"{usual}/{name}")) <= LONGEST else SHORT
