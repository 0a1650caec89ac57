"""Where tuned parameters are kept."""

import pytest

from envs import CityloopError, load_scenario
from envs.core.machine.files import read_json
from training.tuning import dampers, drainage, kept


@pytest.mark.parametrize(
    ("tuning", "scenario"), [(dampers, "dampers/jansen"), (drainage, "drainage/estuary")], ids=["dampers", "drainage"]
)
def test_nothing_is_searched_for_that_cannot_be_kept(monkeypatch, tuning, scenario):
    """It was said after minutes of a search, the result of which was lost."""
    monkeypatch.setattr(tuning, "search", lambda *_: pytest.fail("it was tuned"))
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(CityloopError, match="where what is found is kept, cannot be written: use an installation"):
        tuning.tune(load_scenario(scenario), ())


def test_what_stands_there_stays(tmp_path):
    file = tmp_path / "tuned.json"
    for law, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        kept.keep(file, "here", law, {"x": value})
    kept.keep(file, "there", "a", {"y": 4.0})
    assert read_json(file) == {"here": {"a": {"x": 3.0}, "b": {"x": 2.0}}, "there": {"a": {"y": 4.0}}}
