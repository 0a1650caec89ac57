"""A private Ray for serving: started on loopback, in a folder of its own, and removed completely afterwards."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from envs.core.errors import CityloopError
from envs.core.machine.cache import can_be_made
from serving.cluster.guardian import Guardian, end_users
from serving.cluster.loopback import LOOPBACK, confine_cluster
from serving.cluster.machine import OwnFolder, check_files, connections
from serving.cluster.options import options, quiet
from serving.cluster.ports import free_ports
from serving.cluster.proxy import DRAIN_S, PEM, bundle_tls, drain_proxy
from serving.cluster.shards import Shard, shards_of
from serving.cluster.worker import set_up_worker
from serving.config import ServiceConfig, Tls
from serving.core.wire import MAX_BODY_BYTES
from serving.watch.logs import Receiver

if TYPE_CHECKING:
    from serving.build import Plan

LOGGER = logging.getLogger("cityloop.serving")

LATE = "timed out during startup"
"""What Ray says where its processes took more than half a minute to begin."""

OBJECT_STORE_BYTES = 80_000_000
"""The least that Ray accepts, roughly; requests do not pass through the object store."""

READY_S = 60.0
"""Seconds for the proxy to learn of the replicas."""

PLACES = 4096
"""Ray's count of cores, of which each process takes a half: more than a service ever has, as sites may come later."""

RAYS = "ray"
"""Ray's folder within the service's: Ray opens it to every user, and the service's own stays closed to them."""

ANSWER_S = 10.0
"""Seconds for Ray Serve's controller to answer at the end."""

THREADS = "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"
"""Environment variable of a replica: whether requests are handled in another thread than they are read in."""

MAX_MESSAGE_BYTES = 2 * MAX_BODY_BYTES
"""Longest message over gRPC; Ray Serve's own limit is 2 GiB."""


AUTH = "RAY_AUTH_MODE"
"""Environment variable: Ray's authentication. Read once, when Ray is imported."""

TOKEN = "RAY_AUTH_TOKEN"
"""Environment variable: the token itself; without it Ray makes one, kept in the user's home for all services."""

SETTINGS = {
    # HAProxy answers an empty request in a tenth of the time of Serve's Python proxy (0.7 against 8.5 ms).
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # A tick that changes threads on its way in, and again on its way out, costs its process a tenth to a fifth more,
    # and its plant four tenths of a millisecond. Whatever takes long here has a thread of its own.
    THREADS: "0",
    # The service counts its answers itself; HAProxy's own count is a line of text a request, for nobody.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # A replica that goes answers until HAProxy has heard of the one that comes.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # A refused connection is a replica that is gone: the client shall know at once, not after a second try.
    "RAY_SERVE_HAPROXY_RETRIES": "0",
    # A dead proxy is noticed after three looks.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    # One that starts on a busy machine may take longer than the five seconds that Ray gives it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(DRAIN_S),
    # Workers that begin before anything asks for them suit nobody here, and those that are asked for wait beside them.
    "RAY_prestart_worker_first_driver": "0",
    # Ray's own default is 15, with which anything else that runs on the machine goes first: a plant waits, and beside
    # two busy processes on two cores no service even begins.
    "RAY_worker_niceness": "0",
    # Whoever reaches Ray itself may run anything: also on loopback only with its token.
    AUTH: "token",
}
"""Environment variables of Ray's processes, read at their start; those that are set already are kept."""


def check_ray() -> None:
    """Make sure that this process can still start a Ray of the service's own.

    Raises:
        CityloopError: if it runs one already, or has imported Ray without the service's settings.
    """
    ray = sys.modules.get("ray")
    if ray is None:
        return
    if ray.is_initialized():
        raise CityloopError("Ray runs in this process already: serve in another, or call ray.shutdown() before")
    if AUTH not in os.environ:
        raise CityloopError(
            f"Ray was imported before it could be told how to serve safely: serve in another process, import ray "
            f"later, or set {AUTH}=token before Python starts"
        )


