"""Pictures show what there is."""

import pytest

from agents import make_controller
from envs.core.env import make_loop
from envs.transit.drawing import draw_episode, draw_map


@pytest.fixture(scope="module")
def loop():
    loop = make_loop("transit/hcmc", duration_s=7200.0)
    loop.episode(make_controller("reactive", loop.site), 0)
    yield loop
    loop.close()


def test_a_panel_a_controller_with_every_zones_value(loop):
    found = {"one": loop.world.places()["wait_min"], "other": {"A1": 7.0}}
    figure = draw_map(loop.site, found, "wait_min")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["one", "other"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["7.00"]
    assert len(figure.axes[0].texts) == len(found["one"])


def test_an_episode_with_its_demand_its_vehicles_and_its_waits(loop, tmp_path):
    figure = draw_episode(loop.world)
    town, bars = figure.axes
    labels = [text.get_text() for text in town.get_legend().get_texts()]
    asked = int(loop.world.kpis()["asked"])
    assert labels[2] == "vehicles: 40"
    assert int(labels[0].removeprefix("asked: ")) >= asked
    assert sum(patch.get_height() for patch in bars.patches) >= asked * loop.world.kpis()["served_pct"] / 100 - 1
    figure.savefig(tmp_path / "episode.png")
