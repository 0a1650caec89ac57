"""A decision is a function of what is recorded: episodes of every system come out equal to the last bit once more."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from agents import POLICY, fallback_name, find_bundle, make_controller, shipped_policies
from agents.envelope import ANYWHERE, Envelope, Limits
from envs import CityloopError, get_system, load_scenario
from envs.core.env import make_loop
from envs.core.site import Site
from serving.audit import AuditLog, AuditSettings, writer
from serving.audit.query import Wanted
from serving.audit.replay import replay
from serving.audit.verify import verify
from serving.checks import CheckSettings, InputChecks
from serving.core.events import Event, Shadowed
from serving.core.looked import Looked
from serving.forms import RoleChange
from serving.operations import change_roles
from tests.serving.audit.logs import Logged, all_reproduced, run
from tests.serving.audit.written import until
from tests.serving.bundles import bundle
from tests.serving.plants import GRID, Stub, body_of, grid, service, tick_of

TICKS = 8

DECIDE: dict[str, tuple[str, tuple[str, ...]]] = {
    "intersections": (GRID, ("max-pressure", "greedy", "fixed")),
    "drainage": ("drainage/theta", ("pi", "law")),
    "dampers": ("dampers/jansen", ("bang-bang", "mhf-continuous", "clipped-optimal", "passive-off")),
    "transit": ("transit/ingolstadt", ("reactive", "coverage", "nearest")),
}
"""System → a small scenario, and controllers: with memory, without, and programs in the plant."""


@cache
def episode(ref: str) -> tuple[Site, tuple[bytes, ...]]:
    """A site, and the ticks of an episode's begin."""
    loop = make_loop(ref)
    try:
        rule = make_controller(fallback_name(loop.site.system), loop.site)
        loop.reset(load_scenario(ref).seeds.test.first)
        found = []
        for tick in range(TICKS):
            readings = loop.system.readings.to_json(loop.readings)
            found.append(orjson.dumps({"tick": tick, "time_s": loop.world.time_s, "readings": readings}))
            if loop.step(rule.act(loop.readings, loop.observation)).done:
                break
        return loop.site, tuple(found)
    finally:
        loop.close()


@pytest.mark.parametrize("system", DECIDE)
def test_episodes_of_every_system_are_replayed_to_the_last_bit(system: str, logged: Logged) -> None:
    ref, names = DECIDE[system]
    site, bodies = episode(ref)
    names = [POLICY, *shipped_policies(system), *names]
    for name in names:
        one = logged.service(site, make_controller(name, site))
        run(one, bodies)
        run(one, bodies)  # the plant begins anew, so whoever remembers must forget
    found = logged.replay()
    assert all_reproduced(found)
    assert found.decisions == 2 * len(bodies) * len(names)


def test_signals_that_settle_their_stages_are_replayed_as_they_settled(logged: Logged) -> None:
    site, bodies = episode("intersections/town7")
    run(logged.service(site, make_controller("generalist", site)), bodies)
    assert all_reproduced(logged.replay())


def test_whoever_remembers_is_replayed_from_where_it_began(logged: Logged) -> None:
    site, bodies = episode("drainage/theta")
    run(logged.service(site, make_controller("pi", site)), bodies)
    middle = logged.log.recent(Wanted()) if logged.log.flush() else []
    ticks = [record for record in middle if record["kind"] == "decision"]
    found = logged.replay(Wanted(since=ticks[5]["at_s"]))
    assert all_reproduced(found)
    assert found.decisions == len(ticks) - 5