def hear_ray(tell: Callable[[str], None]) -> None:
    """Tell what Ray tells this process, such as that a worker died: by itself it prints that, in colours."""
    from ray._private import worker

    def heard(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        tell(" ".join(data["lines"]))

    worker.print_to_stdstream = heard


def check_processes() -> None:
    """Make sure that Ray can start processes: Ray Serve would wait for its own without an end.

    Raises:
        CityloopError: if it does not.
    """
    import ray

    try:
        ray.get(ray.remote(num_cpus=0)(_nothing).remote(), timeout=READY_S)
    except ray.exceptions.GetTimeoutError:
        raise CityloopError(
            f"Ray has begun no process within {READY_S:g} s: free memory, a twentieth of which must be left, or "
            "processor time"
        ) from None


def _nothing() -> None:
    """An empty task, to see whether a process starts."""


def answers() -> bool:
    """Whether Ray Serve's controller is there and answers in time: Ray Serve itself waits for it for ever."""
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        ray.get(controller.check_alive.remote(), timeout=ANSWER_S)
    except (ValueError, ray.exceptions.RayError):
        return False
    return True


def _deploy(shard: Shard) -> None:
    """Let Ray Serve run a shard, and wait until it does.

    Raises:
        CityloopError: if its process cannot start.
        RuntimeError: if that is a fault of the service itself.
    """
    import ray
    from ray import serve

    from serving.cluster.replica import application

    try:
        serve.run(application(shard), name=shard.name, route_prefix=shard.route)
    except RuntimeError as error:
        found = serve.status().applications[shard.name].deployments.values()
        said = "\n".join(one.message for one in found) or str(error)
        raise refusal_in(said) or RuntimeError(said) from None
    except (TimeoutError, ray.exceptions.RayError) as error:
        raise CityloopError(f"{shard.name} did not begin ({_reason(str(error))}): try again") from None


def refusal_in(said: str) -> CityloopError | None:
    """The refusal of a process that could not start, from the traces that Ray passes on; the last one counts."""
    name = f"{CityloopError.__module__}.{CityloopError.__qualname__}: "
    last = said.rstrip().rsplit("\n", 1)[-1]
    return CityloopError(last.removeprefix(name)) if last.startswith(name) else None


def _reason(said: str) -> str:
    """The reason in one line of the output of Ray or its proxy: the first that names an address, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    bound = [line[line.index("cannot bind") :] for line in lines if "cannot bind" in line]
    return (bound or lines[-1:] or ["it gives no reason"])[0].replace("(", "").replace(")", "").rstrip(".")


class Cluster:
    """Ray and Ray Serve for one service; use ``with``.

    Args:
        config: of the service: address, encryption, processes.
    """

    def __init__(self, config: ServiceConfig):
        self.config = config
        # A short path, as it becomes part of the names of Unix sockets, which may have 107 characters.
        self._own_folder = OwnFolder()
        self._folder = self._own_folder.path
        self._guardian = Guardian(self._folder)
        self._own: list[str] = []  # settings in the environment that are this service's alone
        self._deployed: dict[str, Shard] = {}
        self._ending = False
        self._logs = Receiver(self._folder / "logs.sock")

    def configure(self) -> None:
        """Set the environment variables that Ray Serve reads in every process; those that are set already are kept.

        Done by ``with``; to be called by programs that start another kind of Ray.
        """
        metrics, stats, inner, inner_grpc = free_ports(4)
        proxy = self._folder / "proxy"
        own = {  # two services on one machine must not share files or ports
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(inner),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(inner_grpc),
        }
        settings = {**SETTINGS, "RAY_SERVE_HAPROXY_MAXCONN": str(connections())}
        if not can_be_made(Path(os.path.expanduser("~")) / ".ray"):  # where Ray keeps the token
            settings[TOKEN] = secrets.token_hex(32)
        self.take_certificate(self.config.tls)
        self._own = [key for key in own if key not in os.environ]
        os.environ.update({key: own[key] for key in self._own})
        for key, value in settings.items():
            os.environ.setdefault(key, value)

    def take_certificate(self, tls: Tls | None) -> None:
        """Encrypt with a certificate and key as they are now: HAProxy reads them whenever a process is replaced.

        Raises:
            CityloopError: if they cannot be used; the former ones hold.
        """
        if tls is not None:
            os.environ[PEM] = str(bundle_tls(tls, self._folder))

    def __enter__(self) -> Cluster:
        try:
            check_files()
            check_ray()
            self.configure()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        import ray
        from ray import serve

        confine_cluster()
        hear_ray(self._tell_of_ray)
        stop = signal.getsignal(signal.SIGTERM)
        try:
            try:
                self._start_ray()
            except Exception as error:
                if LATE not in str(error):
                    raise
                LOGGER.warning("Ray did not start in time, as the machine is busy: it is started once more")
                end_users(self._folder)
                self._start_ray()
        except Exception as error:  # Ray raises nothing more particular
            mend = "see to memory, and to how many processes may run, 'ulimit -u', and try again"
            if LATE in str(error):
                mend = "the machine is too busy: try again when less is at work on it"
            raise CityloopError(f"Ray did not start ({_reason(str(error))}): {mend}") from None
        with suppress(TypeError, ValueError):  # none of Python's, or not the main thread, where Ray changes nothing
            signal.signal(signal.SIGTERM, stop)  # not the two that Ray has put there: they print traces, or abort
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            check_processes()
            serve.start(
                http_options={"host": self.config.host, "port": self.config.port},
                grpc_options=self._grpc_options(),
                logging_config=quiet(),
            )
        except (TimeoutError, ray.exceptions.RayError) as error:
            raise CityloopError(
                f"Ray did not start ({_reason(str(error))}): try again, or free what it needs"
            ) from None

    def _tell_of_ray(self, text: str) -> None:
        if not self._ending:
            LOGGER.warning("Ray: %s", text)

    def _start_ray(self) -> None:
        import ray

        ray.init(
            address="local",
            num_cpus=PLACES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace="cityloop",
            object_store_memory=OBJECT_STORE_BYTES,
            runtime_env={"worker_process_setup_hook": set_up_worker},
            _temp_dir=str(self._folder / RAYS),
        )

    def _grpc_options(self) -> dict[str, Any] | None:
        if self.config.grpc_port is None:
            return None
        servicer = "serving.rpc.cityloop_pb2_grpc.add_CityloopServicer_to_server"
        return {"port": self.config.grpc_port, "grpc_servicer_functions": [servicer], "enable_reflection": False}

    def run(self, plan: Plan) -> None:
        """Serve a plan's sites, and no others. Takes as long as its policies take to load.

        Raises:
            CityloopError: if a process cannot start; the former ones go on.
            RuntimeError: if one fails by a fault of the service itself.
        """
        former, shards = dict(self._deployed), shards_of(replace(plan, logs=self._logs.path))
        for shard in shards:
            try:
                _deploy(shard)
            except (CityloopError, RuntimeError):
                if shard.name in former:
                    # Ray Serve gives up a version that cannot start, and no longer replaces a former process that dies.
                    with suppress(CityloopError, RuntimeError):
                        _deploy(former[shard.name])
                if former:  # else the whole service ends
                    self._end({shard.name, *self._deployed} - former.keys())
                raise
            self._deployed[shard.name] = shard
        self._end(former.keys() - {shard.name for shard in shards})

    def _end(self, names: Collection[str]) -> None:
        """End applications."""
        from ray import serve

        for name in names:
            self._deployed.pop(name, None)
            serve.delete(name)

    def wait_until_ready(self, plan: Plan) -> None:
        """Wait until the proxy knows every replica.

        Raises:
            CityloopError: if it does not.
        """
        url = self.config.url.replace("//0.0.0.0:", f"//{LOOPBACK}:")
        waiting = ["/healthz", *(f"/v1/{site.system}/{site.name}" for _, site in plan.places())]
        deadline = time.monotonic() + READY_S
        # Certificates are the clients' affair: this asks its own machine whether it is there.
        with httpx.Client(trust_env=False, verify=False) as http:
            while waiting and time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    if http.get(url + waiting[0]).status_code != 503:
                        waiting.pop(0)
                        continue
                time.sleep(0.05)
        if waiting:
            raise CityloopError(f"{url}{waiting[0]} does not answer within {READY_S:g} s: look at the logs of Ray")

    def check(self) -> None:
        """Make sure that its folder still exists, without which it cannot go on.

        Raises:
            CityloopError: if it does not.
        """
        self._own_folder.check()

    def run_empty(self, name: str, as_it_comes: bool = False) -> None:
        """Serve an empty answer at ``/name``, to measure the cost of Ray Serve itself.

        Args:
            name: of the application.
            as_it_comes: handle requests in a thread of their own, as Ray Serve does unless it is told otherwise.
        """
        from ray import serve

        class Empty:
            async def __call__(self, request: Any) -> str:
                return ""

        how = options()
        if as_it_comes:
            how["ray_actor_options"] = {**how["ray_actor_options"], "runtime_env": {"env_vars": {THREADS: "1"}}}
        serve.run(serve.deployment(Empty, name=name, **how).bind(), name=name, route_prefix=f"/{name}")

    def close(self) -> None:
        """Stop Serve, HAProxy and Ray, and remove their files. May be called twice."""
        # None where Ctrl-C broke off their import, which would fail a second time.
        ray, serve = sys.modules.get("ray"), sys.modules.get("ray.serve")
        self._ending = True  # Ray tells that the controller which was told to end has ended
        try:
            if ray is not None and serve is not None and ray.is_initialized() and answers():
                drain_proxy(self._folder)
                serve.shutdown()
        finally:
            if ray is not None:
                ray.shutdown()
            # Not all of them: settings that Ray read when it was imported hold for its next start.
            for key in (PEM, *self._own):
                os.environ.pop(key, None)
            self._own = []
            end_users(self._folder)
            self._logs.close()
            self._own_folder.remove()
            self._guardian.dismiss()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
