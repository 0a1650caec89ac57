"""Who decides, as operators change it over HTTP and as the service changes it itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents import make_controller
from envs import CityloopError
from envs.core.site import Site
from serving.alarms.rules import SiteRules
from serving.charge.settings import SiteConfig
from serving.charge.state import StateStore
from serving.core.events import Decision, Shadowed, SiteChange
from serving.core.looked import Looked
from serving.core.wire import Tick
from serving.forms import Overridden, OverrideRequest, RoleChange
from serving.operations import change_roles, put_override, release_override
from serving.tick.sites import SiteService
from tests.serving.bundles import bundle, model
from tests.serving.operators import BASE, Book, ask, change, failing, http
from tests.serving.plants import GRID, Stub, body_of, service, tick_of, wish


def test_who_changes_roles_is_told_of_theirs_though_others_follow_while_they_are_saved(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = service(site)
    others = [RoleChange(policy="greedy", reason="another")]

    async def save() -> bool:
        if others:
            await change_roles(one, "promote", others.pop(), "ben")
        return True

    monkeypatch.setattr(one, "save", save)
    told = asyncio.run(change_roles(one, "promote", RoleChange(policy="policy", reason="test"), "ana"))
    assert (told.roles.champion, told.saved) == ("policy", True)
    assert one.standing.crew.roles.champion == "greedy"


def test_who_releases_a_command_is_told_of_what_is_left_though_others_follow(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, (first, *_) = service(site), site.agents
    asked = OverrideRequest(command=0, reason="test", expires_s=60.0)
    others = [first]

    async def run() -> Overridden:
        await put_override(one, first, asked, "ana")
        monkeypatch.setattr(one, "save", save)
        return await release_override(one, first, "ana")

    async def save() -> bool:
        if others:
            await put_override(one, others.pop(), asked, "ben")
        return True

    assert asyncio.run(run()).overrides == {}
    assert first in one.standing.overrides.now()


def test_a_policy_is_promoted_and_rolled_back_between_two_ticks(site: Site, tmp_path: Path) -> None:
    book = Book()
    client = http(service(site, sinks=[book]))
    path = str(bundle(tmp_path / "tiny"))
    assert ask(client, site, 0)["controller"] == "max-pressure"
    answer = change(client, "promote", policy=path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["roles"]["former"] == ["max-pressure"]
    assert ask(client, site, 1)["controller"] == "tiny"
    assert change(client, "rollback").json()["in_charge"]["controller"] == "max-pressure"
    assert ask(client, site, 2)["controller"] == "max-pressure"
    assert book.changes() == [("anonymous", "promote"), ("anonymous", "rollback")]
    assert book.of(SiteChange)[0].reason == "test"


def test_what_means_nothing_for_a_change_is_refused(site: Site) -> None:
    """Whoever named the policy to go back to got another."""
    client = http(service(site))
    assert change(client, "promote", policy="greedy").status_code == 200
    for verb, sent, field in (
        ("rollback", {"policy": "greedy"}, "policy"),
        ("demote", {"policy": "greedy"}, "policy"),
        ("promote", {"policy": "fixed", "share": 0.5}, "share"),
        ("promote", {"policy": "fixed", "now": True}, "now"),
        ("shadow", {"policy": "fixed", "now": True}, "now"),
        ("demote", {"now": True}, "now"),
    ):
        answer = change(client, verb, **sent)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert change(client, "rollback").json()["roles"]["champion"] == "max-pressure"


def test_a_change_that_would_be_about_another_than_is_meant_is_refused(site: Site) -> None:
    """Two people look at the same roles, and one of them changes these."""
    client = http(service(site))
    assert change(client, "shadow", policy="greedy").status_code == 200
    assert change(client, "shadow", policy="generalist").status_code == 200
    for verb in ("promote", "demote"):
        answer = change(client, verb, expected="greedy")
        assert (answer.status_code, answer.json()["error"]) == (
            409,
            {"field": "expected", "value": "greedy", "mend": "the challenger is generalist by now: look again"},
        )
    assert change(client, "demote", expected="generalist").status_code == 200
    answer = change(client, "demote", expected="generalist")
    assert answer.json()["error"]["mend"] == "there is no challenger by now: look again"
    assert change(client, "promote", policy="greedy").status_code == 200
    assert change(client, "rollback", expected="efd").status_code == 409
    assert change(client, "rollback", expected="max-pressure").json()["roles"]["champion"] == "max-pressure"
    for verb, sent in (("shadow", {"policy": "greedy"}), ("promote", {"policy": "greedy"}), ("canary", {})):
        answer = change(client, verb, expected="greedy", **sent)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "expected")


def test_a_rollback_to_a_bundle_that_is_gone_says_what_can_be_done(site: Site, tmp_path: Path) -> None:
    client, path = http(service(site)), bundle(tmp_path / "tiny")
    assert change(client, "promote", policy=str(path)).status_code == 200
    assert change(client, "promote", policy="greedy").status_code == 200
    path.rename(tmp_path / "elsewhere")
    answer = change(client, "rollback")
    assert answer.status_code == 422
    mend = answer.json()["error"]["mend"]
    assert str(path) in mend
    assert mend.endswith("; or promote another policy")
    assert ask(client, site, 0)["controller"] == "greedy", "whoever decided goes on"


def test_a_bundle_replaced_in_its_folder_is_not_taken_for_the_one_that_was_loaded(site: Site, tmp_path: Path) -> None:
    client, path = http(service(site)), bundle(tmp_path / "tiny")
    loaded = change(client, "promote", policy=str(path)).json()["in_charge"]["bundle"]
    assert change(client, "promote", policy=str(path)).status_code == 200, "the same may be promoted again"
    newer = model()
    newer.doc_string = "newer"
    bundle(path, newer)
    answer = change(client, "promote", policy=str(path))
    assert answer.status_code == 409
    assert f"when it was loaded ({loaded})" in answer.json()["error"]["mend"]


def test_a_path_holds_wherever_the_service_is_started_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    roles = change(http(service(site)), "shadow", policy="tiny").json()["roles"]
    assert roles["challenger"] == str(tmp_path / "tiny")


def test_an_answer_is_not_repeated_once_another_is_in_charge(site: Site) -> None:
    client = http(service(site))
    assert ask(client, site, 0)["controller"] == "max-pressure"
    change(client, "promote", policy="greedy")
    assert ask(client, site, 0)["controller"] == "greedy"


@pytest.mark.parametrize(
    ("verb", "body", "status", "field"),
    [
        ("promote", {}, 409, "policy"),
        ("demote", {}, 409, "policy"),
        ("rollback", {}, 409, "policy"),
        ("shadow", {"policy": "max-pressure"}, 409, "policy"),
        ("promote", {"policy": "no/such/bundle"}, 422, "policy"),
        ("promote", {"policy": "oracle"}, 422, "policy"),
        ("promote", {"policy": "o" * 500}, 422, "policy"),
        ("promote", {"policy": "a\u0000b"}, 422, "policy"),
        ("promote", {"policy": "fixed"}, 409, "policy"),
        ("promote", {"policy": "greedy", "reason": ""}, 422, "reason"),
        ("promote", {"policy": "greedy", "reason": " \n"}, 422, "reason"),
        ("canary", {"policy": "greedy", "share": 2}, 422, "share"),
        ("canary", {"policy": "greedy", "colour": 2}, 422, "colour"),
        ("dismiss", {}, 422, "verb"),
    ],
)
def test_what_cannot_be_changed_is_named(site: Site, verb: str, body: Any, status: int, field: str) -> None:
    client = http(service(site))
    answer = change(client, verb, **body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    assert ask(client, site, 0)["controller"] == "max-pressure"


@pytest.mark.parametrize(
    ("champion", "challenger"), [("greedy", "fixed"), ("fixed", "greedy")], ids=["challenger", "champion"]
)
def test_a_program_inside_the_plant_shares_a_site_with_nobody(site: Site, champion: str, challenger: str) -> None:
    """A plant runs one from its start or not at all: in mid-episode it would take nothing from one for good."""
    for mode in ("shadow", "canary"):
        config = SiteConfig(site=GRID, champion=champion, challenger=challenger, mode=mode)
        with pytest.raises(CityloopError, match="'fixed' is a program inside the plant, which runs one from its start"):
            SiteService.open(site, config)


def test_nobody_takes_over_from_a_program_inside_the_plant(site: Site) -> None:
    client = http(service(site, make_controller("fixed", site)))
    for verb in ("shadow", "canary", "promote"):
        assert change(client, verb, policy="greedy").status_code == 409
        assert change(http(service(site)), verb, policy="fixed").status_code == 409
    assert change(client, "promote", policy="fixed").status_code == 200, "which changes nothing"
    assert client.get(f"{BASE}/policies").json()["roles"]["champion"] == "fixed"


def test_a_shadow_is_asked_after_the_answer_and_never_obeyed(site: Site) -> None:
    book, champion, challenger = Book(), Stub("champion"), Stub("challenger")
    one = service(site, champion, challenger=challenger, sinks=[book])
    champion.then, challenger.then = wish(site, 0), wish(site, 1)

    async def some() -> list[dict[str, Any]]:
        answers = []
        for tick in range(3):
            answers.append(await one.act_async(body_of(tick_of(site) | {"tick": tick})))
            while len(book.of(Shadowed)) <= tick:
                await asyncio.sleep(0.001)
        return answers

    answers = asyncio.run(some())
    assert {answer["controller"] for answer in answers} == {"champion"}
    shadowed = book.of(Shadowed)
    assert [(event.tick, event.controller, event.differs, event.error) for event in shadowed] == [
        (tick, "challenger", 1.0, None) for tick in range(3)
    ]
    assert [event.controller for event in book.of(Decision)] == ["champion"] * 3


def test_a_shadow_that_fails_is_told_and_harms_nobody(site: Site) -> None:
    book, challenger = Book(), Stub("challenger")
    one = service(site, challenger=challenger, sinks=[book])
    challenger.then = lambda readings, observation: 1 / 0  # type: ignore[assignment, return-value]

    async def once() -> dict[str, Any]:
        answer = await one.act_async(body_of(tick_of(site)))
        while not book.of(Shadowed):
            await asyncio.sleep(0.001)
        return answer

    assert not asyncio.run(once())["fallback"]
    assert book.of(Shadowed)[0].error == "failed with ZeroDivisionError"
    assert book.of(Shadowed)[0].commands == {}


def test_a_canary_waits_for_the_next_episode_and_leaves_at_once(site: Site) -> None:
    client = http(service(site))
    assert ask(client, site, 4)["source"] == "champion"
    answer = change(client, "canary", policy="greedy").json()
    assert answer["waiting"]
    assert ask(client, site, 5)["source"] == "champion"
    begun = ask(client, site, 0)
    assert (begun["source"], begun["controller"]) == ("canary", "greedy")
    assert change(client, "demote").json()["in_charge"]["controller"] == "max-pressure"
    assert ask(client, site, 1)["source"] == "champion"


def test_a_canary_may_be_told_not_to_wait(site: Site) -> None:
    client = http(service(site))
    ask(client, site, 4)
    change(client, "canary", policy="greedy", now=True)
    assert ask(client, site, 5)["source"] == "canary"
    assert change(client, "promote").json()["roles"]["champion"] == "greedy"
    assert ask(client, site, 6)["source"] == "champion"


# Rollback.


def drive(one: SiteService, site: Site, ticks: range, book: Book) -> list[str]:
    """Ask tick after tick, each once the last has had its consequences; says who decided."""

    async def all_of_them() -> list[str]:
        sources = []
        for tick in ticks:
            tripped = one.standing.watch.tripped is not None
            seen = len(book.of(Shadowed))
            sources.append((await one.act_async(body_of(tick_of(site) | {"tick": tick})))["source"])
            while len(book.of(Decision)) <= tick or (tripped and len(book.of(Shadowed)) == seen):
                await asyncio.sleep(0.001)
        return sources

    return asyncio.run(all_of_them())


RATES = {"window": 10, "errors": 0.2, "return_after": 5}


def test_a_policy_that_keeps_failing_is_out_of_charge_until_it_has_been_well(site: Site, tmp_path: Path) -> None:
    book, policy, store = Book(), Stub("policy"), StateStore(tmp_path, site)
    one = service(site, policy, sinks=[book], rollback=RATES, store=store)
    policy.then = failing
    assert drive(one, site, range(4), book) == ["fallback"] * 4
    assert one.degraded == "the controller fails: 0.3 over 10 ticks, 0.2 is allowed"
    assert book.changes() == [("service", "rollback")]
    assert asyncio.run(one.save())
    saved = store.load()
    assert saved is not None
    assert saved.tripped == one.degraded
    policy.then = None
    assert drive(one, site, range(4, 9), book) == ["fallback"] * 5
    assert book.changes() == [("service", "rollback"), ("service", "return")]
    assert drive(one, site, range(9, 12), book) == ["champion"] * 3
    assert one.degraded is None
    causes = [decision.fallback_cause for decision in book.of(Decision)]
    assert causes == ["failed"] * 3 + ["rolled_back"] * 6 + [None] * 3


@pytest.mark.parametrize(
    ("verb", "sent", "stays"),
    [
        ("shadow", {"policy": "greedy"}, True),
        ("canary", {"policy": "greedy", "share": 0.0, "now": True}, True),
        ("promote", {"policy": "max-pressure"}, False),
    ],
)
def test_a_policy_that_is_out_of_charge_stays_so_unless_it_is_promoted(
    site: Site, verb: str, sent: dict[str, Any], stays: bool
) -> None:
    one = service(site)
    one.standing.watch.tripped = "it failed"
    assert change(http(one), verb, **sent).json()["in_charge"]["out_of_charge"] == ("it failed" if stays else None)


def test_a_policy_that_is_out_of_charge_is_so_after_a_restart_too(site: Site, tmp_path: Path) -> None:
    store, policy, book = StateStore(tmp_path, site), Stub("policy"), Book()
    one = service(site, policy, rollback=RATES | {"errors": 0}, store=store)
    policy.then = failing
    one.act(body_of(tick_of(site)))
    one.close()
    again = service(site, Stub("policy"), rollback=RATES, store=store, sinks=[book])
    again.act(body_of(tick_of(site)))
    (decision,) = book.of(Decision)
    assert (decision.fallback_cause, decision.fallback_reason) == ("rolled_back", again.degraded)


class Doubting:
    """Input checks that trust no reading."""

    def look(self, tick: Tick, at_s: float) -> Looked:
        return Looked(tick.readings, fall_back="no sensor can be trusted")

    def judge(self, looked: Looked, observation: Any) -> Looked:
        return looked

    def follow(self, envelope: Any) -> None:
        pass

    def reset(self) -> None:
        pass


def test_readings_that_cannot_be_trusted_are_a_cause_but_being_out_of_charge_comes_first(site: Site) -> None:
    book = Book()
    one = service(site, Stub("policy"), checks=Doubting(), sinks=[book])
    one.act(body_of(tick_of(site)))
    one.standing.watch.tripped = "it fails"
    one.act(body_of(tick_of(site) | {"tick": 1}))
    told = [(decision.fallback_cause, decision.fallback_reason) for decision in book.of(Decision)]
    assert told == [("inputs", "no sensor can be trusted"), ("rolled_back", "it fails")]


def test_a_canary_that_begins_with_an_episode_answers_for_itself_alone(site: Site) -> None:
    book, champion, canary = Book(), Stub("champion"), Stub("canary")
    one = service(site, champion, sinks=[book], rollback=RATES, challenger=canary)
    champion.then = failing
    assert drive(one, site, range(3), book) == ["fallback"] * 3
    assert one.degraded is not None
    change(http(one), "canary")
    assert one.degraded is not None, "it waits for the next episode"
    assert one.act(body_of(tick_of(site)))["source"] == "canary"
    assert (one.degraded, one.standing.watch.rates()["errors"]) == (None, 0.0)


def test_a_canary_that_fails_gives_way_to_the_champion(site: Site) -> None:
    book, champion, canary = Book(), Stub("champion"), Stub("canary")
    one = service(site, champion, challenger=canary, roles={"mode": "canary"}, sinks=[book], rollback=RATES)
    canary.then = failing
    assert drive(one, site, range(3), book) == ["fallback"] * 3
    assert drive(one, site, range(3, 5), book) == ["champion"] * 2
    assert one.standing.crew.roles.challenger is None
    assert book.of(SiteChange)[0].detail["role"] == "canary"
    assert [decision.fallback_cause for decision in book.of(Decision)] == ["failed"] * 3 + [None] * 2
    assert set(SiteRules(lambda *_: []).changed(book.of(SiteChange)[0])) == {"canary"}


def test_a_guard_that_changes_too_much_takes_the_policy_out_of_charge(site: Site) -> None:
    book, policy = Book(), Stub("policy")
    one = service(site, policy, sinks=[book], rollback={"window": 10, "guarded": 0.3, "return_after": 5})
    policy.then = wish(site, 99)
    assert drive(one, site, range(5), book) == ["champion"] * 4 + ["fallback"]
    assert one.degraded is not None
    assert one.degraded.startswith("the guard changes its requests")


def test_everyday_limits_say_nothing_against_a_policy(site: Site) -> None:
    book, policy = Book(), Stub("policy")
    rates = {"window": 10, "guarded": 0.3, "return_after": 5, "everyday": ["invalid"]}
    one = service(site, policy, sinks=[book], rollback=rates)
    policy.then = wish(site, 99)
    assert drive(one, site, range(12), book) == ["champion"] * 12
