"""`KalmanFilter`: the textbook's loop, the Riccati equation, the joint Gaussian posterior, coverage."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag, solve_discrete_are

from probes.population import KalmanFilter


def simulated(lengths, n_neurons=12, seed=0, lag=0, noise=3.0):
    """Position and velocity of a damped oscillation, seen by linear neurons `lag` bins ahead; one group a length."""
    rng = np.random.default_rng(seed)
    A = np.array([[1.0, 0.3], [-0.1, 0.85]])
    H = np.random.default_rng(99).standard_normal((n_neurons, 2))
    xs, zs, groups = [], [], []
    for group, length in enumerate(lengths):
        x = np.zeros((length + 60 + abs(lag), 2))
        w = rng.standard_normal(x.shape) @ np.linalg.cholesky([[0.2, 0.1], [0.1, 0.3]]).T
        for t in range(1, len(x)):
            x[t] = A @ x[t - 1] + w[t]
        at = slice(30 + abs(lag), 30 + abs(lag) + length)
        xs.append(x[at] + [5, -2])
        seen = np.roll(x, -lag, 0)[at]
        zs.append(seen @ H.T + noise * rng.standard_normal((length, n_neurons)) + 7)
        groups.append(np.full(length, group))
    return np.concatenate(zs), np.concatenate(xs), np.concatenate(groups)


def textbook(kf, z, lag=0):
    """One group, a bin at a time, with the innovation's covariance inverted."""
    n, k = len(z), len(kf.mean_)
    x, P = np.zeros(k), kf.covariance_
    xs, Ps, priors = [], [], []
    for t in range(n):
        if t:
            x, P = kf.A_ @ x, kf.A_ @ P @ kf.A_.T + kf.W_
        priors.append(P)
        if 0 <= t - lag < n:
            S = kf.H_ @ P @ kf.H_.T + kf.Q_
            K = P @ kf.H_.T @ np.linalg.inv(S)
            x = x + K @ (z[t - lag] - kf.neuron_mean_ - kf.H_ @ x)
            P = (np.eye(k) - K @ kf.H_) @ P
        xs.append(x)
        Ps.append(P)
    return np.array(xs), np.array(Ps), np.array(priors)


def joint_posterior(kf, z, lag=0):
    """All states of one group at once: the Gaussian conditioned on every measurement."""
    n, k = len(z), len(kf.mean_)
    maps = [np.eye(k)]  # x_t = Σ A^(t-s) w_s, with w_0 the start
    for _ in range(n - 1):
        maps.append(kf.A_ @ maps[-1])
    L = np.block([[maps[t - s] if s <= t else np.zeros((k, k)) for s in range(n)] for t in range(n)])
    prior = L @ block_diag(kf.covariance_, *[kf.W_] * (n - 1)) @ L.T
    told = [t for t in range(n) if 0 <= t - lag < n]
    H = np.zeros((len(told) * len(kf.H_), n * k))
    for row, t in enumerate(told):
        H[row * len(kf.H_) : (row + 1) * len(kf.H_), t * k : (t + 1) * k] = kf.H_
    S = H @ prior @ H.T + block_diag(*[kf.Q_] * len(told))
    gain = np.linalg.solve(S, H @ prior).T
    seen = np.concatenate([z[t - lag] - kf.neuron_mean_ for t in told])
    cov = prior - gain @ H @ prior
    return (gain @ seen).reshape(n, k), np.stack([cov[t * k : (t + 1) * k, t * k : (t + 1) * k] for t in range(n)])


