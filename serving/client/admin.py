"""Operators' client of a running service, behind `cityloop policy`."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

from envs.core.errors import CityloopError
from serving.client.transport import bearer, no_service, scheme_of, trust
from serving.core.refusals import words_of

KEY = "CITYLOOP_KEY"
"""Environment variable of the key, so that it stands in no history of commands."""

TIMEOUT_S = 30.0
"""Seconds for an answer, as a policy may have to be loaded."""


class Admin:
    """Asks a service on an operator's behalf; use ``with``.

    Args:
        url: the service's address.
        key: the operator's; from the environment if not given.

    Raises:
        CityloopError: if the address or the key is invalid.
    """

    def __init__(self, url: str, key: str | None = None):
        self.url = url.rstrip("/")
        scheme_of(url, "http", "https")
        headers = bearer(key, "key") if key else bearer(os.environ.get(KEY), f"the key in {KEY}")
        self._http = httpx.Client(timeout=TIMEOUT_S, headers=headers, trust_env=False, verify=trust())

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer of an address.

        Raises:
            CityloopError: if there is none, or it is a refusal.
        """
        try:
            answer = self._http.request(method, self.url + path, json=body)
            content = orjson.loads(answer.content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise no_service(self.url, error) from None
        if answer.status_code == 401:
            raise CityloopError(f"{self.url} does not know who asks: put a key that it accepts in {KEY}")
        if answer.status_code >= 400:
            problem = content.get("error") if isinstance(content, dict) else None
            if not isinstance(problem, dict):
                raise self._stranger(f"with status {answer.status_code}")
            raise CityloopError(words_of(problem))
        return content

    def _stranger(self, how: str) -> CityloopError:
        return CityloopError(f"{self.url} answers {how}, and not as this service does: give the --url of one")

    def sites(self, ref: str) -> list[str]:
        """The sites that a reference stands for: ``system/site``, all of a ``system``, or ``all``.

        One that is named in full is not looked up: it may be well while the process of another hangs.

        Raises:
            CityloopError: if there are none.
        """
        if ref.count("/") == 1:
            return [ref]
        found = self.ask("GET", "/v1/systems")
        try:
            served = [f"{system['name']}/{site['name']}" for system in found["systems"] for site in system["sites"]]
        except (KeyError, TypeError):
            raise self._stranger("with something else than its sites") from None
        found = [one for one in served if ref in ("all", one, one.split("/")[0])]
        if not found:
            raise CityloopError(f"site is {ref!r}: choose all or {', '.join(served)}")
        return found

    def policies(self, ref: str) -> dict[str, Any]:
        """Site → who has which role."""
        return {site: self.ask("GET", f"/v1/{quote(site)}/policies") for site in self.sites(ref)}

    def change(self, verb: str, ref: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change the roles at every site of a reference, one after the other; site → who has which role now.

        Raises:
            CityloopError: if a site refuses; of several sites it says which, and where roles have changed before.
        """
        sites, done = self.sites(ref), dict[str, Any]()
        for site in sites:
            try:
                done[site] = self.ask("POST", f"/v1/{quote(site)}/policies/{verb}", body)
            except CityloopError as error:
                if len(sites) == 1:
                    raise
                so_far = f"done before at {', '.join(done)}" if done else "nothing was changed"
                raise CityloopError(f"{site}: {error} ({so_far})") from None
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
