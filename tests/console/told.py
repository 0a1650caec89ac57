"""What a page is told in place of what the service would tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from tests.console.conftest import City

BUSY = {
    "status": 503,
    "json": {"error": {"field": "service", "value": None, "mend": "one of its processes does not answer: ask again"}},
}
"""What the service answers while one of its processes hangs."""


def full(city: City) -> list[float | None]:
    """Depths of tanks that run over."""
    return [tank.full_m for tank in city.loops["drainage/estuary"].site.tanks]


def telling(page: Any, *streams: list[tuple[str, Any]]) -> None:
    """Let a page hear these events, a list each time that it asks for them, and nothing more."""
    left = list(streams)

    def events(route: Any) -> None:
        told = left.pop(0) if left else []
        lines = [f"id: x-{k}\nevent: {kind}\ndata: {orjson.dumps(c).decode()}\n\n" for k, (kind, c) in enumerate(told)]
        route.fulfill(content_type="text/event-stream", body="".join([": a moment\n\n", *lines]))

    page.route("**/v1/events*", events)


def in_its_place(page: Any, url: str, answer: Callable[[Any], None]) -> Callable[[], None]:
    """Let ``answer(route)`` answer a URL in the service's place, until what this returns is called.

    A route that is taken away (``page.unroute``) while its handler waits for the service fails in that handler.
    """
    over = False

    def route_or_not(route: Any) -> None:
        if over:
            route.continue_()
        else:
            answer(route)

    def end() -> None:
        nonlocal over
        over = True

    page.route(url, route_or_not)
    return end


def decided(city: City, ref: str, at_s: float, **other: Any) -> dict[str, Any]:
    """A decision of a site as the stream tells it, at another time."""
    city.tick(ref)
    (decision,) = city.ask("GET", f"/v1/{ref}/history?since=0&limit=1").json()["decisions"]
    return decision | {"at_s": at_s} | other
