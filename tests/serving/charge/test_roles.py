"""Who has which role, and how that changes: pure transitions."""

from __future__ import annotations

from typing import Any

import pytest

from serving.charge.roles import REMEMBERED, Roles
from serving.core.refusals import Conflict
from tests.serving.plants import grid


def test_a_challenger_goes_from_shadow_over_canary_to_champion() -> None:
    roles = Roles(champion="a").challenge("b", "shadow")
    assert (roles.champion, roles.challenger, roles.mode) == ("a", "b", "shadow")
    roles = roles.challenge(None, "canary", 0.25)
    assert (roles.challenger, roles.mode, roles.share) == ("b", "canary", 0.25)
    roles = roles.promote()
    assert (roles.champion, roles.challenger, roles.former) == ("b", None, ("a",))


def test_a_rollback_goes_back_one_champion_at_a_time() -> None:
    roles = Roles(champion="a").promote("b").promote("c").challenge("d", "shadow")
    roles = roles.rollback()
    assert (roles.champion, roles.challenger, roles.former) == ("b", None, ("a",))
    assert roles.rollback().champion == "a"
    with pytest.raises(Conflict, match="no champion before"):
        roles.rollback().rollback()


def test_only_so_many_are_remembered() -> None:
    roles = Roles(champion="0")
    for k in range(1, 30):
        roles = roles.promote(str(k))
    assert len(roles.former) == REMEMBERED
    assert roles.former[-1] == "28"


def test_promoting_the_champion_again_remembers_nothing_new() -> None:
    assert Roles(champion="a").promote("a") == Roles(champion="a")


def test_another_may_be_promoted_while_a_challenger_stays() -> None:
    roles = Roles(champion="a", challenger="b").promote("c")
    assert (roles.champion, roles.challenger) == ("c", "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.promote(), "no challenger to promote"),
        (lambda r: r.demote(), "no challenger to demote"),
        (lambda r: r.challenge(None, "shadow"), "no challenger: name one"),
        (lambda r: r.challenge("a", "canary"), "is the champion"),
    ],
)
def test_what_does_not_go_is_a_sentence(change: Any, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        change(Roles(champion="a"))


def test_a_canary_sits_at_its_share_of_the_sites_and_stays_there() -> None:
    sites = [grid().model_copy(update={"name": f"grid{k}"}) for k in range(300)]
    chosen = {share: Roles(champion="a", challenger="b", mode="canary", share=share) for share in (0.0, 0.2, 0.6, 1.0)}
    acts = {share: [site.name for site in sites if roles.canary_acts(site)] for share, roles in chosen.items()}
    assert acts[0.0] == []
    assert len(acts[1.0]) == 300
    assert 40 < len(acts[0.2]) < 80
    assert set(acts[0.2]) < set(acts[0.6])
    other = Roles(champion="a", challenger="c", mode="canary", share=0.2)
    assert [site.name for site in sites if other.canary_acts(site)] != acts[0.2]
    assert not Roles(champion="a", challenger="b", mode="shadow").canary_acts(sites[0])
