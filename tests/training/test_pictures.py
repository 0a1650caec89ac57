"""Pictures: no panel is empty, axis labels have quantities and units, titles lie within."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from envs import load_scenario
from envs.dampers.assembly import load_site
from envs.dampers.drawing import draw_episodes
from training.episodes import Episode
from training.pictures import episode, label, save


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("standing_veh", "standing (vehicles)"),
        ("accel_est_m_s2", "acceleration estimate (m/s²)"),
        ("drift_mm", "drift (mm)"),
        ("delay_s", "delay (s)"),
        ("wait_min", "wait (min)"),
        ("served_pct", "served (%)"),
        ("stage", "stage"),
        ("stops", "stops"),
    ],
)
def test_an_axis_says_what_is_measured_and_its_unit(name: str, told: str) -> None:
    assert label(name) == told


def played(trace: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> Episode:
    """An episode of four decisions, a minute apart."""
    common: dict[str, Any] = {"controller": "static", "seed": 3, "kpis": {}, "reward": 0.0, "interventions": 0}
    return Episode(**common, time_s=np.arange(4) * 60.0, trace=trace, drawn=drawn)


def test_a_total_and_the_readings_that_it_sums_have_a_panel_each() -> None:
    trace = {"rain_mmh": np.ones(4), "stored_m3": np.arange(4.0)}
    drawn = {"rain_mmh": np.ones((4, 2)), "depth_m": np.ones((4, 3))}
    panels = episode(played(trace, drawn), "astlingen").axes
    assert [len(axes.lines) for axes in panels] == [1, 1, 2, 3]
    assert [axes.get_ylabel() for axes in panels] == [
        "rain (mm/h)",
        "stored (m³)",
        "rain (mm/h),\neach",
        "depth (m),\neach",
    ]


@pytest.mark.filterwarnings("error")
def test_what_no_sensor_told_is_drawn_as_nothing() -> None:
    drawn = {"depth_m": np.full((4, 2), np.nan), "flow_cms": np.array([[np.nan], [1.0], [-1.0], [2.0]])}
    silent, flow = episode(played({}, drawn), "astlingen").axes
    assert silent.get_ylim()[0] == 0
    assert flow.get_ylim()[0] < -1


def test_an_episode_with_nothing_to_draw_has_no_picture() -> None:
    assert episode(played({}, {}), "flat") is None


def test_what_names_the_bars_of_one_agent_lies_within_the_figure_and_over_nothing_else() -> None:
    stages = {"stage": np.array([[0], [0], [1], [1]])}
    figure = episode(played({"running_veh": np.arange(4.0)}, stages), "cologne1")
    figure.draw_without_rendering()
    above, bars = figure.axes
    told = next(text for text in bars.findobj(Text) if text.get_text() == "stage of every agent").get_window_extent()
    assert told.y0 >= 0
    assert told.y1 <= figure.bbox.height
    assert not told.overlaps(above.get_tightbbox())


def test_a_name_with_two_dollars_is_no_formula(tmp_path) -> None:
    figure = Figure()
    axes = figure.subplots(2)
    axes[0].bar(["GATE$1_$2"], [1.0])
    axes[0].set_title("a $_$ b")
    axes[1].semilogy([1.0, 1e4])
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("above_all", [True, False])
def test_a_long_title_lies_within_the_picture(above_all: bool, tmp_path) -> None:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    name = "drainage/north-eastern-catchment: mean and 10th to 90th percentile of 20 test seeds"
    told = figure.suptitle(name, weight="bold") if above_all else axes.set_title(name, loc="left", weight="bold")
    save(figure, tmp_path / "a.png")
    figure.draw_without_rendering()
    box = told.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert not box.overlaps(axes.get_window_extent())


def test_loops_of_one_damper_leave_room_for_their_title(tmp_path) -> None:
    site = load_site(load_scenario("dampers/jansen", dampers={1: 2}))
    seen = {"stroke_mm": np.ones((4, 1)), "force_n": np.ones((4, 1)), "accel_est_m_s2": np.ones((4, 6))}
    figure = draw_episodes(site, {"policy": seen}, 0.01)["loops"]
    save(figure, tmp_path / "loops.png")
    told = next(text for text in figure.findobj(Text) if text.get_text() == figure.get_suptitle())
    assert "\n" not in told._get_wrapped_text()
    assert told.get_window_extent().x0 >= 0
