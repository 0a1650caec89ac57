"""The service over gRPC: the same gateway, other messages. Runs under Ray Serve's ingress or a server of `grpc.aio`.

A refusal sets a status and returns an empty message, as an exception would be logged as a fault by the server.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

import grpc
from starlette.datastructures import Headers

from envs.core.errors import CityloopError
from serving.access.entry import credentials
from serving.access.principal import Principal, Role
from serving.core.refusals import Refused, as_refusal, retry_after, words_of
from serving.gateway import Gateway
from serving.routes.service import readable_by
from serving.rpc import cityloop_pb2 as pb
from serving.rpc.messages import answer_of, body_of, problem_of

CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""HTTP status → status of gRPC."""

RECHECK_S = 5.0
"""Seconds between checks of an open stream's key."""


class Context(Protocol):
    """The parts of a gRPC call's context that are used here."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]: ...  # noqa: D102
    def set_code(self, code: grpc.StatusCode) -> None: ...  # noqa: D102
    def set_details(self, details: str) -> None: ...  # noqa: D102
    def set_trailing_metadata(self, metadata: Any) -> None: ...  # noqa: D102


class Rpc:
    """The methods of ``cityloop.v1.Cityloop``.

    Attributes:
        gateway: of the sites.
    """

    gateway: Gateway

    async def Act(self, request: pb.ActRequest, grpc_context: Context) -> pb.ActAnswer:
        """Decide one tick of a whole site."""
        try:
            principal = self.gateway.enter(_headers(grpc_context), Role.ACT, request.system, request.site)
            return await self._act(request, principal)
        except Exception as error:
            _refuse(grpc_context, error)
            return pb.ActAnswer()

    async def _act(self, request: pb.ActRequest, principal: Principal) -> pb.ActAnswer:
        return answer_of(await self.gateway.act(request.system, request.site, body_of(request), principal))

    async def Loop(self, request: AsyncIterator[pb.ActRequest], grpc_context: Context) -> AsyncIterator[pb.ActAnswer]:
        """Ticks, one after the other."""
        headers = _headers(grpc_context)
        try:
            principal = self.gateway.access.authenticate(headers)
        except Refused as error:
            _refuse(grpc_context, error)
            return
        checked = time.monotonic()
        async for tick in request:
            if time.monotonic() - checked >= RECHECK_S:
                checked = time.monotonic()
                if not self.gateway.access.same(headers, principal):
                    grpc_context.set_code(grpc.StatusCode.UNAUTHENTICATED)
                    grpc_context.set_details("the key is accepted no more")
                    return
            try:
                self.gateway.enter(headers, Role.ACT, tick.system, tick.site)
                yield await self._act(tick, principal)
            except Exception as error:
                refusal = as_refusal(error, "a tick of a loop")
                yield pb.ActAnswer(tick=tick.tick, time_s=tick.time_s, error=problem_of(refusal))

    async def Info(self, request: pb.SiteRequest, grpc_context: Context) -> pb.SiteInfo:
        """What a client needs to know of a site."""
        try:
            self.gateway.enter(_headers(grpc_context), Role.READ, request.system, request.site)
            info = await self.gateway.info(request.system, request.site)
        except Exception as error:
            _refuse(grpc_context, error)
            return pb.SiteInfo()
        return pb.SiteInfo(
            system=info.system,
            site=info.site,
            site_hash=info.site_hash,
            agents=info.agents,
            axes={axis: pb.Axis(ids=ids) for axis, ids in info.axes.items()},
            json=info.model_dump_json(),
        )

    async def State(self, request: pb.SiteRequest, grpc_context: Context) -> pb.Json:
        """How things stand at a site."""
        try:
            self.gateway.enter(_headers(grpc_context), Role.READ, request.system, request.site)
            return pb.Json(json=(await self.gateway.standing(request.system, request.site)).model_dump_json())
        except Exception as error:
            _refuse(grpc_context, error)
            return pb.Json()

    async def Events(self, request: pb.EventsRequest, grpc_context: Context) -> AsyncIterator[pb.Event]:
        """What happens at the sites that the key may read, as it happens."""
        try:
            subscription = await self._subscribe(request, grpc_context)
        except Exception as error:
            _refuse(grpc_context, error)
            return
        try:
            async for frames in subscription:
                if not frames:
                    yield pb.Event(kind="alive")
                for frame in frames:
                    yield pb.Event(id=frame.id or "", kind=frame.kind, json=frame.data.decode())
        finally:
            subscription.close()

    async def _subscribe(self, request: pb.EventsRequest, context: Context) -> Any:
        """Events of one site, or of all that the key may read, wherever their processes are."""
        gateway, headers, one = self.gateway, credentials(_headers(context)), (request.system, request.site)
        principal = gateway.enter(headers, Role.READ, *one) if any(one) else gateway.access.authenticate(headers)
        if not gateway.has_streams:
            raise CityloopError("this service has no streams: start it with them")
        since = request.since or None

        def same() -> bool:
            return gateway.access.same(headers, principal)

        return await gateway.listen(principal, since, same, 0, one if any(one) else None)

    async def Health(self, request: pb.HealthRequest, grpc_context: Context) -> pb.HealthAnswer:
        """Whether the service can be relied on; where the fallback decides, to those with a key."""
        try:
            found, headers = await self.gateway.health(), _headers(grpc_context)
            known = self.gateway.access.open or credentials(headers)
            principal = self.gateway.access.authenticate(headers) if known else None
            return pb.HealthAnswer(status=found["status"], sites=readable_by(principal, found["sites"]))
        except Exception as error:
            _refuse(grpc_context, error)
            return pb.HealthAnswer()


def _headers(context: Context) -> Headers:
    told = ((key, value) for key, value in context.invocation_metadata() if isinstance(value, str))
    return Headers(raw=[(key.encode("latin-1"), value.encode("latin-1", "replace")) for key, value in told])


def _refuse(context: Context, error: Exception) -> None:
    """End a call with the status of an error."""
    refusal = as_refusal(error, "a call")
    context.set_code(CODES.get(refusal.status, grpc.StatusCode.INTERNAL))
    context.set_details(words_of(refusal.content()["error"]))
    if refusal.retry_after_s is not None:
        # A list: Ray's context adds it to one of its own, and a tuple would be an error there.
        context.set_trailing_metadata([("retry-after", retry_after(refusal.retry_after_s))])
