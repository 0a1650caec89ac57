"""A private Ray on this machine for as long as something is trained."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from envs.core.errors import CityloopError
from envs.core.machine.sockets import socket_folder

LOGGER = logging.getLogger(__name__)

SOCKET = "ray/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""Pattern of Ray's longest socket path, relative to the temporary folder."""


@contextmanager
def ray_session(cpus: int, least: int = 0) -> Iterator[None]:
    """A private Ray on this machine, without dashboard and log output; or the Ray that already runs in this process.

    Args:
        cpus: cores of a private Ray, a count of places for processes.
        least: cores without which nothing can begin; a Ray that already runs may have fewer, and a warning says so.

    Raises:
        CityloopError: if Ray does not start, e.g. because a busy machine exceeds Ray's deadline of 30 s.
    """
    import ray
    from ray._private import ray_constants

    if ray.is_initialized():
        _warn_of_few(int(ray.cluster_resources().get("CPU", 0)), least)
        yield
        return
    # A trainer needs no access from the network, so Ray's servers listen on loopback.
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.setdefault("RAY_TMPDIR", socket_folder(SOCKET))
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    usual = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryDirectory(prefix="cityloop-ray-", ignore_cleanup_errors=True) as folder:
        try:
            with _temporary_folder(folder):
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                )
        except SystemExit:  # how Ray takes SIGTERM while it starts
            with _stopped_in_order(usual):
                signal.raise_signal(signal.SIGTERM)
            raise
        except Exception as error:  # Ray raises no more specific error
            said = str(error).strip().rstrip(".") or type(error).__name__
            raise CityloopError(
                f"Ray did not start ({said.splitlines()[-1]}): see to memory, to how many processes may run, "
                "'ulimit -u', and to what else is at work, and try again"
            ) from None
        try:
            with _stopped_in_order(usual):
                yield
        finally:
            with _undisturbed():
                ray.shutdown()


@contextmanager
def _temporary_folder(folder: str) -> Iterator[None]:
    """Give the processes that start within this context another temporary folder.

    Ray kills its workers, which then remove nothing that they made there, such as the sockets of their children.
    """
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _warn_of_few(cpus: int, least: int) -> None:
    """Say why nothing happens. It is no error, because a cluster may get more machines on demand."""
    if cpus < least:
        LOGGER.warning(
            "the Ray that runs in this process has num_cpus=%d and this needs %d, so it waits for more: "
            "end it by ray.shutdown(), or start it with num_cpus=%d",
            cpus,
            least,
            least,
        )


@contextmanager
def _stopped_in_order(usual: Any) -> Iterator[None]:
    """Let SIGTERM interrupt. Ray's own handler prints a stack trace and leaves plants running.

    Args:
        usual: handler from before Ray's, which is used if it is a function; otherwise, the signal is like Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return
    signal.signal(signal.SIGTERM, usual if callable(usual) else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if usual is None else usual)  # None: not set from Python


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM. A second one would interrupt Ray's shutdown, and leave processes of Ray running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
