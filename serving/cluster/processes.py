"""Looking at processes through ``/proc``: those that belong to a service, and the resources that each holds."""

from __future__ import annotations

import os
from pathlib import Path


def family(pid: int) -> list[int]:
    """All processes under a process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(_stat(int(entry.name))[1])
        except OSError:
            continue  # it has just ended
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _stat(pid: int) -> list[bytes]:
    """Fields of a process from its state on; its name, ahead of them, is cut after 15 bytes, maybe inside a letter.

    Raises:
        OSError: if it has ended.
    """
    return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return _stat(pid)[0] not in (b"Z", b"X")
    except OSError:
        return False


def title(pid: int) -> str:
    """Title of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def processor_s(pid: int) -> float:
    """Processor time that a process has spent, seconds; 0 if it has ended."""
    try:
        fields = _stat(pid)
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that a process holds; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    """File descriptors that a process holds; 0 if it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
