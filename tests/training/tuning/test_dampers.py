"""Search for the numbers of dampers' laws, by building and condition."""

import json

import pytest

from agents.baselines.dampers import Fixed
from envs import CityloopError, load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.scenarios import Conditions, DampersScenario
from training.tuning import dampers
from training.tuning.dampers import Tuner, search

SCENARIO = load_scenario("dampers/jansen", duration_s=3.0)
SITE = load_site(SCENARIO)


def test_tuning_finds_what_is_better_under_a_condition():
    """A law tuned for a dead damper does no worse there than its defaults, or than what was known before; the other
    trials see the same motions."""
    tuner = Tuner(load_scenario("dampers/jansen", duration_s=4.0), Conditions(dead=1), motions=4)
    numbers, reached = search(tuner, Fixed, [{"level": 0.6}], 5, 3)
    at_first, known, again = tuner.scores([Fixed(SITE, {"level": level}) for level in (0.3, 0.6, numbers["level"])])
    assert reached <= min(at_first, known)
    assert again == pytest.approx(reached, rel=1e-3)


def test_what_tuning_finds_is_kept_by_building_condition_and_law(tmp_path, monkeypatch):
    found = tmp_path / "tuned.json"
    found.write_text('{"jansen": {"fixed": {"level": 0.6}}}')
    monkeypatch.setattr(dampers, "TUNED", found)
    monkeypatch.setattr(dampers, "search", lambda tuner, kind, known: ({"level": 0.4}, 0.5))
    steps = []
    rows = dampers.tune(SCENARIO, ["fixed"], ["delay", "noise"], lambda done, total: steps.append((done, total)))
    assert [(row["condition"], row["j"]) for row in rows] == [("delay", 0.5), ("noise", 0.5)]
    levels = {"jansen": 0.6, "jansen@delay": 0.4, "jansen@noise": 0.4}
    assert json.loads(found.read_text()) == {place: {"fixed": {"level": level}} for place, level in levels.items()}
    assert steps == [(0, 2), (1, 2), (2, 2)]


def test_another_building_with_the_name_of_one_that_ships_is_not_tuned(monkeypatch):
    """What is found would replace the numbers of the one that ships."""
    monkeypatch.setattr(dampers, "search", lambda tuner, kind, known: pytest.fail("it was tuned"))
    with pytest.raises(CityloopError, match="another building ships as jansen: give yours a name of its own"):
        dampers.tune(SCENARIO.override({"dampers": {3: 2}}), ["fixed"])


def test_that_a_record_is_one_motion_is_said(tmp_path, monkeypatch, caplog):
    (tmp_path / "record.csv").write_text("0,0\n1,0.1\n2,-0.1\n3,0\n")
    (tmp_path / "tuned.json").write_text("{}")
    monkeypatch.setattr(dampers, "TUNED", tmp_path / "tuned.json")
    monkeypatch.setattr(dampers, "search", lambda tuner, kind, known: ({"level": 0.4}, 0.5))
    motion = {"kind": "record", "record": tmp_path / "record.csv"}
    dampers.tune(DampersScenario(name="mine", building="jansen", motion=motion), ["fixed"])
    assert "dampers/mine: the motion is that of a record, the same for every seed" in caplog.text
