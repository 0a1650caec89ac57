"""Verdicts of an evaluation on a bundle's card: no worse than the rule of practice, worse, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.policy import Policy, add_results
from agents.shipped import evaluated_at, fallback_name
from envs import CityloopError, load_scenario
from envs.core.scenario import Scenario
from envs.core.statistics import summarise
from tests.serving.bundles import bundle
from tests.serving.plants import grid
from training.bundles.proof import no_worse, write_cards
from training.evaluation.results import Evaluation, Result

RULE = "max-pressure"


def places(*labels: str) -> list[Scenario]:
    return [load_scenario("intersections/grid2x2", name=label) for label in labels]


def found(label: str, mine: float, rule: float | None = 10.0, split: str = "test") -> Evaluation:
    values = {"tiny": mine} | ({} if rule is None else {RULE: rule})
    return Evaluation(
        scenario=f"intersections/{label}",
        label=label,
        hash="",
        split=split,  # type: ignore[arg-type]
        seeds=[0],
        kpi="delay_s",
        versions={},
        controllers={name: Result(summarise([value]), 0, []) for name, value in values.items()},
        paired={},
        ratios=[],
    )


def test_a_card_tells_where_a_policy_was_evaluated(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "tiny")
    for split in ("test", "validation"):
        add_results(folder, found(f"here-{split}", 9.0, split=split).for_card())
    assert evaluated_at(folder) == ["intersections/here-test"]


def test_no_worse_is_told_by_the_mean_on_test_seeds() -> None:
    assert no_worse(found("a", 9.0)) is True
    assert no_worse(found("a", 10.0)) is True
    assert no_worse(found("a", 11.0)) is False
    assert no_worse(found("a", 9.0, rule=None)) is None
    assert no_worse(found("a", 9.0, split="validation")) is None
    assert no_worse(found("a", 0.0, rule=0.0)) is None, "nothing happened"
    assert no_worse(found("a", 0.0, rule=1.0)) is True


def failing(system: str, mine: int, theirs: int) -> Evaluation:
    """The policy is better on the mean, and both failed in some of twenty episodes."""
    rule = fallback_name(system)
    results = {"tiny": Result(summarise([1.0]), mine, []), rule: Result(summarise([1.1]), theirs, [])}
    return replace(found("a", 1.0), scenario=f"{system}/a", controllers=results, seeds=list(range(20)))


@pytest.mark.parametrize("system", ["drainage", "dampers", "transit"])
def test_who_fails_more_often_does_harm(system: str) -> None:
    """Their means know nothing of a promise that was broken, a motion beyond the building, a void simulation."""
    assert no_worse(failing(system, 15, 0)) is False
    assert no_worse(failing(system, 1, 0)) is False
    assert no_worse(failing(system, 2, 2)) is True
    assert no_worse(failing(system, 0, 3)) is True


def test_a_gridlock_is_judged_by_its_delay() -> None:
    assert no_worse(failing("intersections", 3, 2)) is True


def test_who_is_noted_as_worse_for_its_failures_is_told_so(tmp_path: Path) -> None:
    path, said = bundle(tmp_path / "tiny"), []
    place = load_scenario("transit/ingolstadt", name="a")
    write_cards([failing("transit", 2, 0)], [place], {"a": path}, say=said.append)
    assert Policy.load(path).card.proven == {"a": False}
    rule = fallback_name("transit")
    assert said == [f"a: noted as worse than {rule}, as it failed in 2 of 20 episodes, {rule} in 0"]


def test_every_site_is_noted_by_its_name(tmp_path: Path) -> None:
    path, said = bundle(tmp_path / "tiny"), []
    evaluations = [found("a", 9.0), found("b", 11.0), found("c", 9.0, rule=None)]
    write_cards(evaluations, places("a", "b", "c"), dict.fromkeys("abc", path), say=said.append)
    card = Policy.load(path).card
    assert card.proven == {"a": True, "b": False}
    assert len(card.evaluation) == 3
    assert said == ["c: whether it does harm is not noted, as that takes test seeds and -c max-pressure"]
    write_cards([found("d", 0.0, rule=0.0)], places("d"), {"d": path}, say=said.append)
    assert "d: whether it does harm is not noted, as delay_s was 0 throughout, of max-pressure too" in said[-1]
    assert "| `b` | worse |" in (path / "CARD.md").read_text()
    write_cards([found("b", 9.0)], places("b"), {"b": path})
    assert Policy.load(path).card.proven == {"a": True, "b": True}
    assert Policy.load(path).card.plants == dict.fromkeys("ab", grid().plant_hash)


def test_a_wider_claim_takes_places_that_are_new_to_it_and_none_that_is_worse(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")

    def claim(pattern: str, *evaluations: Evaluation) -> None:
        labels = [evaluation.label for evaluation in evaluations]
        write_cards(evaluations, places(*labels), dict.fromkeys(labels, path), pattern)

    for pattern, evaluations, words in (
        ("*", [found("a", 9.0), found("b", 11.0)], "was worse than max-pressure at b"),
        ("a*", [found("a", 9.0), found("b", 9.0)], "b is none of these"),
        ("*", [found("a", 9.0, rule=None)], "nothing was shown at a"),
        ("*", [found("grid2x2", 9.0)], "was trained at all of these"),
    ):
        with pytest.raises(CityloopError, match=words):
            claim(pattern, *evaluations)
        assert Policy.load(path).card.proven == {}
    claim("*", found("grid2x2", 9.0), found("a", 9.0))
    assert Policy.load(path).card.proven == {"*": True}
