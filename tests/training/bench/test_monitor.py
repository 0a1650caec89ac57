"""The benchmark names all its figures and scores right where the answer is known. How good they are, no test says."""

import numpy as np
import pytest

from agents.monitors.structural.iasc import Damage
from tests.monitors.buildings import learned_monitor, window
from training.bench.monitor import DAMAGED, LEARNING, TEST, Sizes, _rng, _score, bench_monitor


@pytest.mark.slow
def test_ratios_and_figures_are_named():
    sizes = Sizes(learning=120, healthy=12, damaged=2, faulty=1, mixed=4, seconds=20.0)
    found = bench_monitor(sizes, false_alarms=0.05)
    assert found["bench"] == "monitor"
    assert set(found["ratios"]) == {
        "false alarms a window, healthy",
        *(f"{loss} % of storey 1: {what}" for loss in (10, 20) for what in ("AUC", "detected", "right storey")),
    }
    for label in (
        "2 % of storey 4: AUC",
        "pattern 6: detected",
        "sensor gain: called damage, and not without it",
        "harsh: 10 % of storey 1: AUC",
    ):
        assert 0.0 <= found["figures"][label] <= 1.0
    assert np.isfinite(list(found["figures"].values())).all()


def test_groups_of_seeds_share_nothing():
    drawn = {float(_rng(group, k).standard_normal()) for group in (LEARNING, TEST, DAMAGED) for k in range(20)}
    assert len(drawn) == 60


@pytest.mark.slow
def test_scores_of_known_reports():
    monitor = learned_monitor()
    damage = Damage(losses={(1, "y"): 0.2})
    reports = [monitor.watch(*window(40, k, damage=damage)) for k in range(2)]
    hidden = reports[0].model_copy(update={"unusual": False, "location": None, "statistic": 0.5})
    elsewhere = reports[0].model_copy(update={"location": reports[0].storeys[0]})
    assert (elsewhere.location.storey, elsewhere.location.axis) == (1, "x")
    healthy = np.array([0.0, 0.5, 1.0, 2.0])
    found = _score([*reports, hidden, elsewhere], [damage] * 4, healthy)
    assert found["detected"] == 0.75
    assert found["right storey"] == 0.5
    assert found["AUC"] == pytest.approx((3 + 0.375) / 4)
    assert abs(found["error of the loss, median"]) < 0.05
