"""Meaning of `policy`: a shipped policy at sites where it was shown to do no harm, elsewhere the rule of practice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import POLICY, fallback_name, find_bundle, make_controller, meaning, references, rules, shipped
from agents.policy import Policy, add_results
from agents.shipped import CHECKPOINTS, pattern_for, proven_of
from envs import SYSTEMS, CityloopError, get_system, load_scenario
from envs.core.site import Site
from envs.intersections.timing import REGIMES
from tests.serving.bundles import bundle
from tests.serving.plants import grid


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "CHECKPOINTS", tmp_path)
    return tmp_path / "intersections"


def called(name: str) -> Site:
    """Some other town."""
    return grid().model_copy(update={"name": name})


def ours(ref: str) -> Site:
    scenario = load_scenario(ref)
    return get_system(scenario.system).load_site(scenario)


def put(folder: Path, **proven: bool) -> None:
    add_results(bundle(folder), {}, {name.replace("any", "*"): fine for name, fine in proven.items()})


def test_without_a_policy_the_rule_decides(checkpoints: Path) -> None:
    found = meaning(called("town"))
    assert (found.name, found.bundle) == ("max-pressure", None)
    assert found.why == "max-pressure decides, as no policy ships for intersections"
    assert make_controller(POLICY, grid()).name == "max-pressure"


def test_a_policy_that_was_not_tried_does_not_decide_unless_it_is_named(checkpoints: Path) -> None:
    bundle(checkpoints / "tiny")
    found = meaning(called("town"))
    assert found.bundle is None
    assert "tiny, which ships, was never shown to be no worse than it at town" in found.why
    assert find_bundle("tiny", grid()) == checkpoints / "tiny"
    assert find_bundle("", grid()) is None
    assert make_controller("tiny", grid()).name == "tiny"


def test_it_decides_where_it_was_no_worse(checkpoints: Path) -> None:
    put(checkpoints / "tiny", town=True, hamlet=False)
    found = meaning(called("town"))
    assert (found.name, found.bundle) == ("tiny", checkpoints / "tiny")
    assert found.why == "tiny decides, as it was shown to be no worse than max-pressure at town"
    assert meaning(called("hamlet")).why == "max-pressure decides, as tiny did worse than it here"
    assert meaning(called("city")).bundle is None


def test_whoever_speaks_of_a_site_most_closely_is_heard(checkpoints: Path) -> None:
    put(checkpoints / "all", any=True, hamlet=False)
    put(checkpoints / "one", town=True)
    assert meaning(called("city")).name == "all"
    assert "sites that it had never seen" in meaning(called("city")).why
    assert meaning(called("town")).name == "one"
    assert meaning(called("hamlet")).name == "max-pressure"
    assert pattern_for({"a*": True, "*": True, "ab*": False}, "abc") == "ab*"
    assert pattern_for({"a*": True}, "b") is None


def test_a_card_that_cannot_be_read_is_no_reason_to_let_somebody_else_decide(checkpoints: Path) -> None:
    put(checkpoints / "tiny", town=True)
    (checkpoints / "tiny" / "policy.json").write_text("{")
    with pytest.raises(CityloopError, match=r"policy\.json cannot be read"):
        meaning(called("town"))


@pytest.mark.parametrize("system", SYSTEMS)
def test_whoever_policy_means_can_decide_at_every_site(system: str) -> None:
    for name in set(get_system(system).scenario_names) - {"nyc2015"}:  # whose data do not ship
        found = meaning(ours(f"{system}/{name}"))
        assert found.why.startswith(f"{found.name} decides, as ")
        if found.bundle is not None:
            card = Policy.load(found.bundle, system).card
            assert card.proven == proven_of(found.bundle)


def test_what_ships_is_used_where_it_was_tried() -> None:
    assert meaning(ours("drainage/astlingen-oct2000")).name == "gates"
    assert meaning(ours("drainage/astlingen-days")).name == "gates"
    assert meaning(ours("drainage/estuary")).name == "static"
    assert meaning(ours("dampers/jansen")).name == "jansen"
    assert meaning(ours("dampers/jansen-all")).name == "jansen-all"
    assert meaning(ours("dampers/yang8")).name == "fixed"
    assert meaning(called("mine")).name == "generalist"
    assert {meaning(ours(f"transit/{name}")).name for name in ("hcmc", "ingolstadt", "cologne")} == {"zones"}


@pytest.mark.parametrize(
    ("ref", "name"),
    [("drainage/estuary", "theta"), ("drainage/theta", "astlingen-south"), ("dampers/dyke", "jansen")],
)
def test_another_place_of_a_name_that_ships_was_shown_nothing(ref: str, name: str) -> None:
    found = meaning(ours(ref).model_copy(update={"name": name}))
    assert found.name == fallback_name(ref.partition("/")[0])
    assert found.why.endswith(f"no worse than it at this {name}, which is not the one that ships")


def test_a_place_that_has_changed_since_was_shown_nothing(checkpoints: Path) -> None:
    town = called("town")
    add_results(bundle(checkpoints / "tiny"), {}, {"town": True}, {"town": town.plant_hash})
    assert meaning(town).name == "tiny"
    assert meaning(town.model_copy(update={"timing": REGIMES["resco"]})).name == "tiny", "the plant is the same"
    found = meaning(ours("intersections/grid3x3").model_copy(update={"name": "town"}))
    assert found.why == (
        "max-pressure decides, as tiny, which ships, was never shown to be no worse than it at this town, "
        "which is not the one that was tried"
    )


def test_what_is_said_of_any_site_holds_for_another_place_of_a_name(checkpoints: Path) -> None:
    put(checkpoints / "tiny", any=True, grid3x3=False)
    assert meaning(ours("intersections/grid3x3")).name == "max-pressure"
    assert meaning(called("grid3x3")).name == "tiny"


def test_a_variant_of_what_ships_is_the_same_place(tmp_path: Path) -> None:
    site = ours("transit/hcmc")
    assert meaning(site.model_copy(update={"vehicles": 9, "slot_s": 60.0})).name == "zones"
    rougher = load_scenario("dampers/jansen", building__sensors__force_n=0.2, building__capacity_share=0.02)
    assert meaning(get_system("dampers").load_site(rougher)).name == "jansen"
    ours("drainage/astlingen").model_copy(update={"name": "astlingen-2027"}).save(tmp_path / "site.json")
    assert meaning(get_system("drainage").site_class.load(tmp_path / "site.json")).name == "gates"


def test_where_data_are_missing_the_name_must_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CITYLOOP_DATA", str(tmp_path))
    monkeypatch.setattr(shipped, "_plant", shipped._plant.__wrapped__)
    assert meaning(ours("transit/hcmc").model_copy(update={"name": "nyc2015"})).name == "zones"


@pytest.mark.parametrize("ask", [rules, references, fallback_name])
def test_a_system_that_there_is_not_is_a_sentence(ask: Any) -> None:
    with pytest.raises(CityloopError, match="system 'bridges' is unknown: there is intersections"):
        ask("bridges")


@pytest.mark.parametrize("system", SYSTEMS)
def test_where_a_shipped_policy_decides_it_knows_what_sensors_do(system: str) -> None:
    """Else input checks hold healthy readings for strange, and the fallback decides."""
    names = set(get_system(system).scenario_names) - {"nyc2015"}  # whose data do not ship
    for card in sorted((CHECKPOINTS / system).glob("*/policy.json")):
        policy = Policy.load(card.parent)
        for name in sorted(names & {name for name, fine in policy.card.proven.items() if fine}):
            site = ours(f"{system}/{name}")
            assert policy.envelope is not None
            assert policy.envelope.knows(site), f"calibrate {policy.name} on {name}, too"
