"""Operations on a site while it runs: roles of policies, commands by hand. Each is reported to every sink."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from agents import POLICY, find_bundle, rules, shipped_policies
from agents.policy import read_card
from envs.core.errors import CityloopError, ReadingError
from serving.charge.overrides import Override
from serving.charge.roles import Roles
from serving.charge.standing import CONFIGURATION, changed_roles, reconfigured
from serving.core.refusals import Conflict, Unprocessable, brief
from serving.core.wire import Change, example_tick
from serving.forms import ByHand, Overridden, OverrideRequest, Policies, RoleChange, SiteStanding
from serving.tick.report import commands_of
from serving.tick.sites import SiteService

VERBS = ("shadow", "canary", "promote", "demote", "rollback")
"""What can be done to the roles."""

AT_ONCE = ("promote", "rollback")
"""Verbs that do not wait for the next episode."""

EXPECTED = ("promote", "demote", "rollback")
"""Verbs that concern a controller named by the roles, and not by the request."""


async def change_roles(service: SiteService, verb: str, change: RoleChange, who: str) -> Policies:
    """Change the roles of controllers, without delaying a tick.

    Raises:
        ReadingError: if the policy cannot be used.
        Conflict: if it does not fit the present state.
    """
    _check_asked(verb, change)
    await service.catch_up()
    change = change.model_copy(update={"policy": _placed(service, change.policy)})
    _check_expected(verb, change, service.standing.crew.roles)
    roles = _changed(service.standing.crew.roles, verb, change)
    try:
        _check_unreplaced(service, change.policy)
        return await apply_roles(service, roles, verb, change.reason, who, at_once=change.now or verb in AT_ONCE)
    except CityloopError as error:
        way_out = "; or promote another policy" if verb == "rollback" else ""
        raise ReadingError("policy", brief(change.policy or roles.champion), f"{error}{way_out}") from None


def _check_asked(verb: str, change: RoleChange) -> None:
    """Refuse fields without a meaning for a verb: an operator who names a policy to go back to would get another.

    Raises:
        ReadingError: naming the field.
    """
    if verb in ("demote", "rollback") and change.policy is not None:
        mend = f"{verb} goes back by itself to who decided before: leave it out, or promote the policy that you mean"
        raise ReadingError("policy", brief(change.policy), mend)
    if verb != "canary" and change.share != 1.0:
        raise ReadingError("share", change.share, f"{verb} concerns whole sites: leave it out, or make it a canary")
    if verb != "canary" and change.now:
        mend = f"{verb} takes effect at once anyway" if verb in AT_ONCE else "it concerns the beginning of a canary"
        raise ReadingError("now", change.now, f"{mend}: leave it out")
    if change.expected is not None and (verb not in EXPECTED or change.policy is not None):
        mend = f"it goes with {', '.join(EXPECTED)} where no policy is named: leave it out"
        raise ReadingError("expected", brief(change.expected), mend)


def _check_expected(verb: str, change: RoleChange, roles: Roles) -> None:
    """Refuse a change that would concern another controller than the operator was shown, as the roles have changed.

    Raises:
        Conflict: if it would.
    """
    found = next(reversed(roles.former), None) if verb == "rollback" else roles.challenger
    if change.expected is not None and change.expected != found:
        role = "champion before" if verb == "rollback" else "challenger"
        now = f"the {role} is {brief(found)} by now" if found else f"there is no {role} by now"
        raise Conflict("expected", brief(change.expected), f"{now}: look again")


def _placed(service: SiteService, ref: str | None) -> str | None:
    """The name of a policy; a bundle's path in full, so that it holds wherever the service is started next time."""
    if ref is None or ref == POLICY or ref in shipped_policies(service.site.system):
        return ref
    with suppress(OSError):  # what is too long for a path is none
        folder = find_bundle(ref, service.site)
        if folder is not None and folder.is_dir():
            return str(folder.resolve())
    return ref


def _check_unreplaced(service: SiteService, ref: str | None) -> None:
    """Refuse a bundle that is not the one that was loaded from its folder: its seat would go on with the old one.

    Raises:
        CityloopError: if it cannot be read.
        Conflict: if it was replaced.
    """
    seat = next((seat for seat in service.standing.crew.seats if seat.ref == ref and seat.bundle), None)
    folder = None if seat is None else find_bundle(seat.ref, service.site)
    if seat is None or folder is None:
        return
    found = read_card(folder).sha256
    if found != seat.bundle:
        raise Conflict(
            "policy",
            brief(ref),
            f"its folder has another bundle now ({found[:12]}) than when it was loaded ({str(seat.bundle)[:12]}): put "
            "every version into a folder of its own, so that there is one to go back to",
        )


async def apply_roles(
    service: SiteService,
    roles: Roles,
    what: str,
    reason: str,
    who: str,
    at_once: bool,
    configured: Roles | None = None,
) -> Policies:
    """Apply roles, once their controllers have shown that they can decide; returns the roles in force after this very
    change, and whether they could be saved.

    ``configured`` are the roles of a configuration, where one asks for them.
    """
    standing, before = service.standing, service.standing.crew.roles
    async with standing.crew.prepared(roles) as seats:
        service.settle()  # what was answered is judged by who was in charge then
        if standing.crew.roles is not before:
            raise Conflict("policy", roles.champion, "the roles were changed meanwhile: look again")
        standing.take(roles, seats, at_once, back_in_charge=what in AT_ONCE)
        standing.configured = configured or standing.configured
    service.change(who, what, reason, changed_roles(before, roles, seats.values()))
    told = policies(service)
    return told.model_copy(update={"saved": await service.save()})


