"""The controllers of a site: the seats of champion, challenger and fallback, and the choice of the acting one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Literal

from agents import fallback_name
from envs.core.errors import CityloopError
from envs.core.site import Site
from serving.charge.roles import Roles
from serving.charge.seat import Seat
from serving.core.fallback import check_fallback
from serving.core.refusals import Conflict

Acting = Literal["champion", "canary"]
"""The roles that act."""


class Crew:
    """The controllers of one site.

    Args:
        site: the site.
        roles: of controllers.
        seats: controller's name → its seat, where it has one already; other seats are opened.
        fallback: decides when the controller in charge cannot; it must decide tick by tick, at once.
        open_seat: opens a seat by a controller's name.
        canary: whether the challenger acts in the episode that is under way.

    Raises:
        CityloopError: if the fallback is a policy or cannot take over within a tick (see `check_fallback`), a program
            is to have a challenger or be one, or a controller is unknown, unfit, or cannot decide.
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
        check_fallback(fallback.controller, site.system)
        if fallback.bundle is not None:
            raise CityloopError(
                f"fallback {fallback.name!r} is a trained policy, which fails where another does: "
                f"choose a rule such as {fallback_name(site.system)!r}"
            )
        self.site, self.fallback, self._open = site, fallback, open_seat
        self.roles, self._seats = roles, _seated(roles, seats, open_seat, _check_alone)
        self.canary = roles.canary_acts(site) if canary is None else canary and roles.challenger is not None

    @property
    def champion(self) -> Seat:
        """The controller that acts, unless a canary does."""
        return self._seats[self.roles.champion]

    @property
    def challenger(self) -> Seat | None:
        """The candidate for champion, if there is one."""
        return None if self.roles.challenger is None else self._seats[self.roles.challenger]

    @property
    def in_charge(self) -> tuple[Seat, Acting]:
        """The acting controller of this episode, and its role."""
        challenger = self.challenger
        return (challenger, "canary") if self.canary and challenger is not None else (self.champion, "champion")

    @property
    def shadow(self) -> Seat | None:
        """The controller that is asked for comparison only."""
        return None if self.canary else self.challenger

    @property
    def seats(self) -> list[Seat]:
        """All seats."""
        return [*self._seats.values(), self.fallback]

    def begin_episode(self) -> None:
        """Begin an episode: a waiting canary begins or ends, and every controller forgets the last episode."""
        self.canary = self.roles.canary_acts(self.site)
        for seat in self.seats:
            seat.forget()

    @asynccontextmanager
    async def prepared(self, roles: Roles) -> AsyncIterator[dict[str, Seat]]:
        """The seats that these roles need, opened off the event loop. Seats that are not taken are closed again.

        Raises:
            CityloopError, Conflict: see `_prepare`.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(self._prepare, roles))
        try:
            yield await asyncio.shield(opening)  # the thread goes on if its waiter is cancelled
        finally:
            opening.add_done_callback(self._leave)

    def _leave(self, opening: asyncio.Task[dict[str, Seat]]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            return
        for seat in opening.result().values():
            if seat not in self.seats:
                seat.close()

    def _prepare(self, roles: Roles) -> dict[str, Seat]:
        """The seats that these roles need.

        Raises:
            CityloopError: if a controller is unknown, unfit, or cannot decide.
            Conflict: if one is a program inside the plant, which a plant runs from its start or not at all.
        """

        def check(seats: Mapping[str, Seat]) -> None:
            program = _program_of({**self._seats, **seats})
            if program is not None and roles.refs != self.roles.refs:
                raise Conflict(
                    "policy", program, "a program inside the plant is chosen when the service starts: restart it"
                )

        return _seated(roles, self._seats, self._open, check)

    def take(self, roles: Roles, seats: Mapping[str, Seat], canary: bool) -> None:
        """Apply prepared roles; seats that are no longer needed are closed."""
        for ref, seat in self._seats.items():
            if ref not in seats:
                seat.close()
        self.roles, self._seats, self.canary = roles, dict(seats), canary

    def close(self) -> None:
        """Let every thread end."""
        for seat in self.seats:
            seat.close()


def _program_of(seats: Mapping[str, Seat]) -> str | None:
    """The one that is a program inside the plant, if any."""
    return next((ref for ref, seat in seats.items() if seat.program), None)


def _check_alone(seats: Mapping[str, Seat]) -> None:
    """Refuse a program that would take turns with another controller.

    Raises:
        CityloopError: naming both.
    """
    program = _program_of(seats)
    if program is not None and len(seats) > 1:
        champion, challenger = seats
        raise CityloopError(
            f"champion is {champion!r} and challenger {challenger!r}: {program!r} is a program inside the plant, which "
            "runs one from its start or not at all: choose another, or leave the challenger out"
        )


def _seated(
    roles: Roles,
    seats: Mapping[str, Seat],
    open_seat: Callable[[str], Seat],
    check: Callable[[Mapping[str, Seat]], None],
) -> dict[str, Seat]:
    """The seats of some roles: existing ones, and others that are opened; all of them, or none where the check refuses
    them.
    """
    found: dict[str, Seat] = {}
    with ExitStack() as opened:
        for ref in roles.refs:
            if ref in seats:
                found[ref] = seats[ref]
            else:
                found[ref] = open_seat(ref)
                opened.callback(found[ref].close)
        check(found)
        opened.pop_all()
    return found
