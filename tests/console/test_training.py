"""The console's page of training: runs, their curves, and policies set side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.console.conftest import TENSORBOARD, City
from tests.serving.console.test_routes import evaluation


def test_two_policies_are_set_side_by_side_on_the_same_seeds(city: City, visit: Any) -> None:
    page = visit("viewer").go("/training")
    page.get_by_text("Nothing to compare yet", exact=False).wait_for()
    evaluation(Path("runs"), "night", {"mine": [1.0, 2.0, 3.0], "fixed": [2.0, 2.5, 4.0]})
    page.reload()
    two = page.get_by_role("region", name="Two side by side")
    two.get_by_text("mine is better", exact=False).first.wait_for()
    assert "on 3 common seeds" in two.inner_text()
    two.get_by_role("img", name="a point a seed").wait_for()
    two.get_by_label("with").select_option("0")
    two.get_by_text("no difference is shown").wait_for()


def test_tensorboard_is_linked_where_one_runs_and_nowhere_else(city: City, visit: Any) -> None:
    run = Path("runs") / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("algorithm: PPO\nscenarios:\n- system: dampers\n  name: jansen\n")
    (run / "metrics.csv").write_text("iteration,agent_steps,elapsed_s,tag,value\n1,10,1.0,eval/score,0.9\n")
    page = visit("viewer").go("/training")
    link = page.get_by_role("link", name="the TensorBoard that runs")
    link.wait_for()
    assert link.get_attribute("href") == TENSORBOARD
    page.route("**/v1/runs", lambda route: route.fulfill(json=route.fetch().json() | {"tensorboard": None}))
    page.reload()
    page.get_by_text("tensorboard --logdir", exact=False).wait_for()
    assert link.count() == 0
    # A run's name may have no folder in it.
    page.get_by_role("button", name="one", exact=True).click()
    page.get_by_role("region", name="Curves of one").wait_for()
