"""A Ray of one's own for serving: started on loopback, in a folder of its own, and gone without a trace afterwards."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from envs.core.errors import CityloopError
from serving.logs import Receiver
from serving.loopback import LOOPBACK, confine_cluster, confine_worker
from serving.streams import MAX_SUBSCRIBERS
from serving.wire import MAX_BODY_BYTES, MAX_LOOPS

if TYPE_CHECKING:
    from serving.build import Plan

OBJECT_STORE_BYTES = 80_000_000
"""The least that Ray accepts, roughly; requests do not pass through the object store."""

END_S = 3.0
"""How long Ray's processes may take to end by themselves."""

MAX_MESSAGE_BYTES = 2 * MAX_BODY_BYTES
"""Longest message over gRPC; Ray Serve's own limit is 2 GiB."""

QUEUE = 32
"""Ticks that may wait: a control loop is better served by a refusal than by an answer to an old question."""


def check_port(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    Raises:
        CityloopError: if the port is in use, not allowed, or the host is not this machine's.
    """
    if not 1 <= port <= 65535:
        raise CityloopError(f"port is {port}: give one from 1 to 65535")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CityloopError(f"port {port} on {host} cannot be used ({reason}): choose another with --port") from None


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Cluster:
    """Ray and Ray Serve for one service; use ``with``.

    Args:
        host: address to serve on.
        port: port to serve on.
        grpc_port: port of loopback to serve gRPC on; None: none.
    """

    def __init__(self, host: str, port: int, grpc_port: int | None = None):
        self.host, self.port, self.grpc_port = host, port, grpc_port
        # A short path, as it becomes part of the names of Unix sockets, which may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp"))
        self._logs = Receiver(self._folder / "logs.sock")

    def _configure(self) -> None:
        """Settings that Ray Serve reads from the environment of every process; whoever set one keeps it."""
        metrics, stats, inner, inner_grpc = free_ports(4)
        proxy = self._folder / "proxy"
        settings = {
            # HAProxy answers an empty request in a tenth of the time of Serve's Python proxy (0.7 against 8.5 ms).
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            # Two services on one machine must not share files or ports.
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(inner),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(inner_grpc),
            "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",
            # There is no other replica that a client could be sent to: nothing to wait for when stopping.
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "2",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        for key, value in settings.items():
            os.environ.setdefault(key, value)

    def __enter__(self) -> Cluster:
        try:
            self._configure()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        import ray
        from ray import serve

        confine_cluster()
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace="cityloop",
            object_store_memory=OBJECT_STORE_BYTES,
            runtime_env={"worker_process_setup_hook": confine_worker},
            _temp_dir=str(self._folder),
        )
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(
            http_options={"host": self.host, "port": self.port},
            grpc_options=self._grpc_options(),
            logging_config=_quiet(),
        )

    def _grpc_options(self) -> dict[str, Any] | None:
        if self.grpc_port is None:
            return None
        servicer = "serving.rpc.cityloop_pb2_grpc.add_CityloopServicer_to_server"
        return {"port": self.grpc_port, "grpc_servicer_functions": [servicer], "enable_reflection": False}

    def run(self, plan: Plan, name: str, route: str = "/") -> None:
        """Serve a plan's sites at a route."""
        from serving.replica import deployment

        self._run(deployment(), name, route, replace(plan, logs=self._logs.path))

    def run_empty(self, route: str) -> None:
        """Serve an empty answer at a route: what Ray Serve itself costs."""

        class Empty:
            async def __call__(self, request: Any) -> str:
                return ""

        self._run(Empty, "empty", route)

    @staticmethod
    def _run(target: type, name: str, route: str, *args: Any) -> None:
        from ray import serve

        made = serve.deployment(
            target,
            name=name,
            num_replicas=1,  # every change of replicas makes HAProxy reload, which may cost requests
            ray_actor_options={"num_cpus": 0.5},
            # Whoever listens to events, or keeps a loop, is under way all the time.
            max_ongoing_requests=16 + MAX_SUBSCRIBERS + MAX_LOOPS,
            max_queued_requests=QUEUE,
            max_constructor_retry_count=1,
            graceful_shutdown_timeout_s=2.0,
            graceful_shutdown_wait_loop_s=0.1,
            logging_config=_quiet(),
        )
        serve.run(made.bind(*args), name=name, route_prefix=route)

    def close(self) -> None:
        """Stop Serve, HAProxy and Ray, and remove their files. May be called twice."""
        import ray
        from ray import serve

        # Ray prints, on standard output, that the controller which was told to end has ended.
        with redirect_stdout(io.StringIO()):
            try:
                if ray.is_initialized():
                    serve.shutdown()
            finally:
                ray.shutdown()
                _end_users(self._folder)
                self._logs.close()
                shutil.rmtree(self._folder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end_users(folder: Path) -> None:
    """Wait for the processes that work in a folder to end, and end those that do not.

    Ray's agents lose their parent where Ray is stopped while it starts; by their log files they are still found.
    """
    deadline = time.monotonic() + END_S
    while users := _users(folder):
        if time.monotonic() > deadline:
            for pid in users:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _users(folder: Path) -> list[int]:
    """Other processes that have a file of a folder open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(link) for link in (entry / "fd").iterdir()]
        except OSError:  # it has just ended, or is somebody else's
            continue
        if int(entry.name) != os.getpid() and any(link.startswith(f"{folder}/") for link in links):
            found.append(int(entry.name))
    return found


def _quiet() -> dict[str, Any]:
    """Log what goes wrong, not every request."""
    return {"log_level": "WARNING", "enable_access_log": False}
