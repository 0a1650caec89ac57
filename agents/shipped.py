"""Shipped policies, and the meaning of the name ``policy`` at a site: a policy that was shown to do no harm there.

A bundle's card records at which sites the policy was compared with the rule of practice, the system's fallback, and
whether it was no worse (`cityloop evaluate --card`). If no shipped bundle was shown that for a site, ``policy`` means
the rule. Cards identify sites by name, and by the hash of the plant that was tried. The name of a shipped scenario
means the place that ships, and not another place of the same name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError
from envs.core.registry import SYSTEMS, get_system, load_scenario
from envs.core.site import Site

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
"""Folder of the shipped policies: ``<system>/<name>/``."""

CARD = "policy.json"
"""Name of a bundle's card file."""

_TESTED = re.compile(r"test: \S+ on \d+ seeds? of (?P<ref>\S+)")
"""Titles of test results on a card; see `training.evaluation.results.Evaluation.for_card`."""


@dataclass(frozen=True)
class Meaning:
    """Meaning of the name ``policy`` at a site.

    Attributes:
        name: name of the shipped policy, or of the rule.
        bundle: folder of the policy; None: it is a rule.
        why: the meaning in a sentence, with the reason.
    """

    name: str
    bundle: Path | None
    why: str


def shipped_policies(system: str) -> dict[str, Path]:
    """The bundles that ship for a system: name → folder."""
    return {path.parent.name: path.parent for path in sorted((CHECKPOINTS / system).glob(f"*/{CARD}"))}


def practice(system: str) -> Any:
    """Module of a system's baselines.

    Raises:
        CityloopError: if there is no such system.
    """
    if system not in SYSTEMS:
        raise CityloopError(f"system {system!r} is unknown: there is {', '.join(SYSTEMS)}")
    return import_module(f"agents.baselines.{system}")


def fallback_name(system: str) -> str:
    """Name of the rule of practice: it takes over if a policy fails, and is the bar that a policy must not miss.

    Raises:
        CityloopError: if there is no such system.
    """
    return str(practice(system).FALLBACK)


def proven_of(bundle: Path) -> dict[str, bool]:
    """Verdicts on a bundle's card: name of a site, or pattern of names → whether it was no worse than the rule there.

    Raises:
        CityloopError: if the card cannot be read.
    """
    return _table(bundle, "proven")


def evaluated_at(bundle: Path) -> list[str]:
    """Scenarios of test results on a bundle's card, as ``system/label``.

    Raises:
        CityloopError: if the card cannot be read.
    """
    found = (_TESTED.fullmatch(title) for title in _table(bundle, "evaluation"))
    return [match["ref"] for match in found if match]


def _table(bundle: Path, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((bundle / CARD).read_bytes()).get(name, {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CityloopError(f"{bundle / CARD} cannot be read ({error}): restore the file, or export it again") from None


def pattern_for(proven: Mapping[str, bool], site: str) -> str | None:
    """The most specific of several names and patterns that applies to a site; None if none does."""
    fitting = [pattern for pattern in proven if _fits(pattern, site)]
    return max(fitting, key=lambda pattern: (pattern == site, len(pattern)), default=None)


def _fits(pattern: str, name: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def meaning(site: Site) -> Meaning:
    """Meaning of ``policy`` at a site.

    Of several policies that were shown to do no harm there, the one with the most specific name on its card is taken.

    Raises:
        CityloopError: if there is no such system, or the card of a policy that ships cannot be read.
    """
    system = site.system
    rule, shipped = fallback_name(system), shipped_policies(system)
    proven: dict[str, str] = {}
    worse: list[str] = []
    elsewhere = ""
    for name, folder in shipped.items():
        verdicts, plants = proven_of(folder), _table(folder, "plants")
        here = {
            pattern: fine
            for pattern, fine in verdicts.items()
            if speaks_of(pattern, site) and (pattern not in plants or plants[pattern] == site.plant_hash)
        }
        pattern = pattern_for(here, site.name)
        if pattern is None:
            other = pattern_for(verdicts, site.name)
            elsewhere = elsewhere if other is None else "was tried" if other in plants else "ships"
        elif verdicts[pattern]:
            proven[name] = pattern
        else:
            worse.append(name)
    if proven:
        name = max(proven, key=lambda name: (proven[name] == site.name, len(proven[name])))
        where = _where(proven[name])
        return Meaning(name, shipped[name], f"{name} decides, as it was shown to be no worse than {rule} {where}")
    if not shipped:
        return Meaning(rule, None, f"{rule} decides, as no policy ships for {system}")
    if worse:
        return Meaning(rule, None, f"{rule} decides, as {' and '.join(worse)} did worse than it here")
    ships = f"{next(iter(shipped))}, which ships, was" if len(shipped) == 1 else "no policy that ships was"
    never = "never shown" if len(shipped) == 1 else "ever shown"
    at = f"this {site.name}, which is not the one that {elsewhere}" if elsewhere else site.name
    return Meaning(rule, None, f"{rule} decides, as {ships} {never} to be no worse than it at {at}")


def speaks_of(pattern: str, site: Site) -> bool:
    """Whether a pattern applies to a site: it matches the name, and no other place ships under that name.

    A pattern for any site applies to all. A pattern that matches no shipped scenario applies to every matching name.
    """
    if not _fits(pattern, site.name):
        return False
    ours = [name for name in get_system(site.system).scenario_names if _fits(pattern, name)]
    if pattern == "*" or not ours:
        return True
    ours.sort(key=lambda name: name != site.name)  # what is called the same is probably it
    return any(_plant(site.system, name) in (None, site.plant) for name in ours)


@cache
def _plant(system: str, name: str) -> Any:
    """The place of a shipped scenario; None, i.e. unknown, if its data are not on this machine."""
    try:
        return get_system(system).load_site(load_scenario(f"{system}/{name}")).plant
    except CityloopError:
        return None


def _where(pattern: str) -> str:
    """The sites at which a policy was shown to do no harm, in words."""
    if pattern == "*":
        return "at sites that it had never seen"
    return f"at {pattern}"
