"""Circular outputs: vectors there and back, the range that was trained on, the spread of an angle."""

import numpy as np
import pytest

from probes.population.outputs import Outputs, circular_std, projected_variance


def test_variables_come_back_from_their_vectors_in_the_range_of_training():
    rng = np.random.default_rng(0)
    y = np.c_[rng.standard_normal(500), rng.uniform(0, 360, 500), rng.uniform(-0.5, 0.5, 500)]
    outputs = Outputs.of(y, (None, 360, 1.0))
    assert outputs.signed == (True, False, True)
    vectors = outputs.encode(y) * np.repeat([1.0, 0.3, 7.0], [1, 2, 2])  # lengths say nothing of directions
    np.testing.assert_allclose(outputs.decode(vectors), y, atol=1e-12)
    edges = np.array([[0.0, -1e-17, 0.5], [0.0, 360.0, -0.5]])
    np.testing.assert_array_equal(outputs.wrapped(edges), [[0, 0, -0.5], [0, 0, -0.5]])


@pytest.mark.parametrize("certainty", [0.01, 0.5, 3.0, 40.0])
def test_the_spread_of_an_angle_is_that_of_a_gaussian_vector(certainty):
    rng = np.random.default_rng(1)
    z = np.sqrt(certainty) + rng.standard_normal(400_000) + 1j * rng.standard_normal(400_000)
    resultant = np.abs(np.mean(z / np.abs(z)))
    np.testing.assert_allclose(projected_variance(np.array([certainty])), -2 * np.log(resultant), rtol=0.02, atol=0.005)


def test_what_is_well_known_spreads_as_its_linearised_angle_does():
    far = np.array([0.99e6, 1.01e6, 1e12, np.inf])
    np.testing.assert_allclose(projected_variance(far), 1 / far, rtol=1e-5)
    outputs = Outputs.of(np.array([[10.0, 1.0], [20.0, 2.0]]), (360, None))
    covariance = 1e-6 * np.array([[2.0, 0.5, 0.3], [0.5, 1.0, 0.4], [0.3, 0.4, 3.0]])
    vector = outputs.encode(np.array([[30.0, 5.0]])) * [2.0, 2.0, 1.0]
    across = np.array([-0.5, np.sqrt(0.75), 0.0]) / 2 * 180 / np.pi
    J = np.stack([across, [0, 0, 1]])
    np.testing.assert_allclose(outputs.decode_covariance(vector, covariance)[0], J @ covariance @ J.T, rtol=1e-5)


def test_nothing_known_is_a_large_but_finite_spread():
    outputs = Outputs.of(np.array([10.0, 20.0]), 360)
    spread = outputs.decode_covariance(np.zeros((1, 2)), np.eye(2))
    assert np.isfinite(spread).all()
    assert np.sqrt(spread[0, 0, 0]) > 360
    assert circular_std(np.array([0.0]), 360.0) > 360
    np.testing.assert_allclose(circular_std(np.array([np.exp(-0.5)]), 2 * np.pi), 1)
