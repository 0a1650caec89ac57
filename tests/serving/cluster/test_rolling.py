"""Two processes know one site, as in a rolling update: what is done at one is kept, and holds at the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.core.site import Site
from serving.charge.roles import Roles
from serving.charge.seat import Seat
from serving.charge.state import SiteState, StateStore, merged
from serving.forms import OverrideRequest, RoleChange
from serving.operations import change_roles, configure, put_override, release_override, standing_of
from serving.tick.sites import SiteService
from tests.serving.operators import BASE, HAND, failing, http
from tests.serving.plants import Stub, body_of, service, tick_of


def pair(site: Site, folder: Path, make: Callable[[], Any] = lambda: None) -> tuple[SiteService, SiteService]:
    old = service(site, make(), store=StateStore(folder, site))
    assert asyncio.run(old.save())
    return old, service(site, make(), store=StateStore(folder, site))


def change(one: SiteService, verb: str, **what: Any) -> None:
    assert asyncio.run(change_roles(one, verb, RoleChange(reason="test", **what), "me")).saved


def hand(one: SiteService, agent: str, command: float) -> None:
    request = OverrideRequest.model_validate(HAND | {"command": command})
    assert asyncio.run(put_override(one, agent, request, "me")).saved


def tick(one: SiteService, k: int, **more: Any) -> dict[str, Any]:
    """One tick, after which whatever it found is taken up."""

    async def ask() -> dict[str, Any]:
        answer = await one.act_async(body_of(tick_of(one.site) | {"tick": k} | more))
        one.settle()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        await one.save()
        return answer

    return asyncio.run(ask())


def kept(folder: Path, site: Site) -> SiteState:
    found = StateStore(folder, site).load()
    assert found is not None
    return found


def test_a_promotion_is_not_undone_by_an_episode_at_the_other(site: Site, tmp_path: Path) -> None:
    old, new = pair(site, tmp_path)
    seated, open_seat = threading.Event(), old.standing.crew._open

    def slowly(ref: str) -> Seat:
        assert seated.wait(10)
        return open_seat(ref)

    old.standing.crew._open = slowly
    change(new, "promote", policy="greedy")

    async def begin() -> None:
        answer = await old.act_async(body_of(tick_of(site) | {"episode": "morning"}))
        assert answer["controller"] == "max-pressure"
        old.settle()
        assert await old.save()
        found = kept(tmp_path, site)
        assert (found.roles.champion, found.episode) == ("greedy", "morning")
        seated.set()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    asyncio.run(begin())
    assert tick(old, 1, episode="morning")["controller"] == "greedy"


def test_what_was_done_at_the_old_one_holds_at_the_new_one(site: Site, tmp_path: Path) -> None:
    old, new = pair(site, tmp_path)
    first, second = site.agents[:2]
    change(old, "canary", policy="greedy", now=True)
    hand(old, first, 1)
    hand(new, second, 1)
    assert set(kept(tmp_path, site).overrides) == {first, second}
    assert set(tick(new, 0)["overridden"]) == {first, second}, "commands by hand hold at once"
    assert new.in_charge.role == "canary"
    asyncio.run(release_override(new, first, "me"))
    assert set(tick(old, 0)["overridden"]) == {second}


def test_what_was_done_at_one_can_be_undone_at_the_other_before_its_first_tick(site: Site, tmp_path: Path) -> None:
    old, new = pair(site, tmp_path)
    hand(old, site.agents[0], 1)
    assert set(http(new).get(f"{BASE}/overrides").json()["overrides"]) == {site.agents[0]}
    assert set(standing_of(new).overrides) == {site.agents[0]}
    asyncio.run(release_override(new, None, "me"))
    change(old, "promote", policy="greedy")
    change(new, "rollback")
    found = kept(tmp_path, site)
    assert (found.roles, found.overrides) == (Roles(champion="max-pressure"), {})


def test_a_policy_out_of_charge_at_one_is_so_at_the_other(site: Site, tmp_path: Path) -> None:
    old, new = pair(site, tmp_path, Stub)
    stub = old.standing.crew.champion.controller
    assert isinstance(stub, Stub)
    stub.then = failing
    for k in range(7):
        tick(old, k)
    assert old.degraded is not None
    tick(new, 7)
    assert (new.degraded, tick(new, 8)["source"]) == (old.degraded, "fallback")
    change(new, "promote", policy="greedy")
    tick(old, 9)
    assert (old.degraded, tick(old, 10)["controller"]) == (None, "greedy")


def test_a_new_configuration_holds_though_the_old_process_saves(site: Site, tmp_path: Path) -> None:
    old, _ = pair(site, tmp_path)
    new = service(site, Stub("other"), store=StateStore(tmp_path, site))
    hand(old, site.agents[0], 1)
    assert tick(new, 0)["controller"] == "other"
    assert tick(new, 1)["controller"] == "other"
    assert kept(tmp_path, site).configured == Roles(champion="other")


def test_a_configuration_is_obeyed_only_once_its_roles_hold(site: Site, tmp_path: Path) -> None:
    one, _ = pair(site, tmp_path)

    async def ask() -> None:
        asked = asyncio.create_task(configure(one, Roles(champion="greedy")))
        await asyncio.sleep(0)
        assert await one.save()
        assert kept(tmp_path, site).configured == Roles(champion="max-pressure")
        await asked

    asyncio.run(ask())
    assert (kept(tmp_path, site).configured, one.in_charge.controller) == (Roles(champion="greedy"), "greedy")


def test_what_could_not_be_written_is_written_with_the_next(site: Site, tmp_path: Path, monkeypatch: Any) -> None:
    old, new = pair(site, tmp_path)

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("serving.charge.state.os.replace", refuse)
        for verb, policy in (("promote", "greedy"), ("shadow", "max-pressure")):
            asyncio.run(change_roles(new, verb, RoleChange(policy=policy, reason="test"), "me"))
        assert kept(tmp_path, site).roles.champion == "max-pressure"
    hand(old, site.agents[0], 1)
    assert set(tick(new, 0)["overridden"]) == {site.agents[0]}
    found = kept(tmp_path, site)
    assert (found.roles.champion, found.roles.challenger, set(found.overrides)) == (
        "greedy",
        "max-pressure",
        {site.agents[0]},
    )


def test_what_is_written_while_the_state_is_read_still_holds(site: Site, tmp_path: Path, monkeypatch: Any) -> None:
    old, new = pair(site, tmp_path)
    first, second = site.agents[:2]
    hand(new, second, 1)
    standing, read = old.standing, StateStore._read
    standing.overrides.held = {first: kept(tmp_path, site).overrides[second]}
    standing.note()

    def then_written(store: StateStore, path: Path) -> SiteState | None:
        found = read(store, path)
        monkeypatch.setattr(StateStore, "_read", read)
        store.write()
        return found

    monkeypatch.setattr(StateStore, "_read", then_written)
    standing.take_up_saved()
    assert set(standing.overrides.held) == set(kept(tmp_path, site).overrides) == {first, second}


A, B = Roles(champion="a"), Roles(champion="b")


@pytest.mark.parametrize(
    ("after", "found", "expected"),
    [
        ({"tripped": "late"}, {"episode": "x"}, {"tripped": "late", "episode": "x"}),
        ({"tripped": "late"}, {"roles": B}, {"roles": B}),  # who failed is not in charge any more
        ({"roles": B}, {"tripped": "late"}, {"roles": B}),
        ({"roles": B}, {"roles": A.promote("c")}, {"roles": B}),
        ({"canary": True}, {"tripped": "late"}, {"canary": True, "tripped": "late"}),
        ({"episode": "x"}, {"site_hash": "2"}, {"site_hash": "2"}),  # who serves another site came later
        ({"site_hash": "2"}, {"episode": "x"}, {"site_hash": "2"}),
    ],
)
def test_each_changes_what_it_changed(after: dict[str, Any], found: dict[str, Any], expected: dict[str, Any]) -> None:
    before = SiteState(site_hash="1", configured=A, roles=A)

    def state(changes: dict[str, Any]) -> SiteState:
        return before.model_copy(update=changes)

    assert merged(before, state(after), state(found)) == state(expected)
    assert merged(before, state(after), None) == state(after)
