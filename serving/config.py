"""The service's configuration: typed, frozen, unknown keys refused. A YAML file makes one; so do plain arguments."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from agents import POLICY, rules, shipped_policies
from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem
from envs.core.machine.files import path_in
from envs.core.registry import SYSTEMS
from envs.core.scenario import read_yaml
from serving.access.principal import AccessSettings
from serving.audit.settings import AuditSettings
from serving.booking.database import in_folder
from serving.charge.settings import SiteConfig


class Tls(Frozen):
    """Files of the transport's encryption.

    Attributes:
        certificate: the certificate, and those that lead to a known authority, as PEM.
        key: its private key, as PEM.
    """

    certificate: Path
    key: Path


class AuditConfig(AuditSettings):
    """Configuration of the audit log; see `AuditSettings` for the rest.

    Attributes:
        folder: where it lies.
    """

    folder: Path


class ServiceConfig(Frozen):
    """The configuration of the whole service.

    Attributes:
        host, port: where it listens.
        tls: encryption; None: none.
        state: folder of what must outlive the process; None: nothing does.
        release: any words; when they change, every process is replaced, each by one that is ready.
        shards: ``one`` process for all sites, or one for each ``system``, or for each ``site``.
        access: keys and tokens; neither: everybody is let in, which only loopback allows.
        grpc_port: where gRPC listens, on loopback; None: nowhere.
        log: format of the service's log.
        audit: the audit log; None: there is none.
        tensorboard: address of a TensorBoard that runs, for a link in the console; None: there is none.
        defaults: settings of every site that does not say otherwise, nested ones key by key.
        sites: what is served; a text is a site with default settings.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    tls: Tls | None = None
    state: Path | None = None
    release: str = ""
    shards: Literal["one", "system", "site"] = "one"
    access: AccessSettings = AccessSettings()
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    log: Literal["json", "text"] = "text"
    audit: AuditConfig | None = None
    tensorboard: str | None = None
    defaults: dict[str, Any] = Field(default_factory=dict)
    sites: tuple[SiteConfig, ...] = Field(min_length=1)

    @field_validator("tensorboard")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
            raise ValueError("give an address such as 'http://127.0.0.1:6006'")
        return value

    @model_validator(mode="before")
    @classmethod
    def _give_defaults(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("sites"), (list, tuple)):
            return content
        defaults = content.get("defaults") or {}
        if not isinstance(defaults, dict):
            return content
        for key in defaults:
            if key not in SiteConfig.model_fields:
                raise ValueError(f"unknown key 'defaults.{key}': remove it or correct its spelling")
            if key == "site":
                raise ValueError("key 'defaults.site' is each site's own: name it under 'sites'")
        sites = [{"site": one} if isinstance(one, str) else one for one in content["sites"]]
        try:
            return content | {"sites": [_over(defaults, one) if isinstance(one, dict) else one for one in sites]}
        except RecursionError:
            raise ValueError("a value contains itself: write it out") from None

    @model_validator(mode="after")
    def _open_on_loopback_alone(self) -> Self:
        if self.access.open and not is_loopback(self.host):
            raise ValueError(
                f"host is {self.host!r} and there are no keys, so anybody there could command the plant: "
                "give access keys, or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _ports_of_their_own(self) -> Self:
        if self.grpc_port == self.port:
            raise ValueError(f"port and grpc_port are both {self.port}: give each one of its own")
        return self

    @property
    def url(self) -> str:
        """The service's address, seen from this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    def check_reload(self, before: ServiceConfig) -> None:
        """Refuse what a service cannot change while it runs.

        Args:
            before: its present configuration.

        Raises:
            CityloopError: naming the first such change.
        """
        now = self._lasting()
        for key, was in before._lasting().items():
            if now[key] != was:
                raise CityloopError(
                    f"{key} changes from {was or 'nothing'} to {now[key] or 'nothing'}, which takes a new start: "
                    "stop the service, and start it"
                )

    def _lasting(self) -> dict[str, Any]:
        """Key → what holds for as long as the service runs: where it listens and writes, and its division."""
        names = ("host", "port", "grpc_port", "log", "shards", "state")
        audit = {name: self.audit and getattr(self.audit, name) for name in ("folder", "anchors")}
        return {
            **{name: getattr(self, name) for name in names},
            **{f"audit.{name}": folder for name, folder in audit.items()},
            "tls": "" if self.tls is None else "a certificate",
        }

    def changed(self, **changes: Any) -> Self:
        """The same with other values.

        Raises:
            CityloopError: if they do not fit.
        """
        return self.make({**self.model_dump(), **changes})

    @classmethod
    def make(cls, content: Mapping[str, Any], where: str = "") -> Self:
        """A configuration from plain data.

        Raises:
            CityloopError: naming the first thing that does not fit.
        """
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise CityloopError(f"{where}: {first_problem(error)}" if where else first_problem(error)) from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """A configuration from a YAML file; relative paths in it start at its folder, ``~`` at whose home it names.

        Raises:
            CityloopError: if it cannot be read, or something in it does not fit.
        """
        content = read_yaml(path)
        config = cls.make(content, str(path))
        _refuse_empty(content, path)
        return config.in_folder(path.parent.resolve())

    def in_folder(self, folder: Path) -> Self:
        """The same where relative paths start at a folder.

        Raises:
            CityloopError: if one starts at the home of nobody.
        """

        def at(file: Path | None) -> Path | None:
            return None if file is None else path_in(file, folder)

        tls = self.tls and Tls(certificate=path_in(self.tls.certificate, folder), key=path_in(self.tls.key, folder))
        access = _access_in_folder(self.access, folder)
        audit = self.audit and self.audit.model_copy(
            update={name: at(getattr(self.audit, name)) for name in ("folder", "anchors", "key")}
        )
        sites = tuple(_in_folder(site, folder) for site in self.sites)
        state = at(self.state)
        return self.model_copy(update={"tls": tls, "access": access, "audit": audit, "state": state, "sites": sites})


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Given settings, completed by defaults, in nested mappings key by key."""
    found = {**defaults, **given}
    for key in defaults.keys() & given.keys():
        if isinstance(defaults[key], dict) and isinstance(given[key], dict):
            found[key] = _over(defaults[key], given[key])
    return found


SPARED = {"challenger", "fallback", "booking"}
"""Keys that a site may leave empty, to do without what `defaults` give."""

NULLABLE = "monitor"
"""A key for which null is a value: nobody listens."""


def _refuse_empty(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a key without a value: ``trusted_keys:`` would trust every bundle, ``audit:`` keep no log.

    A site may so do without what `defaults` give, if it is among `SPARED`; and without a monitor, which it has unless
    told otherwise.
    """
    spared = {NULLABLE} | (SPARED & (content.get("defaults") or {}).keys())
    for place in _empty(content):
        if place != ("defaults", NULLABLE) and not (place[0] == "sites" and len(place) == 3 and place[2] in spared):
            raise CityloopError(f"{path}: key {'.'.join(place)!r} is empty: give it a value, or remove it")


def _empty(content: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of empty values in nested mappings and lists."""
    if content is None:
        yield at
    elif isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _empty(value, (*at, str(key)))


def _access_in_folder(access: AccessSettings, folder: Path) -> AccessSettings:
    jwt = access.jwt and access.jwt.model_copy(update={"key_file": path_in(access.jwt.key_file, folder)})
    keys = access.keys and path_in(access.keys, folder)
    return access.model_copy(update={"keys": keys, "jwt": jwt})


def _in_folder(site: SiteConfig, folder: Path) -> SiteConfig:
    """A site whose relative files and bundles start at the configuration's folder, where they exist there."""
    changes: dict[str, Any] = {}
    if site.checks.limits is not None:
        changes["checks"] = site.checks.model_copy(update={"limits": path_in(site.checks.limits, folder)})
    if site.site.endswith((".json", ".yaml", ".yml")):
        changes["site"] = str(path_in(site.site, folder))
    for role in ("champion", "challenger", "fallback"):
        ref = getattr(site, role)
        if ref is not None and os.path.isdir(path_in(ref, folder)) and ("/" in ref or not _names_one(ref, site.site)):
            changes[role] = str(path_in(ref, folder))
    if site.monitor is not None and site.monitor.endswith(".json"):
        changes["monitor"] = str(path_in(site.monitor, folder))
    if site.booking is not None:
        changes["booking"] = in_folder(site.booking, folder)
    return site.model_copy(update=changes)


def _names_one(ref: str, site: str) -> bool:
    """Whether a controller has this name, even if a folder has it too: in the site's system, or in any if the site is a
    file.
    """
    system = site.partition("/")[0]
    systems = [system] if system in SYSTEMS else SYSTEMS
    return ref == POLICY or any(ref in rules(one) or ref in shipped_policies(one) for one in systems)


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
