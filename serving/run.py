"""Starting and stopping the service.

Ray Serve runs one replica behind HAProxy, all of it on this machine and on loopback unless another host is asked for.
Everything that a user may get wrong is checked before Ray starts, which takes seconds.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stdout, suppress
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import orjson

from envs.core.errors import CityloopError
from serving.build import Plan
from serving.cluster.loopback import LOOPBACK
from serving.cluster.ports import check_port
from serving.cluster.ray_cluster import Cluster
from serving.config import ServiceConfig
from serving.holding import Holding, check_held
from serving.tick.sites import SiteService
from serving.watch.logs import Style, configure, keep_to_the_end, say

if TYPE_CHECKING:
    from collections.abc import Iterator


LOGGER = logging.getLogger("cityloop.serving")


class ServeHandle:
    """A running service; close it, or use ``with``.

    Attributes:
        url: where it answers.
        sites: what it serves, as plain data.
    """

    def __init__(
        self, cluster: Cluster, plan: Plan, services: Sequence[SiteService], holding: Holding, opened: ExitStack
    ):
        self._cluster, self._plan, self._holding, self._opened = cluster, plan, holding, opened
        self.url = plan.config.url
        self.sites = [
            {
                "system": s.site.system,
                "site": s.site.name,
                "act": f"{self.url}/v1/{s.ref}/act",
                **s.in_charge.model_dump(),
            }
            for s in services
        ]

    @property
    def refs(self) -> list[str]:
        """What is served now: ``system/site``, in the order of the configuration."""
        return [f"{site.system}/{site.name}" for _, site in self._plan.places()]

    def run_empty(self, name: str, as_it_comes: bool = False) -> None:
        """Serve an empty answer beside the sites, to measure against; see `Cluster.run_empty`."""
        self._cluster.run_empty(name, as_it_comes)

    def check(self) -> None:
        """Make sure that the service can go on.

        Raises:
            CityloopError: if it cannot, and has to be started anew.
        """
        self._cluster.check()

    def roll(self, config: ServiceConfig) -> None:
        """Replace every process by a new one, which is ready before the old one goes; waits until that is done.

        Args:
            config: what is served from now on.

        Raises:
            CityloopError: if it cannot be, or only by a new start: nothing is changed then; or if a process cannot
                start: the old ones go on.
            RuntimeError: if one fails by a fault of the service itself.
        """
        config.check_reload(self._plan.config)
        plan = _look(config)[0].released()
        self._holding.extend(config)
        try:
            self._cluster.take_certificate(config.tls)
            self._cluster.run(plan)
            self._plan = plan
        finally:
            self._holding.limit(self._plan.config)
        self._cluster.wait_until_ready(plan)

    def close(self) -> None:
        """Stop the service and everything that it started. May be called twice."""
        self._opened.close()

    def __enter__(self) -> ServeHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(
    config: ServiceConfig,
    block: bool = True,
    as_json: bool = False,
    again: Callable[[], ServiceConfig] | None = None,
) -> ServeHandle | None:
    """Serve sites over HTTP.

    Args:
        config: of the service.
        block: stay until Ctrl-C or SIGTERM, then stop everything. SIGHUP replaces every process by a new one.
        as_json: print the addresses of what is served on standard output, as one line of JSON.
        again: reads the configuration again, at SIGHUP; None: it stays.

    Returns:
        The running service if ``block`` is false.

    Raises:
        CityloopError: if something cannot be served as asked, SIGTERM stopped it before it served, or it cannot go on.
        KeyboardInterrupt: if Ctrl-C did.
    """
    check_held(config)
    check_port(config.host, config.port)
    if config.grpc_port is not None:
        check_port(LOOPBACK, config.grpc_port, "--grpc-port")
    plan, services = _look(config)
    if not block:
        configure(config.log)
        return _start(plan, services)
    signals, out, style = SimpleQueue[int](), sys.stdout, config.log
    keep_to_the_end(STANDARD_ERROR)
    # What Ray prints now and then belongs to standard error, like everything else that is not the answer.
    with _stop_signals(signals), redirect_stdout(sys.stderr):
        configure(style)  # else a log of JSON begins when the start is over
        _tell(_starting(config), style)
        with _start(plan, services) as handle:
            _listen(signals)
            announce(handle, services, config.access.open, style)
            if as_json:
                print(orjson.dumps({"url": handle.url, "sites": handle.sites}).decode(), file=out, flush=True)
            while _next(signals, handle.check) == signal.SIGHUP:
                before = handle.refs
                try:
                    with _broken_off(signals):
                        handle.roll(config if again is None else again())
                    _tell(f"every process is new{_differing(before, handle.refs)}", style)
                except Exception as error:  # no plant loses its service to an update that fails
                    foreseen = isinstance(error, CityloopError | RuntimeError)
                    why = error if foreseen else f"{type(error).__name__}: {error}"
                    LOGGER.error(  # noqa: TRY400
                        "not every process is new, the old ones go on: %s", why, exc_info=None if foreseen else error
                    )
                except KeyboardInterrupt:
                    break
        _tell("stopped", style)
    return None


def _look(config: ServiceConfig) -> tuple[Plan, Sequence[SiteService]]:
    """What a configuration serves, loaded once to see that all of it can be used.

    Raises:
        CityloopError: naming what cannot.
    """
    plan = Plan.make(config)
    with closing(plan.gateway(restore=False)) as look:
        plan.check_files()
        plan.check_databases()
        return plan, look.all


def _differing(before: Sequence[str], after: Sequence[str]) -> str:
    """The sites that have come and gone, in words."""
    come, gone = ([ref for ref in one if ref not in other] for one, other in ((after, before), (before, after)))
    return "".join(f"; {what} {', '.join(refs)}" for what, refs in (("new:", come), ("no longer:", gone)) if refs)


def _start(plan: Plan, services: Sequence[SiteService]) -> ServeHandle:
    with ExitStack() as opened:
        holding = opened.enter_context(Holding(plan.config))
        cluster = Cluster(plan.config)
        opened.callback(cluster.close)
        cluster.__enter__()
        cluster.run(plan)
        cluster.wait_until_ready(plan)
        return ServeHandle(cluster, plan, services, holding, opened.pop_all())


FEW = 10
"""Up to so many sites start in the usual time; each further site adds 0.2 s, or 1 s on a busy machine."""


def _starting(config: ServiceConfig) -> str:
    """Notice of how long a start takes, as nothing else is printed until it is over."""
    count = len(config.sites)
    booked = any(site.booking is not None for site in config.sites)
    later = "; with bookings half a minute longer the first time, as they are compiled" if booked else ""
    takes = "ten seconds to a minute" if count <= FEW else f"{10 + count // 5} to {60 + count} seconds"
    return f"starting {count} site{'s' * (count > 1)}, which takes {takes}{later}"


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals of the service: two that end it, and one that replaces its processes."""