@pytest.mark.parametrize("lag", [0, 2, -2])
def test_it_is_the_textbooks_loop_group_by_group(lag):
    z, x, groups = simulated([200, 5, 90, 1, 2, 3], lag=lag)
    kf = KalmanFilter(lag).fit(z, x, groups)
    estimate, cov = kf.predict(z, groups, return_cov=True)
    for group in range(6):
        here = groups == group
        xs, Ps, _ = textbook(kf, z[here], lag)
        np.testing.assert_allclose(estimate[here], xs + kf.mean_, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(cov[here], Ps, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("lag", [0, 2, -2])
def test_the_smoother_is_the_joint_posterior(lag):
    z, x, groups = simulated([70, 5, 40, 1, 2], n_neurons=4, lag=lag)
    kf = KalmanFilter(lag, smooth=True).fit(z, x, groups)
    estimate, cov = kf.predict(z, groups, return_cov=True)
    for group in range(5):
        here = groups == group
        if here.sum() <= abs(lag):
            continue
        xs, Ps = joint_posterior(kf, z[here], lag)
        np.testing.assert_allclose(estimate[here], xs + kf.mean_, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(cov[here], Ps, rtol=1e-7, atol=1e-11)
    np.testing.assert_array_equal(KalmanFilter(lag).fit(z, x, groups).smoothed(z, groups), estimate)


def test_far_from_the_ends_the_covariance_solves_the_riccati_equation():
    z, x, _ = simulated([3000])
    kf = KalmanFilter().fit(z, x)
    steady = solve_discrete_are(kf.A_.T, kf.H_.T, kf.W_, kf.Q_)
    after = np.linalg.inv(np.linalg.inv(steady) + kf.H_.T @ np.linalg.solve(kf.Q_, kf.H_))
    np.testing.assert_allclose(kf.predict(z, return_cov=True)[1][-1], after, rtol=1e-8)


def test_the_law_of_motion_is_found_and_never_crosses_groups():
    z, x, groups = simulated([20] * 600)
    kf = KalmanFilter().fit(z, x, groups)
    np.testing.assert_allclose(kf.A_, [[1.0, 0.3], [-0.1, 0.85]], atol=0.03)
    np.testing.assert_allclose(kf.W_, [[0.2, 0.1], [0.1, 0.3]], atol=0.02)
    jumps = KalmanFilter().fit(z, x)
    assert jumps.W_[0, 0] > 1.3 * kf.W_[0, 0]
    order = np.random.default_rng(0).permutation(600)
    rows = np.concatenate([np.flatnonzero(groups == g) for g in order])
    np.testing.assert_allclose(KalmanFilter().fit(z[rows], x[rows], groups[rows]).A_, kf.A_, rtol=1e-9)
    np.testing.assert_allclose(kf.predict(z[rows], groups[rows]), kf.predict(z, groups)[rows], rtol=1e-9)


def test_intervals_cover_what_they_say_and_smoothing_narrows_them():
    z, x, groups = simulated([6000] * 4, noise=8.0)
    fit, test = groups < 2, groups >= 2
    kf = KalmanFilter().fit(z[fit], x[fit], groups[fit])
    missed = []
    for told in (kf.predict, kf.smoothed):
        estimate, std = told(z[test], groups[test], return_std=True)
        assert (np.abs((np.abs(estimate - x[test]) < 1.96 * std).mean(0) - 0.95) < 0.02).all()
        missed.append(((estimate - x[test]) ** 2).mean(0))
    assert (missed[1] < 0.9 * missed[0]).all()


def test_the_lag_at_which_neurons_lead_is_the_best():
    z, x, _ = simulated([3000], lag=3, noise=1.0)
    scores = {lag: KalmanFilter(lag).fit(z[:1500], x[:1500]).score(z[1500:], x[1500:]) for lag in (0, 2, 3, 4, -3)}
    assert max(scores, key=scores.get) == 3


def test_the_test_data_say_nothing_about_the_start():
    z, x, _ = simulated([400])
    kf = KalmanFilter().fit(z[:200], x[:200])
    blind = np.tile(kf.neuron_mean_, (3, 1))  # neurons that say "at the mean"
    np.testing.assert_allclose(kf.predict(blind)[0], x[:200].mean(0))
    np.testing.assert_allclose(kf.covariance_, np.cov(x[:200].T, bias=True))


def test_a_turning_head_is_a_vector():
    rng = np.random.default_rng(0)
    angle = np.cumsum(0.15 * rng.standard_normal(4000))
    degrees = np.rad2deg(angle) % 360
    counts = rng.poisson(2 * np.exp(np.cos(angle[:, None] - np.linspace(0, 2 * np.pi, 12, endpoint=False)) - 1))
    kf = KalmanFilter(period=360).fit(counts[:3000], degrees[:3000])
    estimate, std = kf.predict(counts[3000:], return_std=True)
    missed = (estimate - degrees[3000:] + 180) % 360 - 180
    assert kf.score(counts[3000:], degrees[3000:]) > 0.8
    assert abs((np.abs(missed) < 1.96 * std).mean() - 0.95) < 0.05


def test_silent_neurons_say_nothing_and_one_output_has_no_axis():
    z, x, groups = simulated([300, 300])
    with_silent = np.c_[z, np.zeros(600), np.full(600, 4.0)]
    kf = KalmanFilter().fit(with_silent, x, groups)
    assert kf.silent_.tolist() == [12, 13]
    np.testing.assert_allclose(kf.predict(with_silent, groups), KalmanFilter().fit(z, x, groups).predict(z, groups))
    one = KalmanFilter().fit(torch.from_numpy(z), torch.from_numpy(x[:, 0]))
    estimate, variance = one.predict(torch.from_numpy(z), return_cov=True)
    assert isinstance(estimate, torch.Tensor)
    assert estimate.shape == variance.shape == (600,)


def test_singular_noise_is_refused_or_drawn_to_its_diagonal():
    z, x, _ = simulated([400])
    twice = np.c_[z, z[:, 0]]
    with pytest.raises(ValueError, match="noise covariance of the 13 neurons is singular.*shrinkage above zero"):
        KalmanFilter().fit(twice, x)
    assert KalmanFilter(shrinkage=0.1).fit(twice, x).score(twice, x) > 0.5
    with pytest.raises(ValueError, match="shrinkage is 2"):
        KalmanFilter(shrinkage=2.0).fit(z, x)


def test_variables_that_depend_on_each_other_or_never_change_are_told_with_the_others():
    z, x, groups = simulated([200, 100])
    kf, more = KalmanFilter().fit(z, x, groups), KalmanFilter()
    more.fit(z, np.c_[x, 2 * x[:, 0], np.full(300, 3.0)], groups)
    for told, all_told in ((kf.predict, more.predict), (kf.smoothed, more.smoothed)):
        estimate, std = told(z, groups, return_std=True)
        found, spread = all_told(z, groups, return_std=True)
        np.testing.assert_allclose(found, np.c_[estimate, 2 * estimate[:, 0], np.full(300, 3.0)], rtol=1e-6)
        np.testing.assert_allclose(spread, np.c_[std, 2 * std[:, 0], np.zeros(300)], rtol=1e-5, atol=1e-7)


def test_groups_too_short_are_refused():
    z, x, groups = simulated([3] * 10)
    with pytest.raises(ValueError, match="0 bins at lag 4"):
        KalmanFilter(4).fit(z, x, groups)
    with pytest.raises(ValueError, match="lag is 1.5: it must be a whole number"):
        KalmanFilter().set_params(lag=1.5).fit(z, x, groups)
