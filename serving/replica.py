"""What Ray Serve runs: a gateway behind its ASGI app, with a health check that decides something."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving.app import create_app
from serving.build import Plan
from serving.logs import configure
from serving.rpc.service import Rpc


class Replica(Rpc):
    """One process of the service.

    Args:
        plan: what it serves.
    """

    def __init__(self, plan: Plan):
        configure(plan.config.log, plan.logs)
        self.gateway = plan.gateway()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The app; Ray Serve asks for it after the constructor."""
        return create_app(self.gateway)

    def __del__(self) -> None:
        """Ray Serve asks for the end of a process this way."""
        if hasattr(self, "gateway"):
            self.gateway.close()

    async def check_health(self) -> None:
        """Ray Serve asks now and then, and replaces a process that raises."""
        await self.gateway.check()


def deployment() -> Any:
    """The class that Ray Serve deploys."""
    from ray import serve

    return serve.ingress()(Replica)
