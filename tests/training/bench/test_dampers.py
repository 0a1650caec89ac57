"""The dampers' bench measures what it says: all figures there, and decisions that the policy took."""

import numpy as np

from training.bench.dampers import bench_dampers, edge_times_s


def test_every_figure_is_measured():
    found = bench_dampers(50, 1, decisions=20, updates=1, learners=["backprop"], workers=8, fragment=8)
    assert found["bench"] == "dampers"
    assert len(found["figures"]) == 8
    assert all(value > 0 for value in [*found["figures"].values(), *found["ratios"].values()])


def test_decisions_are_timed_one_by_one():
    wall, own = edge_times_s(10)
    assert wall.shape == own.shape == (10,)
    assert (wall > 0).all()
    assert np.isfinite(own).all()
