"""Requests of zones: the site's own controller, asked in a tick like any other, with the desk's knowledge of the fleet.

So input checks, guard, fallback, commands by hand, audit log, alarms and the page at ``/`` are those of the site.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from anyio import from_thread

from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.world import Commands
from serving.core.refusals import Conflict, Refused
from serving.tick.sites import SiteService

LOGGER = logging.getLogger("cityloop.serving")

WHO = "booking"
"""Name of the caller in the audit log."""


class Unasked(Exception):
    """The zones' controller could not be asked; the log has the reason."""


class Zones:
    """The controller of a site's zones.

    Args:
        service: the site.
    """

    def __init__(self, service: SiteService):
        self._service = service
        self._command = get_system(service.site.system).command
        self._fault: str | None = None
        self._last, self._anew = -1, 0

    def ask(self, day: str, time_s: float, tick: int, readings: Readings) -> Commands | None:
        """Present commands of zones, ``(N, 2)``; None: the deciding controller has none.

        Args:
            day: of the service; controllers begin anew with each, when the clock is put back, and when another sender's
                tick ended the episode.
            time_s: seconds since it began.
            tick: number of the decision.
            readings: see `envs.transit.readings`.

        Raises:
            Unasked: if it cannot be asked.
        """
        plain = get_system(self._service.site.system).readings.to_json(readings)
        self._anew += tick < self._last
        self._last = tick
        asked = {"tick": tick, "time_s": time_s, "readings": plain}
        try:
            try:
                answer = self._act(self._body(day, asked))
            except Conflict as error:  # refused under this name until tomorrow, however often it is asked
                LOGGER.warning(
                    "bookings at %s: ticks come from another sender, too (%s)", self._service.site.name, error
                )
                self._anew += 1
                answer = self._act(self._body(day, asked))
        except (CityloopError, Refused) as error:
            if self._fault != str(error):
                LOGGER.warning("bookings at %s: zones cannot be asked (%s)", self._service.site.name, error)
            self._fault = str(error)
            raise Unasked from None
        self._fault = None
        wanted = [answer["commands"][zone].get(self._command) for zone in self._service.site.agents]
        return None if None in wanted else np.array(wanted)

    def _body(self, day: str, asked: Mapping[str, Any]) -> bytes:
        """A tick in the episode that is under way."""
        return orjson.dumps({"episode": f"{day} again {self._anew}" if self._anew else day, **asked})

    def _act(self, body: bytes) -> Mapping[str, Any]:
        """Ask in the event loop, for which this thread decides a request; where there is none, without."""
        try:
            from_thread.check_cancelled()
        except RuntimeError:
            return self._service.act(body, WHO)
        return from_thread.run(self._service.act_async, body, WHO)
