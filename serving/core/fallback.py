"""Requirements on a fallback: of the service, and of the client beside the plant."""

from __future__ import annotations

from agents import fallback_name
from envs.core.errors import CityloopError
from envs.core.world import Controller


def check_fallback(controller: Controller, system: str) -> None:
    """Refuse a fallback that cannot take over within a tick: it decides in the event loop's thread, without a deadline.

    Args:
        controller: the fallback.
        system: of its site.

    Raises:
        CityloopError: if it is a program inside the plant, or searches for as long as its time allows.
    """
    if controller.program is not None:
        why = "is a program inside the plant"
    elif controller.timed:
        why = "searches for as long as its time allows"
    else:
        return
    raise CityloopError(
        f"fallback {controller.name!r} {why} and cannot take over within a tick: "
        f"choose a controller such as {fallback_name(system)!r}"
    )
