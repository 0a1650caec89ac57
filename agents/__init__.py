"""Who decides: learned policies and the controllers that practitioners use, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from envs.core.errors import CityloopError
from envs.core.site import Site
from envs.core.world import Controller

POLICY = "policy"
"""The name of a system's shipped policy among its controllers."""

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
"""Where the policies that ship lie: ``<system>/<name>/``."""


def rules(system: str) -> dict[str, Callable[[Site], Controller]]:
    """The rule-based controllers of a system: name → how to build one for a site."""
    return import_module(f"agents.baselines.{system}").CONTROLLERS


def references(system: str) -> tuple[str, ...]:
    """The rule-based controllers that are quick enough to be run beside training."""
    return tuple(import_module(f"agents.baselines.{system}").REFERENCES)


def fallback_name(system: str) -> str:
    """The rule-based controller that takes over when a policy cannot answer."""
    return import_module(f"agents.baselines.{system}").FALLBACK


def shipped_policies(system: str) -> dict[str, Path]:
    """The bundles that ship for a system: name → folder."""
    folder = CHECKPOINTS / system
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/policy.json"))}


def make_controller(ref: str, site: Site, trusted: Sequence[str] | None = None) -> Controller:
    """A controller for a site.

    Args:
        ref: a baseline's name, ``policy`` (see `find_bundle`), a shipped policy's name, or the path of a bundle.
        site: the site that it is to control.
        trusted: public keys, one of which must have signed a bundle; None: any bundle will do.

    Raises:
        CityloopError: if there is no such controller, or the bundle does not fit the site's system, or is not trusted.
    """
    named = rules(site.system)
    if ref in named:
        return named[ref](site)
    bundle = find_bundle(ref, site.system, site.name)
    if bundle is not None:
        return load_policy(bundle, site.system, trusted)
    shipped = shipped_policies(site.system)
    known = ", ".join([*named, *([POLICY] if shipped else []), *shipped])
    raise CityloopError(f"controller {ref!r} is unknown: choose {known}, or give the path of a policy bundle")


def find_bundle(ref: str, system: str, site: str) -> Path | None:
    """The folder of the bundle that a controller's name, or path, stands for; None if it stands for none.

    ``policy`` is the shipped policy that is called like the site, else the system's first.
    """
    shipped = shipped_policies(system)
    if ref == POLICY and shipped:
        return shipped.get(site, next(iter(shipped.values())))
    if ref in shipped:
        return shipped[ref]
    return Path(ref) if Path(ref).is_dir() or "/" in ref else None


def load_policy(path: str | Path, system: str | None = None, trusted: Sequence[str] | None = None) -> Controller:
    """A policy from its bundle folder (``policy.onnx`` and ``policy.json``).

    Args:
        path: the bundle.
        system: refuse a bundle of another system.
        trusted: public keys, one of which must have signed it; None: any bundle will do.

    Raises:
        CityloopError: if the bundle is missing, altered, not trusted, or made for another system or schema.
    """
    from agents.policy import Policy

    return Policy.load(Path(path), system, trusted)
