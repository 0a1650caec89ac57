"""Child processes for plants and whole episodes: how they start, and the error for one that fails to start.

Children are forked from a fork server, a process that has imported the code that they run and has done nothing else.
So each child starts quickly, shares the imported modules with the others, and has never run a simulator.
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

from envs.core.machine.sockets import socket_folder

CONTEXT: ForkServerContext = mp.get_context("forkserver")
"""Multiprocessing context of all children; it also makes the pipes that they share with their parent."""

UNSTARTED = 1
"""Exit code of a child whose imports failed, so that it never started its work."""

MAIN_HINT = 'in a script of your own call this under `if __name__ == "__main__":`, as processes import the script'
"""The usual remedy for `UNSTARTED`: a started process imports the main module of its parent."""

SOCKET = "pymp-xxxxxxxx/listener-xxxxxxxx"
"""Pattern of the path of the fork server's socket, relative to the temporary folder."""

SHARED = ("envs", "agents")
"""Packages whose modules the fork server preloads, as far as the parent has imported them."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that limit the threads of numerical libraries."""


def start_child(target: Callable[..., object], *arguments: Any, daemon: bool = True) -> BaseProcess:
    """Start a child process that calls a function.

    The child uses one thread, because matrices are small and there is about one process per core. It ignores Ctrl-C.

    Args:
        target: a function at module level. At the first call, its module and all modules of `SHARED` that this process
            has imported are preloaded into the fork server, for all later children too.
        arguments: picklable arguments of the function.
        daemon: whether the child is terminated when this process exits normally; a daemon cannot have children.
    """
    ours = [name for name in sys.modules if name.partition(".")[0] in SHARED]
    CONTEXT.set_forkserver_preload([target.__module__, *ours])
    _find_room_for_socket()
    with _one_thread_each(), deaf_to_interrupts():
        process = CONTEXT.Process(target=_live, args=(dict(os.environ), target, arguments), daemon=daemon)
        process.start()
    return process


def _find_room_for_socket() -> None:
    """Choose the folder of this process's sockets before the fork server does."""
    usual, folder = tempfile.gettempdir(), socket_folder(SOCKET)
    if folder != usual:
        tempfile.tempdir = folder
        try:
            util.get_temp_dir()  # created once per process, removed when the process ends
        finally:
            tempfile.tempdir = usual


def _live(environment: dict[str, str], target: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Entry point of a child: take over the parent's present environment, not the fork server's; call the target."""
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Block SIGINT in all processes that are started within this context.

    A terminal sends Ctrl-C to its whole process group, but the caller shuts its children down in order. Children start
    with the signal blocked, because their imports run before they could install a handler.
    """
    resource_tracker.ensure_running()  # it would start with the first child, and unblock the signal
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
