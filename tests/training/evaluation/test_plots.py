"""Pictures of an evaluation of a city show its first agents, and tell choices apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from training.episodes import Episode
from training.evaluation import plots
from training.pictures import save


def _stages(agents: int, count: int) -> Any:
    """An evaluation in which every agent was in every one of some stages."""
    time_s = np.arange(count) * 5.0
    stages = np.repeat(np.arange(count)[:, None], agents, axis=1)
    played = Episode("policy", 0, {}, 0.0, 0, time_s, {}, {"stage": stages})
    return SimpleNamespace(scenario="intersections/city", seeds=(0,), episodes=[played])


def test_a_picture_of_a_city_shows_its_first_agents_and_says_so(tmp_path) -> None:
    figure = plots.plans(_stages(3000, 2), tuple(f"a{k}" for k in range(3000)), "stage")
    assert figure.get_suptitle() == "intersections/city: stage of the first 60 of 3000 agents, seed 0"
    save(figure, tmp_path / "stage.png")
    assert figure.axes[0].get_ylim()[0] < 60


def test_courses_of_a_city_show_its_first_tanks_and_say_so() -> None:
    """Pictures of 500 tanks took minutes, after episodes of a third of a second, and nothing was written before."""
    depth_m = np.random.default_rng(0).random((3, 500))
    episode = Episode("static", 0, {}, 0.0, 0, np.arange(3) * 300.0, {}, {"depth_m": depth_m})
    city = SimpleNamespace(scenario="drainage/city", seeds=(0,), controllers=["static"], episodes=[episode])
    figure = plots.courses(city, tuple(f"t{k}" for k in range(500)), "depth_m")
    assert figure.get_suptitle() == "drainage/city: depth (m), the first 60 of 500, seed 0"
    assert [axes.get_title("left") for axes in figure.axes] == [f"t{k}" for k in range(60)]
    assert (figure.axes[59].lines[0].get_ydata() == depth_m[:, 59]).all()


def test_stages_beyond_the_colours_are_told_apart() -> None:
    figure = plots.plans(_stages(1, 16), ("a",), "stage")
    (bars,) = figure.axes[0].collections
    assert len({tuple(colour) for colour in bars.get_facecolors()}) == 16
