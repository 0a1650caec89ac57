"""No controller's thread outlives its seat: what was opened and is not needed, or could not decide, is closed again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from envs import CityloopError
from envs.core.site import Site
from serving.charge.crew import Crew
from serving.charge.roles import Roles
from serving.charge.seat import Seat
from serving.charge.settings import SiteConfig
from serving.core.refusals import Conflict
from serving.forms import RoleChange
from serving.operations import change_roles
from serving.tick.sites import SiteService
from tests.serving.plants import GRID, Stub, service


class Broken(Stub):
    """Cannot even decide the example."""

    def act(self, readings: Any, observation: Any) -> Any:
        raise ZeroDivisionError


class Program(Stub):
    """Decides inside the plant."""

    program = "fixed"


class Timed(Stub):
    """Searches for as long as its time allows."""

    timed = True


def left_behind(site: Site, work: Callable[[], Any]) -> set[str]:
    """Who of the site's controllers still has a thread, beside those that had one before."""
    before = set(threading.enumerate())
    work()
    begun = [one for one in set(threading.enumerate()) - before if one.name.startswith(f"{site.system}/{site.name} ")]
    for thread in begun:
        thread.join(0.5)
    return {thread.name.split()[-1] for thread in begun if thread.is_alive()}


def opening(site: Site) -> Callable[[str], Seat]:
    """Opens seats of stubs: of one that cannot decide, of a program, or of any other."""
    kinds: dict[str, type[Stub]] = {"broken": Broken, "program": Program, "timed": Timed}
    return lambda ref: Seat(kinds.get(ref, Stub)(ref), site)


def test_one_that_cannot_decide_leaves_no_thread(site: Site) -> None:
    def work() -> None:
        with pytest.raises(CityloopError, match="cannot decide"):
            Seat(Broken(), site)

    assert left_behind(site, work) == set()


@pytest.mark.parametrize(
    ("champion", "challenger", "fallback", "match"),
    [
        ("one", "broken", "rule", "cannot decide"),
        ("one", "two", "program", "inside the plant and cannot take over"),
        ("one", "two", "timed", "searches for as long as its time allows and cannot take over"),
    ],
)
def test_a_crew_that_is_not_complete_leaves_no_thread(
    site: Site, champion: str, challenger: str, fallback: str, match: str
) -> None:
    last = opening(site)(fallback)

    def work() -> None:
        with pytest.raises(CityloopError, match=match):
            Crew(site, Roles(champion=champion, challenger=challenger), {}, last, opening(site))

    assert left_behind(site, work) == set()
    last.close()


def test_a_site_that_cannot_be_opened_leaves_no_thread(site: Site) -> None:
    def work() -> None:
        with pytest.raises(CityloopError, match="nobody"):
            SiteService.open(site, SiteConfig(site=GRID, champion="nobody"))

    assert left_behind(site, work) == set()


@pytest.mark.parametrize("challenger", ["broken", "program"])
def test_roles_that_cannot_be_prepared_leave_no_thread(site: Site, challenger: str) -> None:
    crew = Crew(site, Roles(champion="one"), {}, opening(site)("rule"), opening(site))

    async def prepare() -> None:
        with pytest.raises((CityloopError, Conflict)):
            async with crew.prepared(Roles(champion="two", challenger=challenger)):
                pass

    assert left_behind(site, lambda: asyncio.run(prepare())) == set()
    crew.close()


def test_roles_that_changed_meanwhile_leave_no_thread(site: Site) -> None:
    one = service(site)

    async def both() -> list[Any]:
        asked = (
            change_roles(one, verb, RoleChange(policy="greedy", reason="test"), "me") for verb in ("promote", "shadow")
        )
        return await asyncio.gather(*asked, return_exceptions=True)

    def work() -> None:
        assert [type(found) for found in asyncio.run(both())].count(Conflict) == 1
        one.close()

    assert left_behind(site, work) == set()


def test_roles_that_nobody_waits_for_any_more_leave_no_thread(site: Site) -> None:
    asked, go_on = threading.Event(), threading.Event()
    opened: list[Seat] = []

    def slowly(ref: str) -> Seat:
        asked.set()
        assert go_on.wait(10)
        opened.append(opening(site)(ref))
        return opened[-1]

    crew = Crew(site, Roles(champion="one"), {"one": opening(site)("one")}, opening(site)("rule"), slowly)

    async def give_up() -> None:
        async def prepare() -> None:
            async with crew.prepared(Roles(champion="two")):
                raise AssertionError("they were not to be waited for")

        task = asyncio.create_task(prepare())
        await asyncio.to_thread(asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    assert left_behind(site, lambda: asyncio.run(give_up())) == set()
    assert len(opened) == 1
    crew.close()
