"""Folders for Unix sockets: their paths are limited in length, and Ray takes only ASCII in them."""

from __future__ import annotations

import os
import tempfile

LONGEST = 107
"""Longest path of a socket in bytes: that of ``unix(7)``, without the terminating zero."""

SHORT = "/tmp"
"""Folder with a short path, in ASCII."""


def socket_folder(name: str) -> str:
    """The temporary folder, or `SHORT` if a socket's path would be too long there or is not ASCII.

    Args:
        name: path of the socket, relative to the folder.
    """
    usual = tempfile.gettempdir()
    return usual if usual.isascii() and len(os.fsencode(f"{usual}/{name}")) <= LONGEST else SHORT