async def configure(service: SiteService, roles: Roles) -> None:
    """Apply the roles of a configuration, if they are not those that it asked for last.

    Raises:
        CityloopError: if a policy cannot be used.
        Conflict: if one is a program in the plant.
    """
    standing = service.standing
    if roles == standing.configured:
        return
    new = reconfigured(roles, standing.state())
    why = "the configuration changed"
    await apply_roles(service, new, "configure", why, CONFIGURATION, at_once=False, configured=roles)


def _changed(roles: Roles, verb: str, change: RoleChange) -> Roles:
    if verb == "shadow":
        return roles.challenge(change.policy, "shadow")
    if verb == "canary":
        return roles.challenge(change.policy, "canary", change.share)
    if verb == "promote":
        return roles.promote(change.policy)
    return roles.demote() if verb == "demote" else roles.rollback()


def policies(service: SiteService) -> Policies:
    """The roles at a site."""
    service.take_up_saved()
    crew, system = service.standing.crew, service.site.system
    return Policies(
        roles=crew.roles,
        in_charge=service.in_charge,
        waiting=crew.roles.canary_acts(service.site) != crew.canary,
        rates=service.standing.watch.rates(),
        dropped=service.dropped,
        known=[*rules(system), POLICY, *shipped_policies(system)],
    )


def standing_of(service: SiteService) -> SiteStanding:
    """The state of a site."""
    service.take_up_saved()
    return SiteStanding(
        last=None if service.last is None else dict(service.last),
        age_s=service.age_s,
        in_charge=service.in_charge,
        roles=service.standing.crew.roles,
        episode=service.standing.episodes.name,
        overrides=dict(service.standing.overrides.now()),
        rates=service.standing.watch.rates(),
        checks=None if service.checks is None else service.checks.describe(),
    )


async def put_override(service: SiteService, agent: str | None, asked: OverrideRequest, who: str) -> Overridden:
    """Set a command by hand, for one agent or all. It overrides every policy; the guard still limits it.

    Raises:
        Refused: if the command is invalid, there is no such agent, or a program in the plant decides.
    """
    await service.catch_up()
    made = _made(service, agent, asked.command, asked.reason, who, asked.expires_s)
    seen = guarded(service, made)
    service.standing.overrides.put(made)
    detail = {"agents": list(made), "command": asked.command, "expires_s": asked.expires_s}
    service.change(who, "override", asked.reason, detail)
    return Overridden(overrides=made, guard=seen, saved=await service.save())


async def release_override(service: SiteService, agent: str | None, who: str) -> Overridden:
    """End the command by hand of one agent, or all.

    Raises:
        Refused: if there is none, or no such agent.
    """
    await service.catch_up()
    gone = service.standing.overrides.release(agent)
    service.change(who, "release", "by hand", {"agents": gone})
    left = dict(service.standing.overrides.now())
    return Overridden(overrides=left, saved=await service.save())


def check_override(service: SiteService, agent: str | None, command: Any) -> ByHand:
    """The guard's response to a command by hand; nothing is changed.

    Raises:
        Refused: as `put_override`.
    """
    return guarded(service, _made(service, agent, command, "check", "check", 1.0))


def _made(
    service: SiteService, agent: str | None, command: Any, reason: str, who: str, expires_s: float
) -> dict[str, Override]:
    seat, _ = service.standing.crew.in_charge
    if seat.program:
        raise Conflict(
            "agent", agent, f"program {seat.name!r} decides inside the plant: serve a controller that is overridable"
        )
    made = service.standing.overrides.make(agent, command, reason, who, expires_s)
    space = service.system.action_space(service.site)
    if isinstance(space, Box) and not space.contains(np.reshape(command, space.shape).astype(space.dtype)):
        raise Unprocessable("command", brief(command), f"give from {_plain(space.low)} to {_plain(space.high)}")
    return made


def _plain(bound: np.ndarray) -> str:
    return f"{float(bound[0]):g}" if bound.size == 1 else str(bound.tolist())


def guarded(service: SiteService, overrides: Mapping[str, Override]) -> ByHand:
    """The guard's response to commands by hand on the last readings, for their agents.

    Raises:
        Refused: if an agent has no such choice, such as a stage that its junction lacks.
    """
    tick, readings = service.seen or (None, None)
    if readings is None:
        readings = service.system.readings.validate(example_tick(service.site)["readings"], service.site.axes)
    width = service.standing.crew.fallback.width
    nothing = np.full((len(service.site.agents), width) if width else len(service.site.agents), np.nan)
    requests = service.standing.overrides.onto(nothing, overrides)
    commands, changes = service.guard_for_checks.check(readings, requests)
    changes = [change for change in changes if change.agent in overrides]
    for change in changes:
        if change.requested is None:
            mend = f"{change.agent} has no such {service.system.command}: choose one that it has"
            raise Unprocessable("command", overrides[change.agent].command, mend)
    answer = commands_of(service.site, service.system.command, commands)
    return ByHand(
        tick=tick,
        commands={agent: answer[agent] for agent in overrides},
        interventions=[Change(**change._asdict()) for change in changes],
    )
