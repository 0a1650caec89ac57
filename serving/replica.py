"""What Ray Serve runs: a gateway behind its ASGI app, with a health check that decides something."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from serving.app import create_app
from serving.build import Plan


class Replica:
    """One process of the service.

    Args:
        plan: what it serves.
    """

    def __init__(self, plan: Plan):
        self.gateway = plan.gateway()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The app; Ray Serve asks for it after the constructor."""
        return create_app(self.gateway)

    async def check_health(self) -> None:
        """Ray Serve asks now and then, and replaces a process that raises."""
        await self.gateway.check()


def deployment() -> Any:
    """The class that Ray Serve deploys."""
    from ray import serve

    return serve.ingress()(Replica)
