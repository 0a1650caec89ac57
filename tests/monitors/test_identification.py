"""Identified modes against exact ones, against pyOMA2, and on systems whose answer is known."""

import numpy as np
import pytest

from agents.monitors.structural.ambient import CHANNELS, RATE_HZ, simulate_window
from agents.monitors.structural.config import Identification
from agents.monitors.structural.identification import Mode, covariances, hankel, identify, mac
from agents.monitors.structural.modes import Reference, features, learn_reference, match
from agents.monitors.structural.shear import shear_modes
from envs.core.errors import CityloopError
from tests.monitors.buildings import CALM, rng

EXACT = {"x": (11.791, 32.006, 48.443, 60.151), "y": (9.411, 25.545, 38.664, 48.008)}
PYOMA2 = {
    "x": ((11.8360, 0.01516), (32.0655, 0.00964), (48.4752, 0.01167), (60.1806, 0.01048)),
    "y": ((9.3979, 0.00935), (25.5309, 0.01074), (38.7434, 0.00967), (47.9847, 0.01056)),
}
"""Medians over model orders of pyOMA2 1.4.3 (cov_R, 24 block rows, orders to 28) on the very window of the fixture."""

SETTINGS = Identification()


@pytest.fixture(scope="module")
def record():
    return simulate_window(np.random.default_rng(7), 60.0, weather=CALM, temperature_c=20.0)[0]


def along(record, axis):
    rows = record[[channel.axis == axis for channel in CHANNELS]]
    return rows, (rows[0::2] + rows[1::2]) / 2


@pytest.mark.parametrize("axis", ["x", "y"])
def test_modes_are_the_buildings(record, axis):
    rows, references = along(record, axis)
    modes = identify(rows, RATE_HZ, SETTINGS, references)
    np.testing.assert_allclose([mode.frequency_hz for mode in modes], EXACT[axis], rtol=0.006)
    np.testing.assert_allclose([mode.damping for mode in modes], 0.01, atol=0.006)
    stiffness = {"x": 106.6e6, "y": 67.9e6}[axis]
    _, shapes = shear_modes(np.array([3452.4, 2652.4, 2652.4, 1809.9]), np.full(4, stiffness))
    seen = np.array([(mode.shape[0::2] + mode.shape[1::2]) / 2 for mode in modes])
    assert np.diag(mac(seen, shapes)).min() > 0.995
    assert min(mode.purity for mode in modes) > 0.98


@pytest.mark.parametrize("axis", ["x", "y"])
def test_modes_are_those_of_pyoma2(record, axis):
    rows, references = along(record, axis)
    modes = identify(rows, RATE_HZ, SETTINGS, references)
    hz, damping = np.array(PYOMA2[axis]).T
    np.testing.assert_allclose([mode.frequency_hz for mode in modes], hz, rtol=5e-4)
    np.testing.assert_allclose([mode.damping for mode in modes], damping, atol=5e-4)


def test_covariances_and_their_order():
    rows = np.arange(12.0).reshape(2, 6)
    found = covariances(rows, rows[:1], 3)
    assert found.shape == (2, 2, 1)
    assert found[0, 1, 0] == pytest.approx((rows[1, 1:] * rows[0, :-1]).mean())
    blocks = hankel(np.arange(1.0, 6.0).reshape(5, 1, 1), 3)
    np.testing.assert_array_equal(blocks, [[1, 2, 3], [2, 3, 4], [3, 4, 5]])


def test_nothing_is_found_in_noise_or_silence():
    assert identify(rng(5).standard_normal((4, 6000)), 200.0, SETTINGS) == []
    assert identify(np.zeros((4, 6000)), 200.0, SETTINGS) == []
    assert identify(rng(5).standard_normal((4, 100)), 200.0, SETTINGS) == []


@pytest.fixture(scope="module")
def reference(record):
    windows = []
    for k in range(12):
        rows, references = along(simulate_window(rng(1, k), 30.0, weather=CALM, temperature_c=20.0)[0], "y")
        windows.append(identify(rows, RATE_HZ, SETTINGS, references))
    return learn_reference(windows, np.repeat(np.arange(4), 2), (1, 2, 3, 4), 4)


