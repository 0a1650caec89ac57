"""Who sits at a site: the seats of champion, challenger and fallback, and which of them acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from agents import fallback_name
from envs.core.errors import CityloopError
from envs.core.site import Site
from serving.charge.roles import Roles
from serving.refusals import Conflict
from serving.tick.seat import Seat

Acting = Literal["champion", "canary"]
"""The roles that act."""


class Crew:
    """The controllers of one site.

    Args:
        site: the site.
        roles: who has which role.
        seats: controller by name → its seat; those of the roles, at least.
        fallback: who decides when the one in charge cannot; it must decide tick by tick.
        open_seat: opens a seat by a controller's name.
        canary: whether the challenger acts in the episode that is under way.

    Raises:
        CityloopError: if the fallback is a program inside the plant.
    """

    def __init__(
        self,
        site: Site,
        roles: Roles,
        seats: Mapping[str, Seat],
        fallback: Seat,
        open_seat: Callable[[str], Seat],
        canary: bool | None = None,
    ):
        if fallback.program:
            raise CityloopError(
                f"fallback {fallback.name!r} is a program inside the plant and cannot take over within a tick: "
                f"choose a controller such as {fallback_name(site.system)!r}"
            )
        self.site, self.fallback, self._open = site, fallback, open_seat
        self.roles, self._seats = roles, dict(seats)
        self.canary = roles.canary_acts(site) if canary is None else canary and roles.challenger is not None

    @property
    def champion(self) -> Seat:
        """Who acts, unless a canary does."""
        return self._seats[self.roles.champion]

    @property
    def challenger(self) -> Seat | None:
        """Who may act one day."""
        return None if self.roles.challenger is None else self._seats[self.roles.challenger]

    @property
    def in_charge(self) -> tuple[Seat, Acting]:
        """Who acts in this episode, and in which role."""
        challenger = self.challenger
        return (challenger, "canary") if self.canary and challenger is not None else (self.champion, "champion")

    @property
    def shadow(self) -> Seat | None:
        """Who is asked beside the one in charge."""
        return None if self.canary else self.challenger

    @property
    def seats(self) -> list[Seat]:
        """All of them."""
        return [*self._seats.values(), self.fallback]

    def begin_episode(self) -> None:
        """A canary that waited for it begins, or ends; everybody forgets the last one."""
        self.canary = self.roles.canary_acts(self.site)
        for seat in self.seats:
            seat.forget()

    def prepare(self, roles: Roles) -> dict[str, Seat]:
        """The seats that these roles need. Takes its time: call it beside the event loop.

        Raises:
            CityloopError: if a controller is unknown, unfit, or cannot decide.
            Conflict: if one is a program inside the plant, which a plant runs from its start or not at all.
        """
        seats = dict(self._seats)
        for ref in (roles.champion, roles.challenger):
            if ref is None or ref in seats:
                continue
            seats[ref] = self._open(ref)
            if seats[ref].program or self.champion.program:
                program = ref if seats[ref].program else self.roles.champion
                raise Conflict(
                    "policy", program, "a program inside the plant is chosen when the service starts: restart it"
                )
        return {ref: seats[ref] for ref in (roles.champion, roles.challenger) if ref is not None}

    def take(self, roles: Roles, seats: Mapping[str, Seat], canary: bool) -> None:
        """Let prepared roles hold; seats that nobody needs are closed."""
        for ref, seat in self._seats.items():
            if ref not in seats:
                seat.close()
        self.roles, self._seats, self.canary = roles, dict(seats), canary

    def close(self) -> None:
        """Let every thread end."""
        for seat in self.seats:
            seat.close()
