"""The HTTP application: FastAPI routes around a `Gateway`, for Ray Serve or any other ASGI server."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from starlette.routing import Route

from serving.access.door import Door
from serving.core.docs import tell_of_keys
from serving.gateway import Gateway
from serving.routes.audit import add_audit
from serving.routes.booking import add_booking
from serving.routes.console import add_console
from serving.routes.events import add_events
from serving.routes.failures import add_refusals
from serving.routes.loop import add_loop
from serving.routes.operators import add_operators
from serving.routes.service import add_service
from serving.routes.sites import add_sites
from serving.routes.structure import add_structure
from serving.routes.ticks import ROUTE, Ticks

DESCRIPTION = "Closes the control loop of a city over HTTP: one tick of a site's readings in, safe commands out."


def create_app(gateway: Gateway, tensorboard: str | None = None) -> Door:
    """The service's routes, the hot one ahead of the others.

    Args:
        gateway: the sites.
        tensorboard: where one runs, for a link.
    """
    # The page at /docs is our own, as FastAPI's needs the public network; /openapi.json, as FastAPI's makes its bytes
    # again at every request, which takes longer than a tick.
    app = FastAPI(
        title="Cityloop",
        version=version("cityloop"),
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # An address with a slash too many is none: a redirect would name whatever host the request did, over plain
        # HTTP where TLS ends ahead of the app, and a client that follows it takes its key along.
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # by which generated clients call their functions
    )
    add_service(app, gateway)
    add_events(app, gateway)
    add_console(app, gateway, tensorboard=tensorboard)  # ahead of the sites: /v1/runs/one is no system's site
    add_sites(app, gateway)
    add_loop(app, gateway)
    add_booking(app, gateway)
    add_operators(app, gateway)
    add_audit(app, gateway)
    add_structure(app, gateway)
    add_refusals(app, gateway.access.authenticate)
    if not gateway.access.open:
        tell_of_keys(app)
    answered = None
    if gateway.metrics is not None:
        gateway.metrics.watch_routes(route.path for route in app.routes if isinstance(route, Route))
        answered = gateway.metrics.answered
    return Door(Ticks(app, gateway), open_=gateway.access.open, answered=answered, machine=(ROUTE.path,))