def test_the_reference_counts_modes_by_changes_of_sign(reference):
    assert reference.numbers == (1, 2, 3, 4)
    np.testing.assert_allclose(reference.frequency_hz, EXACT["y"], rtol=0.004)
    changes = (np.diff(np.sign(reference.floor_shape), axis=1) != 0).sum(axis=1)
    np.testing.assert_array_equal(changes, [0, 1, 2, 3])


def test_matching_keeps_the_order_and_leaves_gaps(reference, record):
    rows, references = along(record, "y")
    modes = identify(rows, RATE_HZ, SETTINGS, references)
    used = np.ones(8, bool)
    matched = match(reference, modes[::-1], used)
    np.testing.assert_allclose(matched.frequency_hz, [mode.frequency_hz for mode in modes])
    one_gone = match(reference, [modes[0], modes[2], modes[3]], used)
    np.testing.assert_array_equal(np.isnan(one_gone.frequency_hz), [False, True, False, False])
    used[3] = False
    without = [type(mode)(mode.frequency_hz, mode.damping, mode.shape[used], 1.0, 1.0) for mode in modes]
    matched = match(reference, without, used)
    assert np.isnan(matched.shape[:, 3]).all()
    np.testing.assert_allclose(matched.shape[:, used], reference.shape[:, used], atol=0.1)


def test_where_floors_are_left_out_no_more_modes_are_counted_than_there_are_storeys():
    """With a sensor a floor, twisting looks like swaying: such modes would be beyond any chain of storeys."""
    shapes = {1.0: (0.5, 0.9), 1.6: (0.6, 0.8), 3.0: (1.0, -0.5), 4.9: (0.9, -0.6)}
    modes = [Mode(f, 0.01, np.array(shape) / np.linalg.norm(shape), 1.0, 1.0) for f, shape in shapes.items()]
    reference = learn_reference([modes] * 5, np.arange(2), (1, 3), 3)
    assert reference.numbers == (1, 2, 3)
    np.testing.assert_allclose(reference.frequency_hz, [1.0, 1.6, 3.0])


def test_without_the_roof_modes_are_not_counted_by_changes_of_sign():
    """Over the lower four of five floors the two fastest modes change sign equally often."""
    hz, shapes = shear_modes(np.full(5, 2e4), np.full(5, 2e7))
    lower = shapes[:, :4] / np.linalg.norm(shapes[:, :4], axis=1, keepdims=True)
    changes = (np.diff(np.sign(lower), axis=1) != 0).sum(axis=1)
    assert len(set(changes)) < 5
    modes = [Mode(f, 0.01, shape, 1.0, 1.0) for f, shape in zip(hz, lower, strict=True)]
    reference = learn_reference([modes] * 5, np.arange(4), (1, 2, 3, 4), 5)
    assert reference.numbers == (1, 2, 3, 4, 5)
    np.testing.assert_allclose(reference.frequency_hz, hz)


def test_modes_that_windows_do_not_share_are_refused():
    with pytest.raises(CityloopError, match="windows hold no mode"):
        learn_reference([[] for _ in range(5)], np.arange(4), (1, 2, 3, 4), 4)


def test_features_do_not_depend_on_a_shapes_scale():
    healthy = np.array([[0.6, 0.8, 0.0]])
    found = features(np.array([2.0]), -3 * np.array([[0.6, 0.8, 0.1]]), healthy)
    np.testing.assert_allclose(found, [[np.log(2.0), 0.0, 0.0, 0.1]], atol=1e-12)
    gap = features(np.array([np.nan]), np.array([[0.6, np.nan, 0.0]]), healthy)
    np.testing.assert_array_equal(np.isnan(gap), [[True, False, True, False]])


def test_a_reference_is_of_unit_length():
    reference = Reference(
        (1,), np.array([1.0]), np.array([0.01]), (1, 2), np.array([[1.0, 1.0, 2.0, 2.0]]), np.repeat([0, 1], 2)
    )
    np.testing.assert_allclose(reference.floor_shape, [[1 / 5**0.5, 2 / 5**0.5]])
