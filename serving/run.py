"""Starting and stopping the service.

Ray Serve runs one replica behind HAProxy, all of it on this machine and on loopback unless another host is asked for.
Everything that a user may get wrong is checked before Ray starts, which takes seconds.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import orjson

from envs.core.errors import CityloopError
from envs.core.registry import get_system
from envs.core.site import Site
from serving.cluster import Cluster, check_port
from serving.sites import SiteService, load_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI


@dataclass(frozen=True)
class Plan:
    """What a replica needs to know to build its services: plain data, so it travels to another process.

    Attributes:
        sites: (system, site as JSON).
        policy, fallback, deadline_ms: as in `serve`.
    """

    sites: tuple[tuple[str, str], ...]
    policy: str
    fallback: str | None
    deadline_ms: float

    @classmethod
    def make(cls, scenarios: Sequence[str], policy: str, fallback: str | None, deadline_ms: float) -> Plan:
        """A plan from references.

        Raises:
            CityloopError: if a reference is unknown, or two sites have one name.
        """
        if not scenarios:
            raise CityloopError("there is nothing to serve: name at least one scenario, e.g. intersections/cologne8")
        sites: dict[str, Site] = {}
        for ref in scenarios:
            site = load_site(ref)
            address = f"{site.system}/{site.name}"
            if address in sites:
                raise CityloopError(f"two sites are called {address}: rename one of them")
            sites[address] = site
        return cls(
            tuple((site.system, site.model_dump_json()) for site in sites.values()), policy, fallback, deadline_ms
        )

    def services(self) -> list[SiteService]:
        """The services.

        Raises:
            CityloopError: if a controller is unknown, unfit, or cannot decide.
        """
        sites = [get_system(system).site_class.model_validate_json(text) for system, text in self.sites]
        return [SiteService.open(site, self.policy, self.fallback, self.deadline_ms) for site in sites]


def app_builder(plan: Plan) -> Callable[[], FastAPI]:
    """What builds the app, in the replica. A function, as Ray Serve takes other callables for the app itself."""

    def build() -> FastAPI:
        from serving.app import create_app

        return create_app(plan.services())

    return build


class ServeHandle:
    """A running service; close it, or use ``with``.

    Attributes:
        url: where it answers.
        sites: what it serves, as plain data.
    """

    def __init__(self, cluster: Cluster, services: Sequence[SiteService]):
        self._cluster = cluster
        self.url = f"http://{cluster.host}:{cluster.port}"
        self.sites = [
            {
                "system": s.site.system,
                "site": s.site.name,
                "act": f"{self.url}/v1/{s.ref}/act",
                **s.in_charge.model_dump(),
            }
            for s in services
        ]

    def run_empty(self, route: str) -> None:
        """Serve an empty answer beside the sites, to measure against."""
        self._cluster.run_empty(route)

    def close(self) -> None:
        """Stop the service and everything that it started. May be called twice."""
        self._cluster.close()

    def __enter__(self) -> ServeHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(
    scenarios: Sequence[str],
    policy: str = "policy",
    fallback: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    deadline_ms: float = 100.0,
    block: bool = True,
    as_json: bool = False,
) -> ServeHandle | None:
    """Serve sites over HTTP.

    Args:
        scenarios: scenarios' references, YAML files, or sites' JSON files.
        policy: who decides: a controller's name, ``policy`` for the shipped one, or a bundle's path.
        fallback: who decides if that fails or is late; the system's own fallback if not given.
        host: address to listen on.
        port: port to listen on.
        deadline_ms: how long a decision may take before the fallback decides.
        block: stay until Ctrl-C or SIGTERM, then stop everything.
        as_json: say on standard output, as one line of JSON, what is served where.

    Returns:
        The running service if ``block`` is false.

    Raises:
        CityloopError: if something cannot be served as asked, or it was stopped before it served.
    """
    plan = Plan.make(scenarios, policy, fallback, deadline_ms)
    services = plan.services()
    check_port(host, port)
    if not block:
        return _start(plan, services, host, port)
    stop, out = threading.Event(), sys.stdout
    # What Ray prints now and then belongs to standard error, like everything else that is not the answer.
    with _told_to_stop(), redirect_stdout(sys.stderr):
        with _start(plan, services, host, port) as handle:
            _listen(stop)
            _announce(handle, services)
            if as_json:
                print(orjson.dumps({"url": handle.url, "sites": handle.sites}).decode(), file=out, flush=True)
            stop.wait()
        print("stopped", file=sys.stderr)
    return None


def _start(plan: Plan, services: Sequence[SiteService], host: str, port: int) -> ServeHandle:
    cluster = Cluster(host, port)
    try:
        cluster.__enter__()
        cluster.run_app(app_builder(plan), "cityloop")
    except BaseException:
        cluster.close()
        raise
    finally:
        for service in services:
            service.close()
    return ServeHandle(cluster, services)


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the service in an orderly way; give them back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter is how Ray takes SIGTERM while it starts
        raise CityloopError("the service was stopped while it started") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listen(stop: threading.Event) -> None:
    """From here on a signal ends the wait, and another one does not disturb the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


def _announce(handle: ServeHandle, services: Sequence[SiteService]) -> None:
    for service in services:
        how = f"bundle {service.bundle}" if service.bundle else "rule"
        print(
            f"{service.ref}: {len(service.site.agents)} agents, {service.controller.name} ({how}), "
            f"fallback {service.fallback.name} after {service.deadline_ms:g} ms",
            file=sys.stderr,
        )
    site = f"{handle.url}/v1/{services[0].ref}"
    print(f"serving on {handle.url} (documentation at {handle.url}/docs); Ctrl-C stops it. Try:", file=sys.stderr)
    print(f"  curl -s {site} | jq .example | curl -s -d @- {site}/act", file=sys.stderr)
