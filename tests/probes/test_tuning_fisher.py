"""Fisher information: closed forms, its bias taken away, and the bound that it sets."""

import numpy as np
import pytest

from probes.tuning import (
    TuningCurves,
    cramer_rao,
    curve_slopes,
    gaussian_information,
    linear_information,
    poisson_error_bound,
    poisson_information,
)


def ring(n=32, bins=400, peak=20.0, kappa=2.0):
    edges = np.linspace(0, 2 * np.pi, bins + 1)
    x = (edges[1:] + edges[:-1]) / 2
    preferred = np.arange(n) * 2 * np.pi / n
    rates = peak * np.exp(kappa * (np.cos(x - preferred[:, None]) - 1))
    slopes = -kappa * np.sin(x - preferred[:, None]) * rates
    return TuningCurves(rates, np.ones(bins), (edges,), (2 * np.pi,), 0.1), slopes


def test_slopes_of_a_circular_curve_are_its_derivative_round_the_edge_too():
    curves, slopes = ring()
    np.testing.assert_allclose(curve_slopes(curves)[0], slopes, atol=2e-2)


def test_slopes_of_a_plane_are_exact_at_the_walls_and_beside_a_hole():
    edges = (np.linspace(0, 1, 6), np.linspace(0, 2, 6))
    x, y = np.meshgrid(*((e[1:] + e[:-1]) / 2 for e in edges), indexing="ij")
    rates = (3 * x - 2 * y + 9)[None]
    rates[0, 2, 2] = np.nan
    slopes = curve_slopes(TuningCurves(rates, np.ones((5, 5)), edges, (None, None), 0.1))
    known = np.isfinite(rates[0])
    np.testing.assert_allclose(slopes[0, 0][known], 3)
    np.testing.assert_allclose(slopes[1, 0][known], -2)
    assert np.isnan(slopes[:, 0, 2, 2]).all()


def test_poisson_information_is_the_sum_of_squared_slopes_over_rates():
    curves, slopes = ring()
    found = poisson_information(curves.rates, slopes[None], 0.5)
    np.testing.assert_allclose(found[:, 0, 0], 0.5 * (slopes**2 / curves.rates).sum(0))
    bound = poisson_error_bound(curves, 0.5)[:, 0]
    np.testing.assert_allclose(bound, found[:, 0, 0] ** -0.5, rtol=1e-3)


def test_poisson_information_is_the_curvature_of_the_likelihood():
    curves, slopes = ring(bins=50)
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5 * curves.rates[:, 7], (200_000, 32))
    score = (counts - 0.5 * curves.rates[:, 7]) @ (slopes[:, 7] / curves.rates[:, 7])
    assert poisson_information(curves.rates[:, 7], slopes[None, :, 7], 0.5)[0, 0] == pytest.approx(
        score.var(), rel=0.02
    )


def test_a_silent_flat_neuron_says_nothing_and_a_silent_changing_one_needs_a_floor():
    rates, slopes = np.array([0.0, 2.0]), np.array([[0.0, 1.0]])
    assert poisson_information(rates, slopes, 1.0)[0, 0] == 0.5
    with pytest.raises(ValueError, match="has no bound: smooth the curves, or give a floor"):
        poisson_information(rates, np.array([[1.0, 1.0]]), 1.0)
    assert poisson_information(rates, np.array([[1.0, 1.0]]), 1.0, floor=0.5)[0, 0] == 2.5
    with pytest.raises(ValueError, match="rates are negative"):
        poisson_information(-rates, slopes, 1.0)
    with pytest.raises(ValueError, match="above zero"):
        poisson_information(rates, slopes, 0.0)


def test_gaussian_information_with_changing_noise_is_the_variance_of_the_score():
    rng = np.random.default_rng(1)
    slopes, factor = rng.standard_normal((2, 3)), rng.standard_normal((3, 3))
    noise = factor @ factor.T + np.eye(3)
    changes = rng.standard_normal((2, 3, 3))
    changes = changes + changes.transpose(0, 2, 1)
    z = rng.multivariate_normal(np.zeros(3), noise, 400_000)
    inverse = np.linalg.inv(noise)
    score = [
        z @ inverse @ f + 0.5 * np.einsum("na,ab,nb->n", z, inverse @ c @ inverse, z)
        for f, c in zip(slopes, changes, strict=True)
    ]
    found = gaussian_information(slopes, noise, changes)
    np.testing.assert_allclose(found, np.cov(score), rtol=0.02, atol=0.02)
    np.testing.assert_allclose(gaussian_information(slopes, noise), slopes @ inverse @ slopes.T)
    points = gaussian_information(np.stack([slopes] * 4, -1), np.stack([noise] * 4, -1), np.stack([changes] * 4, -1))
    np.testing.assert_allclose(points, np.stack([found] * 4))
    with pytest.raises(ValueError, match="singular"):
        gaussian_information(slopes, np.ones((3, 3)))


