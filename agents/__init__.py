"""Controllers by name: learned policies, and the controllers that practitioners use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from agents.shipped import CHECKPOINTS, Meaning, fallback_name, meaning, practice, shipped_policies
from envs.core.errors import CityloopError
from envs.core.site import Site
from envs.core.world import Controller

__all__ = [
    "CHECKPOINTS",
    "POLICY",
    "Meaning",
    "fallback_name",
    "find_bundle",
    "load_policy",
    "make_controller",
    "meaning",
    "references",
    "rules",
    "shipped_policies",
]

POLICY = "policy"
"""Name that stands for the controller of a system that is known to do no harm at the site; see `meaning`."""


def rules(system: str) -> dict[str, Callable[[Site], Controller]]:
    """The rule-based controllers of a system: name → how to build one for a site.

    Raises:
        CityloopError: if there is no such system.
    """
    return practice(system).CONTROLLERS


def references(system: str) -> tuple[str, ...]:
    """Names of the rule-based controllers that are fast enough to run beside training.

    Raises:
        CityloopError: if there is no such system.
    """
    return tuple(practice(system).REFERENCES)


def make_controller(ref: str | Path, site: Site, trusted: Sequence[str] | None = None) -> Controller:
    """A controller for a site.

    Args:
        ref: a baseline's name, ``policy`` (see `meaning`), a shipped policy's name, or the path of a bundle.
        site: the site to control.
        trusted: public keys, one of which must have signed a bundle; None: signatures are not required.

    Raises:
        CityloopError: if there is no such controller, or the bundle does not fit the site's system or actions, or is
            not trusted.
    """
    named, ref = rules(site.system), str(ref)
    if ref in named:
        return named[ref](site)
    bundle = find_bundle(ref, site)
    if bundle is not None:
        from agents.policy import Policy

        return Policy.load(bundle, site.system, trusted).at(site)
    if ref == POLICY:
        return named[fallback_name(site.system)](site)
    known = ", ".join([*named, POLICY, *shipped_policies(site.system)])
    raise CityloopError(f"controller {ref!r} is unknown: choose {known}, or give the path of a policy bundle")


def find_bundle(ref: str, site: Site) -> Path | None:
    """Folder of the bundle that a controller's name or path denotes at a site; None if it does not denote a bundle."""
    if ref == POLICY:
        return meaning(site).bundle
    shipped = shipped_policies(site.system)
    if ref in shipped:
        return shipped[ref]
    return Path(ref) if ref and (Path(ref).is_dir() or "/" in ref) else None


def load_policy(path: str | Path, system: str | None = None, trusted: Sequence[str] | None = None) -> Controller:
    """A policy from its bundle folder (``policy.onnx`` and ``policy.json``), bound to no site.

    The policy does not coordinate agents whose requests conflict at a site; those of `make_controller` do.

    Args:
        path: folder of the bundle.
        system: system of which the bundle must be.
        trusted: public keys, one of which must have signed it; None: signatures are not required.

    Raises:
        CityloopError: if the bundle is missing, altered, not trusted, or made for another system or schema.
    """
    from agents.policy import Policy

    return Policy.load(Path(path), system, trusted)
