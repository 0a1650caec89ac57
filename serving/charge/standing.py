"""Persistent decision state of a site: roles, the acting controller, overrides, automatic rollback, the episode.

It is restored from the file in which the last process left it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from envs.core.errors import CityloopError
from envs.core.site import Site
from serving.charge.crew import Crew
from serving.charge.episodes import Episodes
from serving.charge.overrides import Overrides
from serving.charge.roles import REMEMBERED, Roles
from serving.charge.rollback import ConductWatch
from serving.charge.seat import Seat
from serving.charge.settings import SiteSettings
from serving.charge.state import CHARGE, ROLES, SiteState, StateStore, merged

LOGGER = logging.getLogger("cityloop.serving")

SERVICE, CONFIGURATION = "service", "configuration"
"""Names for changes by the service itself, and by a configuration file."""


class ChangeAtStart(NamedTuple):
    """A start with other roles than the saved ones: who changed them, why, and the change itself."""

    who: str
    why: str
    detail: Mapping[str, Any]


class Standing:
    """Decision state of a site, restored from its file.

    Args:
        site: the site.
        settings: of the site.
        started: the roles that the configuration asks for at the start. They hold unless people, or a deployment while
            it ran, have changed them since these same roles were first obeyed.
        seats: existing seats, by the names in the roles; other seats are opened.
        fallback: decides when the controller in charge cannot.
        store: of the saved state.
        clock: wall clock, seconds since 1970.

    Attributes:
        change_at_start: change of roles with the start; None if the saved roles hold, or none were saved.

    Raises:
        CityloopError: if a controller is unknown, unfit, or cannot decide, or the state cannot be read.
    """

    def __init__(
        self,
        site: Site,
        settings: SiteSettings,
        started: Roles,
        seats: Mapping[str, Seat],
        fallback: Seat,
        store: StateStore,
        clock: Callable[[], float] = time.time,
    ):
        self.site, self.settings, self.store = site, settings, store
        self._seats, self._fallback, self._started = seats, fallback, started
        found = store.load()
        saved = found if found is None or found.site_hash == site.hash else None
        who, why = CONFIGURATION, "the configuration changed"
        if saved is not found:
            who, why = SERVICE, "the site has changed, what was saved is void"
            LOGGER.warning("%s/%s: %s", site.system, site.name, why)
        if saved is None:
            self.configured = roles = started
        elif store.asked_before(started, saved):
            self.configured, roles = saved.configured, saved.roles
        else:
            self.configured, roles = started, reconfigured(started, saved)
        kept = saved if saved is not None and saved.roles == roles else None
        try:
            self.crew = self._crew(roles, None if kept is None else kept.canary)
        except CityloopError as error:
            if saved is None or set(roles.refs) <= set(started.refs):
                raise
            who, why = SERVICE, f"{error}; the configured roles hold instead"
            LOGGER.warning("%s/%s: %s", site.system, site.name, why)
            self.configured, kept, self.crew = started, None, self._crew(reconfigured(started, saved), None)
        tripped = saved.tripped if saved is not None and acting(saved) == acting(self.crew) else None
        self.watch = ConductWatch(settings.rollback, tripped)
        self.episodes = Episodes() if kept is None else Episodes(kept.episode, begun=True)
        self.overrides = Overrides(site.agents, fallback.width, clock, None if saved is None else saved.overrides)
        self._loaded, self._published = found, found or self.state()  # the latter: as other processes know it
        went = None if found is None or found.roles == self.crew.roles else found.roles
        change = None if went is None else changed_roles(went, self.crew.roles, self.crew.seats)
        self.change_at_start = None if change is None else ChangeAtStart(who, why, change)

    def _crew(self, roles: Roles, canary: bool | None) -> Crew:
        open_seat = partial(Seat.open, site=self.site, trusted=self.settings.trusted_keys)
        return Crew(self.site, roles, self._seats, self._fallback, open_seat, canary)

    def take(self, roles: Roles, seats: Mapping[str, Seat], at_once: bool, back_in_charge: bool = False) -> None:
        """Apply roles. A new canary waits for the next episode, unless it is to act at once; one that leaves ends now.

        A change of the controller in charge begins a new watch. Otherwise one that is out of charge stays so, unless
        it is to be ``back_in_charge``.
        """
        before = self.crew.in_charge
        acts = roles.canary_acts(self.site)
        stays = self.crew.canary and roles.challenger == self.crew.roles.challenger
        self.crew.take(roles, seats, canary=acts and (stays or at_once))
        if self.crew.in_charge != before or back_in_charge:
            self.watch = ConductWatch(self.settings.rollback)

    def begin_episode(self) -> None:
        """Begin an episode: a waiting canary begins or ends, with a new watch; controllers forget the last episode."""
        before = self.crew.in_charge
        self.crew.begin_episode()
        if self.crew.in_charge != before:
            self.watch = ConductWatch(self.settings.rollback)

    @property
    def differs_from_loaded(self) -> bool:
        """Whether the state differs from the one that was loaded; meant for the start."""
        return self._loaded != self.state()

    def note(self) -> None:
        """Take note of what has changed since the last time, for `StateStore.write`."""
        before, self._published = self._published, self.state()
        self.store.note(before, self._published)

    def take_up_saved(self) -> SiteState | None:
        """Read what another process of the same service has saved: its predecessor, or its successor.

        Commands by hand take effect at once.

        Returns:
            The saved state, for `follow`; None if there is nothing else to take over.

        Raises:
            CityloopError: if the state cannot be read.
        """
        found = self.store.load()
        if found is None or found.site_hash != self.site.hash:
            return None
        new, now = self._with(found), self.state()
        self.overrides.held = dict(new.overrides)
        self._published = self._published.model_copy(update={"overrides": found.overrides})
        return found if any(getattr(new, name) != getattr(now, name) for name in (*ROLES, *CHARGE)) else None

    async def follow(self, found: SiteState | None) -> None:
        """Take over the roles and the controller in charge, as soon as the seats are open.

        Raises:
            CityloopError: if a controller is unknown, unfit, or cannot decide.
            Conflict: if one is a program inside the plant.
        """
        while found is not None:
            roles = self._with(found).roles
            async with self.crew.prepared(roles) as seats:
                found = self.take_up_saved()  # it took its time
                if found is not None and self._with(found).roles == roles:
                    self._take_up(found, seats)
                    return

    def _take_up(self, found: SiteState, seats: Mapping[str, Seat]) -> None:
        new, before = self._with(found), self.crew.in_charge
        self.configured = new.configured
        self.crew.take(new.roles, seats, canary=new.canary and new.roles.challenger is not None)
        if self.crew.in_charge != before or self.watch.tripped != new.tripped:
            self.watch = ConductWatch(self.settings.rollback, new.tripped)
        self._published = self._published.model_copy(update={name: getattr(found, name) for name in (*ROLES, *CHARGE)})

    def _with(self, found: SiteState) -> SiteState:
        """The state here, merged with a saved one."""
        return merged(self._published, self.state(), found)

    def state(self) -> SiteState:
        """All of it as plain data."""
        return SiteState(
            site_hash=self.site.hash,
            configured=self.configured,
            roles=self.crew.roles,
            canary=self.crew.canary,
            episode=self.episodes.name,
            tripped=self.watch.tripped,
            overrides=dict(self.overrides.now()),
            started=self._started,
            folder=self.store.folder,
        )


def acting(standing: SiteState | Crew) -> tuple[str | None, bool]:
    """The acting controller by the roles, and whether it is a canary."""
    return standing.roles.challenger if standing.canary else standing.roles.champion, standing.canary


def reconfigured(configured: Roles, saved: SiteState) -> Roles:
    """The roles of a new configuration, with the saved champions to roll back to."""
    if saved.roles.champion == configured.champion:
        return configured.model_copy(update={"former": saved.roles.former})
    former = (*saved.roles.former, saved.roles.champion)[-REMEMBERED:]
    return configured.model_copy(update={"former": former})


def changed_roles(before: Roles, after: Roles, seats: Iterable[Seat]) -> dict[str, Any]:
    """Details of a change of roles: both, the bundles of the later ones, and the reasons for their choice."""
    theirs = {seat.ref: seat for seat in seats if seat.ref in after.refs}
    return {
        "before": before.model_dump(),
        "after": after.model_dump(),
        "bundles": {ref: seat.bundle for ref, seat in theirs.items()},
        "why": {ref: seat.why for ref, seat in theirs.items() if seat.why},
    }
