"""Loading a site to serve from its reference."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from envs.core.errors import CityloopError
from envs.core.registry import get_system, load_scenario
from envs.core.site import Site

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Allowed names of sites, which become part of an address."""


def load_site(ref: str) -> Site:
    """A site to serve.

    Args:
        ref: a scenario's reference, a scenario's YAML file, or a site's JSON file (`Site.save`).

    Raises:
        CityloopError: if it is unknown, cannot be read, or has a name that does not fit into an address.
    """
    site = _site_from_json(Path(ref)) if ref.endswith(".json") else _site_of_scenario(ref)
    if not NAME.fullmatch(site.name):
        raise CityloopError(f"site name {site.name!r} cannot be an address: use letters, digits, '.', '_' and '-'")
    return site


def _site_of_scenario(ref: str) -> Site:
    scenario = load_scenario(ref)
    return get_system(scenario.system).load_site(scenario)


def _site_from_json(path: Path) -> Site:
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise CityloopError(f"site file {path} cannot be read ({error.strerror}): give an existing file") from None
    except orjson.JSONDecodeError as error:
        raise CityloopError(f"site file {path} is not JSON ({error}): write it with Site.save") from None
    if not isinstance(content, dict) or "system" not in content:
        raise CityloopError(f"site file {path} has no key 'system': write it with Site.save")
    return get_system(str(content["system"])).site_class.load(path)
