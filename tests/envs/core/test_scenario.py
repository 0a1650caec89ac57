"""Properties that scenarios of all systems share."""

from pathlib import Path

import pytest

from envs.core.errors import CityloopError
from envs.core.registry import load_scenario
from envs.core.scenario import Scenario, Seeds


class Plain(Scenario):
    """Of no system: decisions as often as is said."""

    every_s: float

    @property
    def decision_s(self) -> float:
        """As given."""
        return self.every_s


@pytest.mark.parametrize(
    ("duration_s", "every_s", "decisions"),
    [(0.3, 0.1, 3), (0.6, 0.2, 3), (0.29, 0.1, 2), (3600.0, 5.0, 720), (3604.0, 5.0, 720), (49_999.7, 0.1, 499_997)],
)
def test_an_episode_has_as_many_decisions_as_whole_intervals(duration_s: float, every_s: float, decisions: int) -> None:
    assert Plain(system="none", name="plain", duration_s=duration_s, every_s=every_s).decisions == decisions


def test_paths_in_a_yaml_file_may_start_at_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("home/town.net.xml", "home/a.rou.xml", "b.rou.xml"):
        (tmp_path / name).write_text("<routes/>")
    own = tmp_path / "town.yaml"
    own.write_text(
        "system: intersections\nnet: ~/town.net.xml\nroutes: [~/a.rou.xml, b.rou.xml]\nbegin_s: 0\nduration_s: 60\n"
    )
    content = load_scenario(own).model_dump(mode="json")
    assert content["net"] == str(tmp_path / "home" / "town.net.xml")
    assert content["routes"] == [str(tmp_path / "home" / "a.rou.xml"), str(tmp_path / "b.rou.xml")]


def test_a_home_that_nobody_has_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "town.yaml"
    own.write_text("system: intersections\nnet: ~nobody-of-that-name/town.net.xml\nroutes: [a.rou.xml]\n")
    with pytest.raises(CityloopError, match="home of somebody who has none here"):
        load_scenario(own)


def test_a_scenario_is_loaded_as_itself_with_settings_changed() -> None:
    scenario = load_scenario("dampers/jansen")
    assert load_scenario(scenario) is scenario
    assert load_scenario(scenario, duration_s=30.0) == load_scenario("dampers/jansen", duration_s=30.0)


@pytest.mark.parametrize("train", [{"first": 50, "last": 200}, {"first": 0, "last": 9}, {"first": 99, "last": 99}])
def test_seeds_of_two_splits_are_disjoint(train: dict[str, int]) -> None:
    """Else results would be those of episodes that a policy has learned from."""
    ranges = {"test": {"first": 0, "last": 99}, "validation": {"first": 300, "last": 399}}
    with pytest.raises(ValueError, match="must not overlap"):
        Seeds.model_validate(ranges | {"train": train})
