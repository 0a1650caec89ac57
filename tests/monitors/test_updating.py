"""Temperature, shear frames and model updating, each against an answer that is known."""

import numpy as np
import pytest

from agents.monitors.structural.learning import robust_covariance
from agents.monitors.structural.modes import Reference
from agents.monitors.structural.shear import fit_shear, shear_modes
from agents.monitors.structural.temperature import learn_compensation
from agents.monitors.structural.updating import Frame, estimate_losses, standing, weigh
from envs.core.errors import CityloopError
from tests.monitors.buildings import rng

MASSES = np.array([3452.4, 2652.4, 2652.4, 1809.9])
STIFFNESS = np.array([68e6, 60e6, 72e6, 50e6])


def test_a_uniform_frame_has_the_closed_form():
    count, stiffness, mass = 5, 4e6, 2e4
    hz, shapes = shear_modes(np.full(count, mass), np.full(count, stiffness))
    k = np.arange(1, count + 1)
    exact = np.sqrt(stiffness / mass) * 2 * np.sin((2 * k - 1) * np.pi / (2 * (2 * count + 1))) / (2 * np.pi)
    np.testing.assert_allclose(hz, exact)
    np.testing.assert_allclose((np.diff(np.sign(shapes), axis=1) != 0).sum(axis=1), k - 1)