STANDARD_ERROR = 2
"""File descriptor of a process's log."""

AWAKE_S = 0.5
"""Seconds between checks while waiting for a signal."""


@contextmanager
def _stop_signals(signals: SimpleQueue[int]) -> Iterator[None]:
    """Within this context Ctrl-C and SIGTERM end the service in an orderly way; SIGHUP waits for the start."""
    before, heard = {number: signal.getsignal(number) for number in SIGNALS}, list[int]()

    def interrupt(number: int, _: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGHUP, lambda number, _: signals.put(number))
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter is how Ray takes SIGTERM while it starts
        if signal.SIGINT in heard:
            raise KeyboardInterrupt from None
        raise CityloopError("the service was stopped while it started") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(signals: SimpleQueue[int]) -> None:
    """Queue signals from here on: one ends the wait, and another does not disturb the cleaning up."""
    for number in SIGNALS:
        signal.signal(number, lambda number, _: signals.put(number))


@contextmanager
def _broken_off(signals: SimpleQueue[int]) -> Iterator[None]:
    """Within this context Ctrl-C and SIGTERM break off an update, which may take minutes.

    Raises:
        KeyboardInterrupt: if one of them did.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        _listen(signals)  # another does not disturb the cleaning up
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        _listen(signals)


def _next(signals: SimpleQueue[int], check: Callable[[], None]) -> int:
    """The next signal; of several that wait, the one that ends the service, else one update does for all.

    A wait without end may sleep through a signal that reached another thread; its handler runs here.

    Raises:
        CityloopError: as ``check`` does: a service that is gone ends, so that its supervisor starts it anew.
    """
    while True:
        with suppress(Empty):
            number = signals.get(timeout=AWAKE_S)
            while number == signal.SIGHUP and not signals.empty():
                number = signals.get()
            return number
        check()


def _tell(text: str, style: Style) -> None:
    """Print a message for the user; as a line of the log where that is JSON."""
    if style == "json":
        LOGGER.info(text)
    else:
        say(text)


def announce(handle: ServeHandle, services: Sequence[SiteService], open_: bool, style: Style = "text") -> None:
    """Print the served sites, their controllers, and a command to try one."""
    for service in services:
        charge = service.in_charge
        how = f"bundle {charge.bundle}" if charge.bundle else "rule"
        _tell(
            f"{service.ref}: {len(service.site.agents)} agents, {charge.controller} ({how}), "
            f"fallback {charge.fallback} after {charge.deadline_ms:g} ms" + (f"; {charge.why}" if charge.why else ""),
            style,
        )
    if style == "json":
        _tell(f"serving on {handle.url}", style)
        return
    site = f"{handle.url}/v1/{services[0].ref}"
    say(f"serving on {handle.url} (documentation at {handle.url}/docs); Ctrl-C stops it. Try:")
    curl = "curl -s" if open_ else 'curl -s -H "X-API-Key: $KEY"'
    say(f"  {curl} {site} | jq .example | {curl} -d @- {site}/act")