def test_what_is_left_of_a_log_is_replayed_as_far_as_its_begin_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, bodies = episode("drainage/theta")
    log = AuditLog(tmp_path, AuditSettings(keep_days=1.5, compress=False))
    one = service(site, make_controller("pi", site), sinks=(log,))
    log.keep_site(site, "static")
    now = time.time()
    for day in range(TICKS):
        monkeypatch.setattr(writer.time, "time", lambda day=day: now + day * writer.DAY_S)
        one.act(bodies[day])
        assert log.flush()
    monkeypatch.undo()
    one.act(bodies[0])  # begins anew
    one.close()
    log.close()
    assert verify(tmp_path).ok
    found = replay(tmp_path)
    assert found.ok
    assert found.decisions < TICKS  # the others are gone, and with them what the rule remembers
    assert sum(found.reproduced.values()) >= 1
    assert sum(found.partly.values()) + sum(found.reproduced.values()) == found.decisions
    assert set(found.partly) <= {"records before the first are missing"}


def test_the_reason_of_a_fallback_is_taken_as_recorded_and_its_commands_are_checked(logged: Logged) -> None:
    site = grid()
    stub = Stub("broken")
    one = logged.service(site, stub)
    stub.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]
    run(one, [body_of(tick_of(site) | {"tick": k}) for k in range(3)])
    found = logged.replay()
    assert all_reproduced(found)
    assert (found.given, found.reproduced["fallback"]) == (3, 3)


def test_where_the_fallback_failed_too_it_fails_again(logged: Logged) -> None:
    site = grid()
    stub, second = Stub("first"), Stub("second")
    one = logged.service(site, stub, second)
    stub.then = second.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]
    run(one, [body_of(tick_of(site))])
    found = logged.replay()
    why = "controller 'second' is unknown here: replay it with the code that made it"
    assert found.partly == {why: 1}  # but what the guard made of it is right
    assert found.ok


def test_after_a_late_answer_nobody_knows_what_a_rule_remembers(logged: Logged) -> None:
    site, bodies = episode("drainage/theta")
    rule = make_controller("pi", site)
    one = logged.service(site, rule, deadline_ms=5000)
    run(one, bodies[:3])
    act, release = rule.act, threading.Event()

    def hang(*arguments: Any) -> Any:
        release.wait(30)
        return act(*arguments)

    rule.act = hang  # type: ignore[method-assign]
    late = orjson.dumps(orjson.loads(bodies[3]) | {"deadline_ms": 20})
    assert one.act(late)["fallback"]
    rule.act = act  # type: ignore[method-assign]
    release.set()
    seat, _ = one.standing.crew.in_charge
    until(lambda: not seat.stuck)
    run(one, bodies[4:])
    found = logged.replay()
    assert found.ok
    assert found.given == 1
    assert found.decisions == TICKS
    assert sum(found.reproduced.values()) + sum(found.partly.values()) == TICKS


def test_commands_by_hand_are_replayed(logged: Logged) -> None:
    site = grid()
    one = logged.service(site)
    overrides = one.standing.overrides
    overrides.put(overrides.make(site.agents[1], 1, "works", "me", 60.0))
    run(one, [body_of(tick_of(site) | {"tick": 0})])
    overrides.put(overrides.make(None, 99, "nonsense", "me", 60.0))
    run(one, [body_of(tick_of(site) | {"tick": 1})])
    found = logged.replay()
    assert all_reproduced(found)
    assert found.reproduced == {"champion": 1, "manual": 1}


