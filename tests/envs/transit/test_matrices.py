"""Shortest paths by hand."""

import numpy as np

from envs.transit.matrices import Matrices


def test_the_quickest_path_its_length_and_its_next_node():
    # 0 → 1 → 2 takes 20 s and 900 m; the direct road 0 → 2 takes 50 s and 100 m. Of two roads 0 → 1 the quicker counts.
    start, end = np.array([0, 1, 0, 0, 2]), np.array([1, 2, 2, 1, 0])
    found = Matrices(4, start, end, np.array([10.0, 10.0, 50.0, 99.0, 5.0]), np.array([400.0, 500.0, 100.0, 1.0, 70.0]))
    assert found.free_s[0, 2] == 20
    assert found.metres[0, 2] == 900
    assert found.hop[0, 2] == 1
    assert found.free_s[1, 0] == 15
    assert found.metres[1, 0] == 570
    assert np.isinf(found.free_s[0, 3])
    assert found.hop[0, 3] == 0
    assert (np.diag(found.free_s) == 0).all()


def test_no_detour_is_quicker():
    rng = np.random.default_rng(3)
    start, end = rng.integers(15, size=(2, 80))
    free = Matrices(15, start, end, rng.uniform(1, 9, 80), np.ones(80)).free_s
    assert (free[:, None, :] <= free[:, :, None] + free[None] + 1e-9).all()


def test_a_road_that_leads_back_to_its_own_corner_is_on_no_path():
    start, end = np.array([0, 1, 2, 1, 2]), np.array([1, 2, 0, 1, 2])
    found = Matrices(3, start, end, np.full(5, 10.0), np.array([100.0, 100.0, 100.0, 7000.0, 7000.0]))
    np.testing.assert_array_equal(found.metres, [[0, 100, 200], [200, 0, 100], [100, 200, 0]])


def test_metres_are_those_of_the_roads_that_lead_there():
    """On a street of forty corners, one way half of the time, and with corners that cannot be reached."""
    rng = np.random.default_rng(0)
    start, end = np.arange(39), np.arange(1, 40)
    back = rng.random(39) < 0.5
    start, end = np.concatenate([start, end[back]]), np.concatenate([end, start[back]])
    length = rng.uniform(10, 300, len(start))
    found = Matrices(40, start, end, rng.uniform(1, 9, len(start)), length)
    road = dict(zip(zip(start.tolist(), end.tolist(), strict=True), length.tolist(), strict=True))
    for a in range(40):
        for b in range(40):
            at, metres = a, 0.0
            while np.isfinite(found.free_s[a, b]) and at != b:
                at, before = int(found.hop[at, b]), at
                metres += road[before, at]
            np.testing.assert_allclose(found.metres[a, b], metres, rtol=1e-12)