def test_the_bound_is_the_inverse_and_follows_the_slope_of_a_bias():
    information = np.array([[4.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(cramer_rao(information), np.linalg.inv(information))
    shrunk = cramer_rao(information, -0.5 * np.eye(2))
    np.testing.assert_allclose(shrunk, np.linalg.inv(information) / 4)


def test_an_axis_of_which_nothing_is_told_has_no_bound_and_the_others_keep_theirs():
    tangled = np.array([[2.0, 0, 0], [0, 1, 1], [0, 1, 1]])  # of the last two only the sum is told
    for information, wanted in [
        (np.eye(2), [1, 1]),
        (np.diag([5.0, 0.0]), [0.2, np.inf]),
        (np.zeros((2, 2)), [np.inf, np.inf]),
        (np.full((2, 2), np.nan), [np.nan, np.nan]),
        (tangled, [0.5, np.inf, np.inf]),
    ]:
        np.testing.assert_allclose(np.diag(cramer_rao(information)), wanted)
    assert np.isnan(cramer_rao(np.diag([5.0, 0.0]))[0, 1])
    points = cramer_rao(np.stack([np.eye(2), np.diag([5.0, 0.0]), np.full((2, 2), np.nan)]))
    np.testing.assert_allclose(np.diagonal(points, axis1=1, axis2=2), [[1, 1], [0.2, np.inf], [np.nan, np.nan]])


def test_a_biased_estimate_of_what_is_told_has_its_bound_beside_one_of_what_is_not():
    shrunk = cramer_rao(np.diag([5.0, 0.0]), -0.5 * np.eye(2))
    np.testing.assert_allclose(np.diag(shrunk), [0.05, np.inf])
    constant = cramer_rao(np.diag([5.0, 0.0]), -np.eye(2))  # an estimate that never moves has no variance
    np.testing.assert_allclose(constant, 0)
    of_the_sum = cramer_rao(np.ones((2, 2)), np.array([[0.0, 1.0], [1.0, 0.0]]))  # x + y, which alone is told
    np.testing.assert_allclose(of_the_sum, 1)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_units_do_not_decide_what_is_told(unit):
    np.testing.assert_allclose(np.diag(cramer_rao(np.diag([1.0, 1e17]) * unit)), np.array([1, 1e-17]) / unit)
    assert gaussian_information(np.eye(2), np.diag([1.0, unit**2]))[1, 1] == pytest.approx(unit**-2)


def test_noise_of_neurons_that_repeat_others_is_refused_whatever_rounding_makes_of_it():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        d = int(rng.integers(2, 12))
        X = rng.standard_normal((400, d)) * 10 ** rng.uniform(-3, 3, d)
        X = np.concatenate([X, X @ rng.standard_normal((d, 1))], axis=1)
        with pytest.raises(ValueError, match="singular"):
            gaussian_information(rng.standard_normal((1, d + 1)), np.cov(X.T))
        with pytest.raises(ValueError, match="singular"):
            linear_information(X, X + 1, 1.0)


def test_information_is_unknown_at_a_silent_bin_without_neighbours():
    rates = np.array([[0.0, np.nan, 2.0, 4.0]])
    slopes = curve_slopes(TuningCurves(rates, np.array([1.0, 0, 1, 1]), (np.arange(5.0),), (None,), 0.1))
    assert np.isnan(slopes[0, 0, 0])
    np.testing.assert_allclose(poisson_information(rates, slopes, 1.0)[:, 0, 0], [np.nan, np.nan, 2, 1])


@pytest.mark.parametrize("trials", [(40, 40), (70, 30)])
def test_linear_information_is_without_bias_and_its_error_is_what_repeats_show(trials):
    rng = np.random.default_rng(2)
    d, distance, n = 10, 0.3, 1500
    slope, factor = rng.standard_normal(d), rng.standard_normal((d, d)) / 10 + np.eye(d)
    noise = factor @ factor.T
    truth = slope @ np.linalg.solve(noise, slope)
    found = []
    for _ in range(n):
        low = rng.standard_normal((trials[0], d)) @ factor.T
        high = rng.standard_normal((trials[1], d)) @ factor.T + distance * slope
        found.append(
            [linear_information(low, high, distance), linear_information(low, high, distance, corrected=False)]
        )
    values = np.array([[one.value for one in pair] for pair in found])
    assert values[:, 0].mean() == pytest.approx(truth, abs=4 * values[:, 0].std() / np.sqrt(n))
    assert values[:, 1].mean() > 1.3 * truth
    assert np.mean([one.std_error**2 for one, _ in found]) ** 0.5 == pytest.approx(values[:, 0].std(), rel=0.1)


@pytest.mark.parametrize(
    ("low", "distance", "message"),
    [
        (np.zeros((4, 8)), 1.0, "trials are too few for 8 neurons"),
        (np.ones((30, 8)), 0.0, "must not be zero"),
        (np.ones((30, 8)), 1.0, "singular"),
        (np.ones((30, 7)), 1.0, "must be the same"),
    ],
)
def test_linear_information_that_cannot_be_measured_is_refused(low, distance, message):
    with pytest.raises(ValueError, match=message):
        linear_information(low, np.ones((4 if len(low) == 4 else 30, 8)), distance)
