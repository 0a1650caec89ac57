"""A client of the service: checked answers over one kept-alive connection, with a deadline for the whole request."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import httpx
import numpy as np
import orjson

from envs.core.errors import CityloopError
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Commands
from serving.deadline import Late, Worker
from serving.refusals import brief

INFO_TIMEOUT_S = 10.0
"""How long a client waits for the description of a site before it says that there is no service."""


class Unusable(Exception):
    """An answer that cannot be used, or none; its text says why."""


class SiteClient:
    """Asks a service for the commands of one site.

    Args:
        site: the site.
        url: the service's address.
        deadline_ms: how long an answer may take, from the question to the last byte.

    Raises:
        CityloopError: if the address is none.
    """

    def __init__(self, site: Site, url: str, deadline_ms: float = 1000.0):
        self.site, self.url, self.deadline_ms = site, url.rstrip("/"), deadline_ms
        self._base = f"{self.url}/v1/{site.system}/{site.name}"
        self._system = get_system(site.system)
        if httpx.URL(self.url).scheme not in ("http", "https"):
            raise CityloopError(f"url is {url!r}: give an address such as http://127.0.0.1:8000")
        # httpx's own timeouts hold for each read; a service that trickles would outlast any number of them.
        self._worker = Worker("service client")
        self._http = httpx.Client(timeout=deadline_ms / 1e3, trust_env=False)

    def info(self) -> dict[str, Any]:
        """The service's description of the site; see `wire.SiteInfo`.

        Raises:
            CityloopError: if no service answers there, or it does not serve this site.
        """
        try:
            answer = self._http.get(self._base, timeout=INFO_TIMEOUT_S)
            content = orjson.loads(answer.content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise CityloopError(
                f"no service answers at {self.url} ({_why(error)}): start one with 'cityloop serve', or give its --url"
            ) from None
        if answer.status_code != 200 or not isinstance(content, dict):
            raise CityloopError(f"the service at {self.url} does not serve {self._base}: {_refusal(content)}")
        if content.get("site_hash") != self.site.hash:
            raise CityloopError(
                f"the service's site {self.site.name!r} is another than this plant's (hash {content.get('site_hash')}, "
                f"here {self.site.hash}): serve the scenario that you control"
            )
        return content

    def act(self, tick: int, time_s: float, readings: Readings) -> dict[str, Any]:
        """Ask for one tick; see `wire.ActAnswer`.

        Raises:
            Late: if the answer is not there in time.
            Unusable: if it cannot be used or belongs to another tick.
        """
        body = orjson.dumps({"tick": tick, "time_s": time_s, "readings": self._system.readings.to_json(readings)})
        answer = self._worker.run(lambda: self._post(body), self.deadline_ms / 1e3)
        if answer.get("tick") != tick or answer.get("time_s") != time_s:
            raise Unusable(f"it is for tick {brief(answer.get('tick'))}, not {tick}")
        return answer

    def _post(self, body: bytes) -> dict[str, Any]:
        try:
            answer = self._http.post(f"{self._base}/act", content=body)
            content = orjson.loads(answer.content)
        except httpx.TimeoutException:
            raise Late(f"no answer within {self.deadline_ms:g} ms") from None
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise Unusable(_why(error)) from None
        if answer.status_code != 200 or not isinstance(content, dict):
            raise Unusable(f"status {answer.status_code}: {_refusal(content)}")
        return content

    def commands(self, answer: dict[str, Any]) -> Commands:
        """The commands of an answer, one an agent in the site's order: ``(N,)``, or ``(N, k)`` if each is k numbers.

        Raises:
            Unusable: if an agent has none, or one that is neither a number nor as many numbers as the others'.
        """
        given = answer.get("commands")
        if not isinstance(given, dict) or set(given) != set(self.site.agents):
            raise Unusable("its commands are not one an agent")
        values = [given[agent].get(self._system.command) if isinstance(given[agent], dict) else None for agent in given]
        widths = {_width(value) for value in values}
        if len(widths) != 1 or None in widths:
            raise Unusable(f"its commands are not all numbers named {self._system.command!r}")
        order = dict(zip(given, values, strict=True))
        return np.array([order[agent] for agent in self.site.agents])

    def close(self) -> None:
        """Close the connection."""
        self._worker.close()
        self._http.close()

    def __enter__(self) -> SiteClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _width(value: Any) -> int | None:
    """Length of a list of numbers; 0 for a number, None for anything else."""
    if isinstance(value, list):
        return len(value) if value and all(type(part) in (int, float) for part in value) else None
    return 0 if type(value) in (int, float) else None


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _refusal(content: Any) -> str:
    """The service's own words for what is wrong, if it has any."""
    problem = content.get("error") if isinstance(content, dict) else None
    if not isinstance(problem, dict):
        return f"it answers {brief(content)}"
    return f"{problem.get('field')} is {brief(problem.get('value'))!r}: {problem.get('mend')}"