class Checks:
    """Puts something in, and leaves an agent to the fallback."""

    def __init__(self, fall_back: str | None = None):
        self.fall_back = fall_back

    def look(self, tick: Any, at_s: float) -> Looked:
        readings = dict(tick.readings)
        readings["count_veh"] = readings["count_veh"].copy()
        readings["count_veh"][0] = 3.25
        readings["near_veh"] = readings["near_veh"].copy()
        readings["near_veh"][1] = np.nan
        imputed = {"count_veh[0]": 3.25, "near_veh[1]": None}
        return Looked(readings, imputed, ("stuck",), (1,), self.fall_back)

    def follow(self, envelope: Any) -> None:
        pass

    def judge(self, looked: Looked, observation: Any) -> Looked:
        return looked

    def reset(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("fall_back", [None, "too much is wrong"])
def test_what_the_input_checks_put_in_is_replayed(logged: Logged, tmp_path: Path, fall_back: str | None) -> None:
    site = grid()
    folder = bundle(tmp_path / "tiny")
    logged.log.keep_bundle(folder)
    one = logged.service(site, make_controller(str(folder), site), checks=Checks(fall_back))
    rng = np.random.default_rng(0)
    for k in range(4):
        counts = rng.integers(0, 9, len(site.axes["approach"])).astype(float).tolist()
        run(one, [body_of(tick_of(site, count_veh=counts, near_veh=counts) | {"tick": k})])
    assert all_reproduced(logged.replay())


def test_what_our_own_input_checks_do_is_replayed(logged: Logged, tmp_path: Path) -> None:
    """Jumping counts: the last good value, null after that, and agents that the fallback decides."""
    site, folder, limits = grid(), bundle(tmp_path / "tiny"), tmp_path / "limits.json"
    logged.log.keep_bundle(folder)
    known = Envelope(rate=1e-3, fitted={}, parts={}, limits={ANYWHERE: Limits(change={"count_veh": 1.0})})
    limits.write_text(known.model_dump_json())
    settings = CheckSettings(hold_ticks=1, limits=limits, respond={"signals": "report"}, fall_back_share=1.0)
    checks = InputChecks(get_system(site.system), site, settings=settings)
    one = logged.service(site, make_controller(str(folder), site), checks=checks)
    rng, imputed = np.random.default_rng(0), 0
    for k in range(8):
        counts = rng.integers(0, 9, len(site.axes["approach"])).astype(float).tolist()
        run(one, [body_of(tick_of(site, count_veh=counts) | {"tick": k, "time_s": 5.0 * k})])
        assert one.last is not None
        imputed += len(one.last["imputed"])
    assert imputed > 8
    assert all_reproduced(logged.replay())


class Shadows:
    """A sink that counts what shadows came to."""

    shadows = 0

    def record(self, event: Event) -> None:
        self.shadows += isinstance(event, Shadowed)

    def close(self) -> None:
        pass


def test_controllers_in_the_shadow_are_replayed(logged: Logged, tmp_path: Path) -> None:
    site, bodies = episode(GRID)
    folder = bundle(tmp_path / "tiny")
    logged.log.keep_bundle(folder)
    counted = Shadows()
    one = logged.service(site, beside=[counted], challenger=make_controller(str(folder), site))

    async def each_with_its_shadow() -> None:
        for k, body in enumerate(bodies, 1):
            await one.act_async(body)
            while counted.shadows < k:  # a shadow that is behind is left out
                await asyncio.sleep(0.001)

    asyncio.run(each_with_its_shadow())
    found = logged.replay()
    assert all_reproduced(found)
    assert found.shadows == {"reproduced": len(bodies)}


def test_a_rule_that_is_also_the_fallback_has_a_memory_of_its_own(logged: Logged) -> None:
    """The fallback decides every other tick; the same rule in the shadow is asked at every one."""
    site, bodies = episode("drainage/theta")
    champion, counted, failing = make_controller("static", site), Shadows(), True

    class Failing:
        name, program, timed = champion.name, None, False

        def reset(self) -> None:
            champion.reset()

        def act(self, *seen: Any) -> Any:
            nonlocal failing
            failing = not failing
            if failing:
                raise ZeroDivisionError
            return champion.act(*seen)

    rollback = {"window": 60, "errors": 1.0}
    pi = [make_controller("pi", site) for _ in range(2)]
    one = logged.service(site, Failing(), pi[0], beside=[counted], challenger=pi[1], rollback=rollback)

    async def each_with_its_shadow() -> None:
        for k, body in enumerate(bodies, 1):
            await one.act_async(body)
            while counted.shadows < k:
                await asyncio.sleep(0.001)

    asyncio.run(each_with_its_shadow())
    found = logged.replay()
    assert all_reproduced(found)
    assert set(found.reproduced) == {"champion", "fallback"}
    assert found.shadows == {"reproduced": len(bodies)}


@pytest.mark.parametrize("after", ["an episode began", "it came into a role anew"])
def test_a_shadow_that_is_recorded_late_takes_no_memory_along(logged: Logged, after: str) -> None:
    """A rule in the shadow answers the last tick of an episode, or of its role, when the next has begun."""
    site, bodies = episode("drainage/theta")
    held: list[Event] = []

    class Late:
        """Holds back what shadows came to until it is told to go on."""

        def record(self, event: Event) -> None:
            held.append(event) if isinstance(event, Shadowed) else logged.log.record(event)

        def close(self) -> None:
            pass

    one = service(site, make_controller("static", site), challenger=make_controller("pi", site), sinks=[Late()])
    logged.log.keep_site(site, one.standing.crew.fallback.name)

    async def late() -> None:
        async def answered(count: int) -> None:
            while len(held) < count:
                await asyncio.sleep(0.001)

        for k, body in enumerate(bodies[:3]):
            await one.act_async(body)
            await answered(1)
            logged.log.record(held.pop()) if k < 2 else None
        if after == "an episode began":
            await one.act_async(bodies[0])
        else:
            await change_roles(one, "demote", RoleChange(reason="a look"), "ana")
            await change_roles(one, "shadow", RoleChange(policy="pi", reason="a look"), "ana")
            await one.act_async(bodies[3])
        await answered(2)
        for event in held:
            logged.log.record(event)

    asyncio.run(late())
    one.close()
    found = logged.replay()
    assert all_reproduced(found)
    assert found.shadows == {"reproduced": 3, "partly": 1}


def test_who_comes_back_into_a_role_remembers_nothing(logged: Logged) -> None:
    site, bodies = episode("drainage/theta")
    one = logged.service(site, make_controller("static", site))
    asked = RoleChange(policy="pi", reason="a look")
    overrides = one.standing.overrides

    async def promote_twice() -> None:
        await change_roles(one, "promote", asked, "ana")
        for body in bodies[:3]:
            await one.act_async(body)
        await change_roles(one, "rollback", RoleChange(reason="a look"), "ana")
        await change_roles(one, "promote", asked, "ana")
        overrides.put(overrides.make(None, 0.0, "works", "ana", 60.0))
        await one.act_async(bodies[3])  # whoever decides is not seen to, and learns from it
        overrides.release(None)
        await one.act_async(bodies[4])

    asyncio.run(promote_twice())
    assert all_reproduced(logged.replay())


def test_a_bundle_that_made_no_decision_is_refused(logged: Logged, tmp_path: Path) -> None:
    site = grid()
    run(logged.service(site), [body_of(tick_of(site))])
    with pytest.raises(CityloopError, match=r"no decision of .* was made by bundle"):
        logged.replay(Wanted(), bundle(tmp_path / "tiny"))


def test_a_bundle_that_is_not_kept_can_be_given(logged: Logged, tmp_path: Path) -> None:
    site = grid()
    folder = bundle(tmp_path / "tiny")
    run(logged.service(site, make_controller(str(folder), site)), [body_of(tick_of(site))])
    found = logged.replay()
    assert found.ok
    assert "give it with --bundle" in next(iter(found.partly))
    assert all_reproduced(replay(logged.folder, bundle=folder))


def test_shipped_bundles_are_kept_without_being_told(logged: Logged) -> None:
    site, bodies = episode("drainage/theta")
    run(logged.service(site, make_controller("gates", site)), bodies)
    assert all_reproduced(logged.replay())
    (copy,) = (logged.folder / "kept" / "bundles").iterdir()
    shipped = find_bundle("gates", site)
    assert shipped is not None
    assert {path.name for path in copy.iterdir()} == {path.name for path in shipped.iterdir()}
