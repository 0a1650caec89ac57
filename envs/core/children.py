"""Processes of our own, for plants and whole episodes: how they start, and what is said of those that never began.

They come from a fork server: a process that has imported what they run and has done nothing else. So each begins at
once, shares what was imported with the others, and has never simulated.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from envs.core.sockets import socket_folder

CONTEXT: ForkServerContext = mp.get_context("forkserver")
"""Where their pipes and whatever else they share with their parent come from."""

UNSTARTED = 1
"""Exit code of a process that could not even import what it runs."""

GUARD = 'in a script of your own call this under `if __name__ == "__main__":`, as processes import the script'
"""The mend, most often: a process that is started imports its parent's main module."""

SOCKET = "pymp-xxxxxxxx/listener-xxxxxxxx"
"""How the fork server calls its socket in the temporary folder."""

SHARED = ("envs", "agents")
"""Packages that children will need as far as their parent has imported them."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def start_child(target: Callable[..., object], *arguments: Any, daemon: bool = True) -> BaseProcess:
    """Start a process that calls a function.

    It uses one thread, as matrices are small and there are as many processes as cores, and it never hears of Ctrl-C.

    Args:
        target: at the top of a module. What the first one's module brings is imported once for all that follow, and
            so is what this process has imported of systems and controllers by then.
        arguments: what it is called with; can be pickled.
        daemon: whether it is ended when this process leaves in an orderly way, and has no children itself.
    """
    ours = [name for name in sys.modules if name.partition(".")[0] in SHARED]
    CONTEXT.set_forkserver_preload([target.__module__, *ours])
    _find_room_for_socket()
    with _one_thread_each(), deaf_to_interrupts():
        process = CONTEXT.Process(target=_live, args=(dict(os.environ), target, arguments), daemon=daemon)
        process.start()
    return process


def _find_room_for_socket() -> None:
    """Settle where this process's sockets lie, before the fork server does."""
    usual, folder = tempfile.gettempdir(), socket_folder(SOCKET)
    if folder != usual:
        tempfile.tempdir = folder
        try:
            util.get_temp_dir()  # made once a process, and taken away when it ends
        finally:
            tempfile.tempdir = usual


def _live(environment: dict[str, str], target: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """A child's life, in the environment of its parent at that moment, not in the fork server's."""
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile never hear of Ctrl-C: it reaches a terminal's whole group of processes, and
    the caller ends its own in an orderly way. From their first moment on, as they import before they can say so.
    """
    resource_tracker.ensure_running()  # it starts with the first, and would let interrupts in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