@pytest.mark.parametrize("modes", [(1, 2, 3, 4), (1, 2, 3)])
def test_stiffness_is_found_from_modes(modes):
    hz, shapes = shear_modes(MASSES, STIFFNESS)
    numbers = np.array(modes)
    found = fit_shear(MASSES, numbers, hz[numbers - 1], np.arange(1, 5), -shapes[numbers - 1])
    np.testing.assert_allclose(found, STIFFNESS, rtol=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("floors", [(1, 5), (2, 4), (4, 5)])
def test_a_frame_is_found_from_some_of_its_floors_without_a_warning(floors):
    masses, stiffness, at = np.full(5, 3e4), np.full(5, 6e7), np.array(floors)
    hz, shapes = shear_modes(masses, stiffness)
    found = fit_shear(masses, np.arange(1, 5), hz[:4], at, shapes[:4, at - 1])
    np.testing.assert_allclose(found, stiffness, rtol=1e-3)


def test_frequencies_that_no_shear_frame_has_are_refused():
    _, shapes = shear_modes(MASSES, STIFFNESS)
    with pytest.raises(CityloopError, match="masses_kg do not fit"):
        fit_shear(MASSES, np.array([1, 2]), np.array([5.0, 5.5]), np.arange(1, 5), shapes[:2])


def test_modes_that_do_not_tell_the_stiffness_are_refused():
    """Two floors of five and a mode of them: whatever the storeys above are, they fit."""
    masses, at = np.full(5, 2e4), np.array([1, 2])
    hz, shapes = shear_modes(masses, np.array([2e7, 2e7, 2e12, 2e7, 2e7]))
    with pytest.raises(CityloopError, match="times as stiff as"):
        fit_shear(masses, np.arange(1, 5), hz[:4], at, shapes[:4, at - 1])


def frame(stiffness=STIFFNESS):
    hz, shapes = shear_modes(MASSES, stiffness)
    reference = Reference((1, 2, 3, 4), hz, np.full(4, 0.01), (1, 2, 3, 4), shapes, np.arange(4))
    return Frame(reference, MASSES, stiffness)


ALL = np.ones((4, 4), bool)


def softened(frame, storey, loss):
    factors = np.ones(4)
    factors[storey - 1] -= loss
    return frame.departures(factors, ALL).ravel()


def test_departures_are_those_of_the_softened_frame():
    exact = np.log(shear_modes(MASSES, STIFFNESS * [0.8, 1, 1, 1])[0] / shear_modes(MASSES, STIFFNESS)[0])
    np.testing.assert_allclose(softened(frame(), 1, 0.2).reshape(4, 5)[:, 0], exact)
    np.testing.assert_allclose(softened(frame(), 1, 0.0), 0.0, atol=1e-12)


@pytest.mark.parametrize("storey", [1, 2, 3, 4])
@pytest.mark.parametrize("loss", [0.03, 0.2, 0.6])
def test_losses_are_found_where_they_are(storey, loss):
    frames = [frame(), frame(1.5 * STIFFNESS)]
    residual = np.concatenate([np.zeros(20), softened(frames[1], storey, loss)])
    evidence = weigh(frames, residual, np.eye(40) * 1e-5, 1.0, 0.0)
    estimate = estimate_losses(frames, evidence)
    true = np.zeros(4)
    true[storey - 1] = loss
    np.testing.assert_allclose(estimate.loss[1], true, atol=0.01)
    np.testing.assert_allclose(estimate.loss[0], 0.0, atol=0.01)
    seen = standing(frames, evidence)
    assert seen[1].argmax() == storey - 1 or loss > 0.5
    assert seen[0].max() < 1e-6


def test_intervals_cover_as_often_as_they_say_and_are_not_wide():
    """They may cover a little more: that other storeys cannot gain stiffness makes the estimate better than it says."""
    frames = [frame()]
    noise = rng(3)
    losses, sigmas = [], []
    for _ in range(60):
        residual = softened(frames[0], 2, 0.15) + 0.004 * noise.standard_normal(20)
        found = estimate_losses(frames, weigh(frames, residual, np.eye(20) * 0.004**2, 1.0, 0.0))
        losses.append(found.loss[0][1])
        sigmas.append(found.sigma[0][1])
    inside = np.abs(np.array(losses) - 0.15) < 1.645 * np.array(sigmas)
    assert np.mean(inside) >= 0.85
    assert np.median(sigmas) < 2.0 * np.std(losses)


def test_the_matched_filter_is_standard_normal_while_healthy():
    frames, noise = [frame()], rng(4)
    covariance = 1e-5 * (np.eye(20) + 0.5)
    root = np.linalg.cholesky(covariance)
    values = []
    for _ in range(400):
        evidence = weigh(frames, root @ noise.standard_normal(20), covariance, 1.0, 0.0)
        values.append(standing(frames, evidence)[0])
    np.testing.assert_allclose(np.std(values, axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose(np.mean(values, axis=0), 0.0, atol=0.15)


def test_missing_modes_and_floors_are_left_out():
    frames = [frame()]
    residual = softened(frames[0], 1, 0.2).reshape(4, 5)
    residual[2] = np.nan
    residual[:, 4] = np.nan
    residual = residual.ravel()
    found = estimate_losses(frames, weigh(frames, residual, np.eye(20) * 1e-5, 1.0, 0.0))
    assert found.loss[0].argmax() == 0
    assert found.loss[0][0] == pytest.approx(0.2, abs=0.02)
    nothing = weigh(frames, np.full(20, np.nan), np.eye(20), 1.0, 0.0)
    assert estimate_losses(frames, nothing).loss[0].max() == 0.0


def test_an_even_change_counts_less_where_it_is_known_as_scatter():
    frames = [frame()]
    even = np.zeros((4, 5))
    even[:, 0] = 1.0
    even = even.ravel()
    independent, shared = np.eye(20) * 1e-5, np.eye(20) * 1e-5 + 1e-4 * np.outer(even, even)
    first = standing(frames, weigh(frames, -0.01 * even, independent, 1.0, 0.0))[0].max()
    second = standing(frames, weigh(frames, -0.01 * even, shared, 1.0, 0.0))[0].max()
    assert second < 0.5 * first


def test_temperature_is_taken_out_and_outliers_do_not_count():
    noise = rng(6)
    temperature = noise.uniform(-5, 35, 300)
    truth = np.stack([0.1 - 0.001 * temperature, 1e-5 * temperature**2], axis=1)
    seen = truth + 1e-4 * noise.standard_normal(truth.shape)
    seen[::10, 0] += 0.5
    seen[5, 1] = np.nan
    found = learn_compensation(temperature, seen, 2)
    np.testing.assert_allclose(found.expected(temperature), truth, atol=2e-4)
    assert found.doubt(15.0) < 1.05 < found.doubt(80.0)
    assert found.knows(35.5)
    assert not found.knows(50.0)


def test_one_temperature_is_enough_for_a_mean():
    found = learn_compensation(np.full(20, 21.0), np.arange(20.0)[:, None], 3)
    np.testing.assert_allclose(found.expected(21.0), [9.5])


def test_covariance_of_known_scatter():
    noise = rng(8)
    true = np.array([[1.0, 0.8], [0.8, 1.0]]) * 1e-6
    rows = noise.multivariate_normal([0, 0], true, 2000)
    rows[::100] *= 50
    rows[1] = np.nan
    np.testing.assert_allclose(robust_covariance(rows), true, rtol=0.1)
    with pytest.raises(CityloopError, match="all modes are clear in 0"):
        robust_covariance(np.full((30, 2), np.nan))
