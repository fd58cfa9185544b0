"""Linear population decoders: scikit-learn's contract, closed forms, calibrated uncertainty, the Cramér–Rao bound."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.population import OptimalLinearDecoder

CHECKED_TYPES = {
    "check_do_not_raise_errors_in_init_or_set_params": "these tests check the types of all parameters at run time"
}


@parametrize_with_checks(
    [OptimalLinearDecoder(), OptimalLinearDecoder(0.02, noise="total", fit_intercept=True)],
    expected_failed_checks=lambda _: CHECKED_TYPES,
)
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def rates(n, n_neurons, d=2, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, d))
    directions = rng.standard_normal((n_neurons, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    A = np.maximum(0, x @ directions.T * 100 + rng.uniform(-50, 90, n_neurons))
    return A + noise * rng.standard_normal(A.shape), x


def coverage(decoder, X, y, groups=None):
    estimate, std = decoder.predict(X, groups, return_std=True)
    return (np.abs(estimate - y) < 1.96 * std).mean(0)


@pytest.mark.parametrize("noise", ["per_sample", "total"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("n", "n_neurons"), [(300, 40), (30, 80)])
def test_both_forms_are_ridge(noise, intercept, n, n_neurons):
    A, x = rates(n, n_neurons)
    weight = np.random.default_rng(1).uniform(0.5, 2, n)
    for share in (None, weight):
        settings = {"noise": noise, "fit_intercept": intercept}
        found = [
            OptimalLinearDecoder(0.1, solver=s, **settings).fit(A, x, sample_weight=share) for s in ("primal", "dual")
        ]
        samples = n if share is None else weight.sum()
        alpha = (0.1 * A.max()) ** 2 * (samples if noise == "per_sample" else 1)
        ridge = Ridge(alpha, fit_intercept=intercept, solver="svd").fit(A, x, share)
        for ours in found:
            np.testing.assert_allclose(ours.coef_, ridge.coef_, rtol=1e-10, atol=1e-10 * np.abs(ridge.coef_).max())
            np.testing.assert_allclose(ours.predict(A), ridge.predict(A), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found[0].covariance_, found[1].covariance_, rtol=1e-8)


def test_without_noise_it_is_least_squares_and_copies_are_refused():
    A, x = rates(200, 20)
    np.testing.assert_allclose(
        OptimalLinearDecoder(0.0, fit_intercept=True).fit(A, x).coef_, LinearRegression().fit(A, x).coef_, rtol=1e-6
    )
    with pytest.raises(ValueError, match="give a sigma above zero"):
        OptimalLinearDecoder(0.0).fit(np.c_[A, A[:, 0]], x)
    with pytest.raises(ValueError, match="dual form needs noise"):
        OptimalLinearDecoder(0.0, solver="dual").fit(A, x)


@pytest.mark.parametrize("shape", [(300, 40), (30, 80)])
def test_errors_are_those_of_samples_left_out(shape):
    A, x = rates(*shape, noise=10.0)
    found = OptimalLinearDecoder(9.0, relative=False, noise="total", fit_intercept=True).fit(A, x)
    missed = []
    for i in range(0, len(A)):
        others = np.arange(len(A)) != i
        missed.append(x[i] - Ridge(found.sigma_**2, solver="svd").fit(A[others], x[others]).predict(A[[i]])[0])
    np.testing.assert_allclose(found.covariance_, np.transpose(missed) @ missed / len(A), rtol=1e-5)


def test_silent_neurons_have_weight_zero():
    A, x = rates(200, 10)
    A = np.c_[A, np.zeros(200), np.full(200, 3.1)]
    found = OptimalLinearDecoder(fit_intercept=True).fit(A, x)
    assert found.silent_.tolist() == [10, 11]
    assert (found.coef_[:, 10:] == 0).all()
    assert (found.coef_[:, :10] != 0).all()


@pytest.mark.parametrize(("n", "tolerance"), [(2000, 0.02), (60, 0.05)])
def test_intervals_cover_what_they_say(n, tolerance):
    A, x = rates(n + 4000, 40, noise=20.0)
    decoder = OptimalLinearDecoder(0.05, fit_intercept=True).fit(A[:n], x[:n])
    assert (np.abs(coverage(decoder, A[n:], x[n:]) - 0.95) < tolerance).all()


def heads(n, n_neurons, seed=0, peak=8.0):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 360, n)
    preferred = rng.uniform(0, 360, n_neurons)
    return rng.poisson(peak * (1 + np.cos(np.deg2rad(angle[:, None] - preferred))) / 2), angle, preferred


def test_angles_come_back_in_their_range_with_calibrated_uncertainty():
    counts, angle, _ = heads(6000, 30)
    decoder = OptimalLinearDecoder(0.05, fit_intercept=True, period=360).fit(counts[:3000], angle[:3000])
    found, std = decoder.predict(counts[3000:], return_std=True)
    assert found.min() >= 0
    assert found.max() < 360
    missed = (found - angle[3000:] + 180) % 360 - 180
    assert abs((np.abs(missed) < 1.96 * std).mean() - 0.95) < 0.02
    assert 5 < np.sqrt((missed**2).mean()) < 20
    assert decoder.score(counts[3000:], angle[3000:]) > 0.95
    signed = OptimalLinearDecoder(0.05, fit_intercept=True, period=360).fit(
        counts[:3000], (angle[:3000] + 180) % 360 - 180
    )
    back = signed.predict(counts[3000:])
    assert back.min() < 0
    np.testing.assert_allclose((back - found + 180) % 360 - 180, 0, atol=1e-9)


def test_linear_and_circular_outputs_share_a_population():
    counts, angle, _ = heads(3000, 30)
    speed = np.random.default_rng(5).uniform(0, 1, 3000)
    X = np.c_[counts, speed[:, None] * 40 + np.random.default_rng(6).standard_normal((3000, 5))]
    y = np.c_[speed, angle]
    decoder = OptimalLinearDecoder(0.02, fit_intercept=True, period=(None, 360)).fit(X, y)
    alone = OptimalLinearDecoder(0.02, fit_intercept=True, period=360).fit(X, angle)
    estimate, cov = decoder.predict(X, return_cov=True)
    np.testing.assert_allclose(estimate[:, 1], alone.predict(X), rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(cov[:, 1, 1]), alone.predict(X, return_std=True)[1], rtol=1e-9)
    assert cov.shape == (3000, 2, 2)
    assert decoder.score(X, y) > 0.9


def test_tensors_come_back_as_tensors():
    A, x = rates(50, 8)
    ours = OptimalLinearDecoder().fit(torch.from_numpy(A), torch.from_numpy(x))
    found, std = ours.predict(torch.from_numpy(A), return_std=True)
    assert isinstance(found, torch.Tensor)
    assert isinstance(std, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), OptimalLinearDecoder().fit(A, x).predict(A))
    short = torch.from_numpy(A).bfloat16()
    there = ours.predict(short)
    np.testing.assert_array_equal(there.numpy(), ours.predict(short.double()).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.r_[[[np.nan] * 3], np.ones((8, 3))]}, r"X contains NaN in 1 of 9 rows \(0\)"),
        ({"y": np.r_[np.ones(8), np.inf]}, r"y contains NaN or infinity in 1 of 9 bins \(8\)"),
        ({"y": np.ones(8)}, r"X has 9 bins and y the shape \(8,\)"),
        ({"groups": np.ones(8)}, "each bin needs its group"),
        ({"groups": np.r_[[1] * 4, [2] * 3, [1] * 2]}, "the bins of group 1 do not stand together"),
    ],
)
def test_what_cannot_be_decoded_is_refused_in_one_sentence(change, message):
    given = {"X": np.random.default_rng(0).random((9, 3)), "y": np.random.default_rng(1).random(9), "groups": None}
    with pytest.raises(ValueError, match=message):
        OptimalLinearDecoder().fit(**given | change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "each"}, "choose per_sample or total"),
        ({"solver": "svd"}, "choose auto, primal or dual"),
        ({"sigma": -1.0}, "not below zero"),
        ({"period": 0}, "period is 0: it must be above zero"),
        ({"period": (1, 2)}, "period has 2 entries for 1 variables"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OptimalLinearDecoder(**settings).fit(np.random.default_rng(0).random((9, 3)), np.arange(9.0))
