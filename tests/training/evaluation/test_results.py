"""What an evaluation holds: nothing of void episodes, and a name of its own for every controller."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from envs import CityloopError, load_scenario
from envs.core.env import make_loop
from training.episodes import Episode
from training.evaluation import evaluate as computing
from training.evaluation import plots
from training.evaluation.evaluate import evaluate
from training.evaluation.results import short_names


def test_void_episodes_are_counted_and_never_averaged_in():
    """A drainage run whose water is not accounted for means nothing: its seed is left out for everybody."""
    loop = make_loop("drainage/theta")
    assert loop.system.headline(loop.scenario) == "objective"
    figures = {("static", 0): (10.0, 0), ("static", 1): (999.0, 1), ("efd", 0): (8.0, 0), ("efd", 1): (1.0, 0)}
    played = [
        Episode(name, seed, {"objective": m3, "invalid": invalid}, 0.0, 0, np.zeros(1), {}, {})
        for (name, seed), (m3, invalid) in figures.items()
    ]
    result = computing._evaluation(loop, ["static", "efd"], "test", [0, 1], played)
    assert {name: (r.summary.worst, r.failures) for name, r in result.controllers.items()} == {
        "static": (10.0, 1),
        "efd": (8.0, 0),
    }
    assert result.paired["efd"].difference == 2.0
    assert (list(result.void), result.values("static"), result.values("efd")) == ([1], [10.0], [8.0])
    assert [episode.seed for episode in result.played("static")] == [0], "nor into curves, maps and periods"
    assert list(result.for_card()) == ["test: objective on 1 seed of drainage/theta"]
    (axes,) = plots.headline(result, "").axes
    assert axes.get_title("left").endswith("on 1 test seed")
    assert {text.get_text() for text in axes.texts} == {"10", "8"}
    assert axes.get_xlim() == (0.0, pytest.approx(10.5))
    with pytest.raises(CityloopError, match=r"every seed failed.*static on 1 of 1"):
        computing._evaluation(loop, ["static"], "test", [1], played[1:2])


def test_a_controller_of_which_every_episode_is_void_is_left_out_of_the_comparison(caplog):
    loop = make_loop("drainage/theta")
    figures = {("static", 0): (10.0, 0), ("efd", 0): (1.0, 1), ("hold", 0): (8.0, 0)}
    played = [
        Episode(name, seed, {"objective": m3, "invalid": invalid}, 0.0, 0, np.zeros(1), {}, {})
        for (name, seed), (m3, invalid) in figures.items()
    ]
    result = computing._evaluation(loop, ["static", "efd", "hold"], "test", [0], played)
    assert (list(result.controllers), list(result.void)) == (["static", "hold"], [])
    assert {episode.controller for episode in result.episodes} == {"static", "hold"}
    assert "left out of the comparison: efd, as every episode is void (invalid" in caplog.text
    with pytest.raises(CityloopError, match=r"every seed failed.*efd on 1 of 1"):  # it is the one that is compared
        computing._evaluation(loop, ["efd", "static"], "test", [0], played[:2])


@pytest.mark.parametrize(
    ("static", "efd", "told"),
    [((10.0, 10.05), (8.0, 8.0), True), ((10.0, 10.05), (8.0, 8.5), False), ((10.0,), (8.0,), False)],
)
def test_seeds_that_hardly_matter_are_told(caplog, static, efd, told):
    """One recorded event on three seeds had an interval of 95 % from +781.50 to +781.50."""
    loop = make_loop("drainage/theta")
    played = [
        Episode(name, seed, {"objective": m3, "invalid": 0}, 0.0, 0, np.zeros(1), {}, {})
        for name, values in (("static", static), ("efd", efd))
        for seed, m3 in enumerate(values)
    ]
    computing._evaluation(loop, ["static", "efd"], "test", [*range(len(static))], played)
    words = "drainage/theta: objective is about the same on all 2 seeds, under every controller"
    assert (words in caplog.text) == bool(caplog.text) == told


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["runs/x/policy", "max-pressure"], ["policy", "max-pressure"]),
        (["A/policy", "B/policy"], ["A/policy", "B/policy"]),
        (["policy", "A/policy", "/B/A/policy"], ["policy", "A/policy", "B/A/policy"]),
        (["x/A/1/policy", "x/B/1/policy", "x/B/2/policy"], ["A/1/policy", "B/1/policy", "2/policy"]),
        (["d1/mine.py:X", "d2/mine.py:X", "d2/mine.py:Y"], ["d1/mine.py:X", "d2/mine.py:X", "mine.py:Y"]),
        (["A/policy", "./A/policy"], ["A/policy", "./A/policy"]),
    ],
)
def test_a_path_is_called_by_as_much_of_its_end_as_tells_it_apart(names, called):
    assert short_names(names) == dict(zip(names, called, strict=True))


def test_two_controllers_of_one_name_are_two_in_every_picture_and_tag(tmp_path, monkeypatch):
    """Both bundles of two runs are called ``policy``."""
    monkeypatch.chdir(tmp_path)
    for folder, rule in (("d1", "passive-off"), ("d2", "passive-on")):
        Path(folder).mkdir()
        text = f"from agents import make_controller\n\n\ndef X(site):\n    return make_controller({rule!r}, site)\n"
        Path(folder, "mine.py").write_text(text)
    names = ["d1/mine.py:X", "d2/mine.py:X"]
    found = evaluate(load_scenario("dampers/dyke", duration_s=2.0), names, seeds=1, out=tmp_path / "out")
    scalars = set(EventAccumulator(str(found.out)).Reload().Tags()["scalars"])
    assert {f"eval/{name}/failures" for name in names} <= scalars
    drawn = [text.get_text() for text in plots.headline(found, "").axes[0].get_yticklabels()]
    assert drawn == names
