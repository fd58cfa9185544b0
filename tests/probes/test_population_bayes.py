"""Decoders on a grid: against Bayes by explicit loops, hidden Markov models by brute force, and the Fisher bound."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm, poisson
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.population import GaussianBayes, KalmanFilter, PoissonBayes, TemplateDecoder
from probes.population.random_walk import step_kernel
from probes.tuning import TuningCurves, poisson_error_bound

CHECKED_TYPES = {
    "check_do_not_raise_errors_in_init_or_set_params": "these tests check the types of all parameters at run time"
}


@parametrize_with_checks(
    [PoissonBayes(), GaussianBayes(), TemplateDecoder()], expected_failed_checks=lambda _: CHECKED_TYPES
)
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def plane(n=600, d=2, neurons=7, seed=0, peak=30.0):
    """Counts in 0.1 s of place-like cells on a walk that never comes to one corner."""
    rng = np.random.default_rng(seed)
    x = np.abs(np.cumsum(rng.standard_normal((n, d)) * 0.08, axis=0) % 2 - 1)
    x = np.where((x > 0.75).all(1, keepdims=True), x - 0.25, x)
    centres = rng.uniform(0, 1, (neurons, d))
    rates = peak * np.exp(-((x[:, None] - centres) ** 2).sum(-1) / 0.08) + 0.5
    return rng.poisson(rates * 0.1), x


def exact(curves, i, k, pseudo=1.0):
    """The expected count of a neuron in a bin, from the curve and its Gamma prior."""
    seen = np.where(np.isnan(curves.rates[i]), 0, curves.rates[i]) * curves.occupancy
    mean = seen.sum() / curves.occupancy.sum()
    return (
        (seen.ravel()[k] + pseudo * curves.dt * mean) / (curves.occupancy.ravel()[k] + pseudo * curves.dt) * curves.dt
    )


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("prior", ["occupancy", "uniform"])
def test_the_poisson_posterior_is_bayes_by_loops(d, prior):
    X, x = plane(d=d)
    decoder = PoissonBayes((8, 6, 4)[:d], dt=0.1, prior=prior, range=[(0, 1)] * d).fit(X, x)
    curves, found = decoder.curves_, decoder.posterior(X[:5])
    assert found.shape == (5, *curves.shape)
    for row in range(5):
        logs = np.full(curves.occupancy.size, -np.inf)
        for k in np.flatnonzero(curves.occupancy.ravel() > 0):
            logs[k] = np.log(curves.probability.ravel()[k]) if prior == "occupancy" else 0
            for i in range(7):
                logs[k] += poisson.logpmf(X[row, i], exact(curves, i, k))
        p = np.exp(logs - logs.max())
        np.testing.assert_allclose(found[row].ravel(), p / p.sum(), atol=1e-12)


def test_bins_nobody_visited_have_no_probability_and_the_rest_sums_to_one():
    X, x = plane()
    decoder = PoissonBayes(10, dt=0.1, range=[(0, 1)] * 2).fit(X, x)
    unvisited = decoder.curves_.occupancy == 0
    assert unvisited.sum() > 3
    for settings in ({}, {"continuity": "fit"}, {"continuity": 0.1, "smooth": True}):
        p = decoder.set_params(**settings).fit(X, x).posterior(X)
        assert (p[:, unvisited] == 0).all()
        np.testing.assert_allclose(p.sum((1, 2)), 1)


def test_mean_mode_and_covariance_are_those_of_the_posterior():
    X, x = plane()
    decoder = PoissonBayes((8, 6), dt=0.1).fit(X, x)
    p = decoder.posterior(X[:20]).reshape(20, -1)
    grid, width = decoder.curves_.grid, [edge[1] - edge[0] for edge in decoder.curves_.edges]
    mean, covariance = decoder.predict(X[:20], return_cov=True)
    _, std = decoder.predict(X[:20], return_std=True)
    for row in range(20):
        np.testing.assert_allclose(mean[row], p[row] @ grid)
        # Within a bin all values are equally likely.
        wanted = np.cov(grid.T, aweights=p[row], bias=True) + np.diag(np.square(width)) / 12
        np.testing.assert_allclose(covariance[row], wanted, atol=1e-12)
        np.testing.assert_allclose(std[row], np.sqrt(np.diag(wanted)))
    mode = decoder.set_params(estimate="mode").predict(X[:20])
    np.testing.assert_allclose(mode, grid[p.argmax(1)])


def test_the_spread_of_a_mode_is_that_of_what_may_be_true_about_it():
    X, x = plane()
    x = np.c_[x[:, 0], 360 * x[:, 1]]
    decoder = PoissonBayes((8, 6), dt=0.1, period=(None, 360), estimate="mode").fit(X, x)
    p, grid = decoder.posterior(X[:20]).reshape(20, -1), decoder.curves_.grid
    mode, covariance = decoder.predict(X[:20], return_cov=True)
    _, std = decoder.predict(X[:20], return_std=True)
    missed, turned = grid[:, 0] - mode[:, :1], np.deg2rad(grid[:, 1] - mode[:, 1:])
    width, within = decoder.curves_.edges[0][1] - decoder.curves_.edges[0][0], np.sinc(1 / 6)
    np.testing.assert_allclose(std[:, 0], np.sqrt((p * missed**2).sum(1) + width**2 / 12))
    around = np.rad2deg(np.sqrt(-2 * np.log((p * np.cos(turned)).sum(1) * within)))
    np.testing.assert_allclose(std[:, 1], around)
    rho = (p * missed * np.sin(turned)).sum(1) / np.sqrt((p * np.sin(turned) ** 2).sum(1))
    whole = np.rad2deg(np.sqrt(-2 * np.log((p * np.cos(turned)).sum(1))))
    np.testing.assert_allclose(covariance[:, 0, 1], rho * whole)
    _, about_mean = decoder.set_params(estimate="mean").predict(X[:20], return_std=True)
    assert (std[:, 0] >= about_mean[:, 0] - 1e-12).all()
    assert (std[:, 0] > 1.1 * about_mean[:, 0]).any()


def ring(neurons=16, bins=60, peak=30.0, dt=0.1, low=0.0, period=2 * np.pi):
    edges = np.linspace(low, low + period, bins + 1)
    at = (edges[1:] + edges[:-1]) / 2
    turn = 2 * np.pi / period
    preferred = np.arange(neurons) * 2 * np.pi / neurons
    rates = peak * np.exp(3 * (np.cos(turn * at - preferred[:, None]) - 1))
    return TuningCurves(rates, np.full(bins, 1e6), (edges,), (period,), dt)


@pytest.mark.parametrize("low", [0.0, -180.0])
def test_a_circular_mean_goes_round_the_edge_and_its_spread_is_circular(low):
    curves = ring(low=low, period=360.0)
    decoder = PoissonBayes.from_curves(curves, prior="uniform")
    X = np.random.default_rng(0).poisson(curves.rates[:, [0, 1, 58, 59]].T * 0.1)
    mean, std = decoder.predict(X, return_std=True)
    p, grid = decoder.posterior(X), np.deg2rad(curves.grid[:, 0])
    vector = p @ np.exp(1j * grid)
    difference = np.rad2deg(np.angle(vector * np.exp(-1j * np.deg2rad(mean))))
    np.testing.assert_allclose(difference, 0, atol=1e-9)
    within = np.sin(np.pi / 60) / (np.pi / 60)
    np.testing.assert_allclose(std, np.rad2deg(np.sqrt(-2 * np.log(np.abs(vector) * within))))
    assert ((mean >= low) & (mean < low + 360)).all()


def test_place_and_heading_are_decoded_together():
    rng = np.random.default_rng(1)
    n = 4000
    x = np.stack([rng.uniform(0, 1, n), rng.uniform(-np.pi, np.pi, n)], axis=1)
    centre, preferred = rng.uniform(0, 1, 40), rng.uniform(-np.pi, np.pi, 40)
    rates = 40 * np.exp(-((x[:, :1] - centre) ** 2) / 0.05 + 2 * np.cos(x[:, 1:] - preferred) - 2)
    X = rng.poisson(rates * 0.2)
    decoder = PoissonBayes((10, 12), dt=0.2, period=(None, 2 * np.pi)).fit(X[:3000], x[:3000])
    assert decoder.score(X[3000:], x[3000:]) > 0.9
    mean, covariance = decoder.predict(X[3000:], return_cov=True)
    error = mean - x[3000:]
    error[:, 1] = np.angle(np.exp(1j * error[:, 1]))
    z = error / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert ((z.std(0) > 0.8) & (z.std(0) < 1.25)).all()
    assert (np.linalg.eigvalsh(covariance) > 0).all()


@pytest.mark.parametrize("smooth", [False, True])
def test_continuity_is_the_hidden_markov_model_by_brute_force(smooth, monkeypatch):
    X, x = plane(n=400, neurons=3)
    groups = np.repeat([5, 2, 9], [4, 1, 3])
    decoder = PoissonBayes((3, 2), dt=0.1, range=[(0, 1)] * 2, continuity=0.2, jump=0.01, smooth=smooth).fit(X, x)
    bins = decoder.visited_
    assert len(bins) == 5  # one is a hole, into which no step leads
    for n_bytes in (1 << 20, 1):  # in one block, and step by step
        monkeypatch.setattr("probes.population.bayes.CHUNK_BYTES", n_bytes)
        found = decoder.posterior(X[:8], groups).reshape(8, 6)[:, bins]
        kernel = np.kron(step_kernel(3, 1 / 3, 0.2, False), step_kernel(2, 1 / 2, 0.2, False))
        kernel = kernel[np.ix_(bins, bins)]
        step = 0.99 * kernel / kernel.sum(0) + 0.01 * decoder.prior_[:, None]
        for run in (slice(0, 4), slice(4, 5), slice(5, 8)):
            n = run.stop - run.start
            likelihood = [
                [np.prod([poisson.pmf(X[t, i], exact(decoder.curves_, i, k)) for i in range(3)]) for k in bins]
                for t in range(run.start, run.stop)
            ]
            wanted = np.zeros((n, len(bins)))
            for last in [n] if smooth else range(1, n + 1):
                for path in itertools.product(range(len(bins)), repeat=last):
                    p = decoder.prior_[path[0]] * likelihood[0][path[0]]
                    for t in range(1, last):
                        p *= step[path[t], path[t - 1]] * likelihood[t][path[t]]
                    for t in range(n) if smooth else [last - 1]:
                        wanted[t, path[t]] += p
            np.testing.assert_allclose(found[run], wanted / wanted.sum(1, keepdims=True), rtol=1e-9)


def test_groups_of_any_number_and_length_are_stepped_side_by_side_as_if_alone(monkeypatch):
    X, x = plane(n=300)
    groups = np.repeat(np.arange(6), [80, 20, 100, 1, 59, 40])
    decoder = PoissonBayes(6, dt=0.1, continuity="fit", smooth=True).fit(X, x, groups)
    whole = decoder.predict(X, groups)
    for group in range(6):
        np.testing.assert_allclose(decoder.predict(X[groups == group]), whole[groups == group])
    monkeypatch.setattr("probes.population.bayes.CHUNK_BYTES", 36 * 8 * 40)  # two groups at once
    np.testing.assert_allclose(decoder.predict(X, groups), whole)


@pytest.mark.parametrize("width", [0.02, 0.5, 1.0])
def test_a_step_is_as_large_as_it_is_said_to_be_whatever_the_bins(width):
    for sigma in (0.003, 0.05, 0.8):
        kernel, size = step_kernel(801, width, sigma, False)[400], (np.arange(801) - 400) * width
        np.testing.assert_allclose([kernel.sum(), kernel @ size, kernel @ size**2], [1, 0, sigma**2], atol=1e-12)
    far = step_kernel(801, width, 20 * width, False)[400]
    np.testing.assert_allclose(far, norm.pdf(size, scale=20 * width) * width, atol=1e-4 * far.max() * 20)


def test_many_small_steps_are_one_large_one():
    small = step_kernel(81, 1.0, 0.05, False)
    many = np.linalg.matrix_power(small, 400)[40]
    rng = np.random.default_rng(2)
    walked = (0.05 * rng.standard_normal((400, 20_000))).sum(0)
    assert many @ (np.arange(81) - 40) ** 2 == pytest.approx(walked.var(), rel=0.03)
    np.testing.assert_allclose(many, step_kernel(81, 1.0, 1.0, False)[40], atol=1e-12)


def test_steps_round_a_circle_lead_back_to_where_it_began():
    far = step_kernel(8 * 41, 0.5, 2.0, False)[8 * 20]
    np.testing.assert_allclose(step_kernel(8, 0.5, 2.0, True)[0], far.reshape(-1, 8).sum(0), atol=1e-12)
    np.testing.assert_allclose(step_kernel(8, 0.5, 1e9, True), 1 / 8)
    for circular in (False, True):
        np.testing.assert_allclose(step_kernel(4, 0.5, 0.0, circular), np.eye(4), atol=1e-15)
        assert (step_kernel(1, 0.5, 2.0, True) == 1).all()


def test_a_walk_slower_than_its_bins_is_followed_with_an_honest_uncertainty():
    rng = np.random.default_rng(1)
    start = rng.uniform(0, 1, (200, 1))
    x = np.abs((start + np.cumsum(rng.normal(0, 0.003, (200, 400)), axis=1) + 1) % 2 - 1).ravel()
    X = rng.poisson(0.02 + 0.4 * np.exp(-((x[:, None] - np.linspace(0, 1, 20)) ** 2) / 0.01))
    groups, known = np.repeat(np.arange(200), 400), slice(0, 40_000)
    decoder = PoissonBayes(50, continuity="fit", range=(0, 1)).fit(X[known], x[known], groups[known])
    estimate, std = decoder.predict(X[40_000:], groups[40_000:], return_std=True)
    missed = estimate - x[40_000:]
    assert 0.95 < np.sqrt((missed**2).mean() / (std**2).mean()) < 1.05
    assert abs((np.abs(missed) < 1.96 * std).mean() - 0.95) < 0.01


def test_continuity_is_learned_within_groups_and_round_the_circle():
    angle = np.array([350, 358, 6, 200, 208, 216.0])
    X = np.random.default_rng(3).poisson(2, (6, 4))
    groups = [0, 0, 0, 1, 1, 1]
    decoder = PoissonBayes(8, period=360.0, continuity="fit").fit(X, angle, groups)
    np.testing.assert_allclose(decoder.continuity_, 8)
    with pytest.raises(ValueError, match="no group has two time bins in a row"):
        PoissonBayes(8, period=360.0, continuity="fit").fit(X, angle, np.arange(6))


def test_later_time_bins_help_and_earlier_ones_help_less_than_both():
    X, x = plane(n=6000, neurons=20, peak=15.0)
    error = {}
    for name, settings in {
        "alone": {},
        "filter": {"continuity": "fit"},
        "smoother": {"continuity": "fit", "smooth": True},
    }.items():
        decoder = PoissonBayes(12, dt=0.1, range=[(0, 1)] * 2, **settings).fit(X[:4000], x[:4000])
        error[name] = np.sqrt(((decoder.predict(X[4000:]) - x[4000:]) ** 2).mean())
    assert error["smoother"] < 0.95 * error["filter"] < 0.9 * error["alone"]


def test_no_log_of_zero_where_a_silent_neuron_fires_and_no_underflow_of_a_thousand():
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 1, 500)
    X = rng.poisson(np.where(x[:, None] < np.linspace(0.1, 0.9, 1000), 8.0, 0.0))
    X[:, 0] = 0
    with pytest.warns(UserWarning, match="left out"):
        decoder = PoissonBayes(10, continuity="fit").fit(X, x)
    strange = X[:3].copy()
    strange[:, 0] = 50
    strange[1] = 40
    with np.errstate(all="raise", under="ignore"):
        estimate, std = decoder.predict(strange, return_std=True)
    assert np.isfinite(estimate).all()
    assert np.isfinite(std).all()
    np.testing.assert_allclose(decoder.predict(X[:3])[0], estimate[0])


def test_a_leap_that_the_walk_does_not_expect_is_followed():
    curves = ring(neurons=200, bins=100)
    bins = np.repeat([10, 60], 10)
    X = np.random.default_rng(5).poisson(curves.rates[:, bins].T * 0.1)
    for smooth in (False, True):
        decoder = PoissonBayes.from_curves(curves, continuity=0.01, smooth=smooth)
        np.testing.assert_allclose(decoder.predict(X), curves.centres[0][bins], atol=0.1)


def test_maximum_likelihood_reaches_the_fisher_bound_and_the_population_vector_does_not():
    narrow = ring(neurons=24, bins=720, peak=60.0, dt=0.5)
    curves = TuningCurves(narrow.rates + 10, narrow.occupancy, narrow.edges, narrow.period, 0.5)
    rng = np.random.default_rng(6)
    truth = rng.uniform(0, 2 * np.pi, 4000)
    preferred = np.arange(24) * 2 * np.pi / 24
    X = rng.poisson(5 + 30.0 * np.exp(3 * (np.cos(truth[:, None] - preferred) - 1)))
    bound = poisson_error_bound(curves, 0.5).mean()
    likeliest = PoissonBayes.from_curves(curves, prior="uniform", estimate="mode").predict(X)
    vector = np.angle(X @ np.exp(1j * preferred))
    error = [np.angle(np.exp(1j * (found - truth))).std() / bound for found in (likeliest, vector)]
    assert 0.95 < error[0] < 1.05
    assert error[1] > 1.1


@pytest.mark.parametrize("covariance", ["shared", "bins"])
def test_the_gaussian_posterior_is_bayes_by_loops(covariance):
    rng = np.random.default_rng(7)
    edges = (np.linspace(0, 1, 5), np.linspace(0, 1, 4))
    curves = TuningCurves(rng.standard_normal((3, 4, 3)), rng.gamma(2, 1, (4, 3)), edges, (None, None), 0.5)
    factor = rng.standard_normal((3, 3))
    noise = factor @ factor.T + 0.1 * np.eye(3) if covariance == "shared" else rng.gamma(2, 1, (3, 12))
    decoder = GaussianBayes.from_curves(curves, noise, covariance=covariance)
    X = rng.standard_normal((6, 3))
    for row, found in enumerate(decoder.posterior(X).reshape(6, 12)):
        p = np.empty(12)
        for k in range(12):
            mean = 0.5 * curves.flat[:, k]
            if covariance == "shared":
                p[k] = multivariate_normal.pdf(X[row], mean, noise)
            else:
                p[k] = norm.pdf(X[row], mean, np.sqrt(noise[:, k])).prod()
            p[k] *= curves.probability.ravel()[k]
        np.testing.assert_allclose(found, p / p.sum())


def test_correlated_noise_is_used_and_the_uncertainty_is_honest():
    rng = np.random.default_rng(8)
    x = rng.uniform(0, 1, 6000)
    signal = np.stack([np.sin(4 * x), np.cos(3 * x), x**2, -x], axis=1) / 2
    X = signal + 0.3 * rng.standard_normal((6000, 1)) + 0.05 * rng.standard_normal((6000, 4))
    errors = []
    for covariance in ("shared", "bins"):
        decoder = GaussianBayes(30, covariance=covariance, dt=0.02).fit(X[:4000], x[:4000])
        estimate, std = decoder.predict(X[4000:], return_std=True)
        errors.append(estimate - x[4000:])
        if covariance == "shared":
            assert 0.9 < (errors[0] / std).std() < 1.1
    assert errors[0].std() < 0.5 * errors[1].std()


@pytest.mark.parametrize("covariance", ["shared", "bins"])
@pytest.mark.parametrize("smoothing", [None, 0.05])
def test_means_of_few_time_bins_take_no_noise_away(covariance, smoothing):
    rng = np.random.default_rng(0)
    x, cells = rng.uniform(0, 1, (1000, 2)), rng.uniform(0, 1, (30, 2))
    X = np.exp(-((x[:, None] - cells) ** 2).sum(2) / 0.08) + 0.5 * rng.standard_normal((1000, 30))
    decoder = GaussianBayes(20, covariance=covariance, smoothing=smoothing).fit(X, x)
    assert len(decoder.visited_) > 300
    noise = np.diag(decoder.noise_) if covariance == "shared" else decoder.noise_
    assert noise.mean() == pytest.approx(0.25, rel=0.1)
    if covariance == "shared" and smoothing is None:  # nothing but means: an unbiased estimate
        decoder = GaussianBayes(20, pseudo_bins=0.0, shrinkage=0.0).fit(X, x)
        assert np.diag(decoder.noise_).mean() == pytest.approx(0.25, rel=0.02)


def test_neurons_that_depend_on_each_other_are_refused_and_other_units_are_not():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.uniform(0, 1, 400)
        X = np.exp(-((x[:, None] - np.linspace(0, 1, 2 + seed % 12)) ** 2) / 0.02)
        X += 0.3 * rng.standard_normal(X.shape)
        for more in (X[:, :1], X @ rng.standard_normal((X.shape[1], 1)) * 10.0 ** rng.uniform(-6, 6)):
            for decoder in (GaussianBayes(20, shrinkage=0.0), KalmanFilter()):
                with pytest.raises(ValueError, match="is singular"):
                    decoder.fit(np.c_[X, more], x)
        units = X * 10.0 ** rng.uniform(-8, 8, X.shape[1])
        for decoder in (GaussianBayes(20, shrinkage=0.0), KalmanFilter()):
            np.testing.assert_allclose(decoder.fit(units, x).predict(units), clone(decoder).fit(X, x).predict(X))


def test_a_variance_that_changes_tells_where_the_mean_does_not():
    rng = np.random.default_rng(9)
    x = rng.uniform(0, 1, 4000)
    X = rng.standard_normal((4000, 40)) * (0.5 + 2 * x[:, None])
    r2 = [GaussianBayes(15, covariance=c).fit(X[:3000], x[:3000]).score(X[3000:], x[3000:]) for c in ("bins", "shared")]
    assert r2[0] > 0.8
    assert r2[1] < 0.3


@pytest.mark.parametrize("metric", ["euclidean", "correlation", "cosine"])
def test_the_template_is_the_nearest_by_loops(metric):
    from scipy.spatial.distance import cdist

    X, x = plane()
    decoder = TemplateDecoder(6, metric=metric, dt=0.1).fit(X, x)
    visited = decoder.curves_.visited.ravel()
    distance = cdist(X[:50] * 1.0, decoder.curves_.flat[:, visited].T * 0.1, metric)
    seen = X[:50].any(1)
    np.testing.assert_allclose(decoder.predict(X[:50])[seen], decoder.curves_.grid[visited][distance.argmin(1)][seen])


@pytest.mark.parametrize("metric", ["euclidean", "correlation", "cosine"])
def test_the_templates_uncertainty_is_honest(metric):
    X, x = plane(n=6000, neurons=40)
    train = np.arange(6000) // 200 % 2 == 0
    decoder = TemplateDecoder(15, metric=metric, dt=0.1, estimate="mean").fit(X[train], x[train])
    estimate, std = decoder.predict(X[~train], return_std=True)
    assert 0.7 < ((estimate - x[~train]) / std).std() < 1.4


@pytest.mark.parametrize("estimate", ["mode", "mean"])
def test_the_templates_intervals_cover_what_they_say_of_bins_that_were_seldom_visited_too(estimate):
    rng = np.random.default_rng(3)
    cells = rng.uniform(0, 1, (40, 2))
    x, held_out = rng.uniform(0, 1, (2, 2500, 2))
    X, new = (rng.poisson(2 * np.exp(-((at[:, None] - cells) ** 2).sum(2) / 0.045)) for at in (x, held_out))
    told, std = TemplateDecoder(20, estimate=estimate).fit(X, x).predict(new, return_std=True)
    np.testing.assert_allclose((np.abs(told - held_out) < 1.96 * std).mean(0), 0.95, atol=0.03)


def test_tensors_come_back_as_tensors():
    X, x = plane()
    for decoder in (PoissonBayes(6), GaussianBayes(6), TemplateDecoder(6)):
        plain = decoder.fit(X, x).predict(X)
        estimate, std = decoder.fit(torch.from_numpy(X), torch.from_numpy(x)).predict(
            torch.from_numpy(X), return_std=True
        )
        assert isinstance(estimate, torch.Tensor)
        assert isinstance(std, torch.Tensor)
        np.testing.assert_allclose(estimate.numpy(), plain)
    assert isinstance(decoder.posterior(torch.from_numpy(X)), torch.Tensor)


X, Y = plane(n=50)


@pytest.mark.parametrize(
    ("decoder", "changed", "message"),
    [
        (PoissonBayes(4), {"X": -X}, "Negative values"),
        (PoissonBayes(4), {"y": np.where(Y > 0.5, np.nan, Y)}, "NaN or infinity"),
        (PoissonBayes(4), {"y": Y[:9]}, "X has 50 bins and y the shape"),
        (PoissonBayes(4, range=[(0, 0.2)] * 2), {}, "x lies outside the range 0 to 0.2"),
        (PoissonBayes(4), {"X": np.ones((50, 3))}, "nothing to decode"),
        (PoissonBayes(4, pseudo_bins=0.0), {}, "a spike could be impossible"),
        (PoissonBayes(4, prior="flat"), {}, "choose occupancy or uniform"),
        (PoissonBayes(4, prior=np.ones(4)), {}, r"it must be \(4, 4\), finite, and not negative"),
        (PoissonBayes(4, prior=np.zeros((4, 4))), {}, "zero in every bin"),
        (PoissonBayes(4, smooth=True), {}, "smooth needs a continuity"),
        (PoissonBayes(4, continuity="learn"), {}, "give a standard deviation, 'fit', or None"),
        (PoissonBayes(4, continuity=-1.0), {}, "one standard deviation, or one for each of 2 axes"),
        (PoissonBayes(4, jump=0.0), {}, "above 0 and below 1"),
        (PoissonBayes(4, estimate="median"), {}, "choose mean or mode"),
        (PoissonBayes(4, min_occupancy=1e9), {}, "take fewer bins, or ask for less time"),
        (GaussianBayes(4, covariance="full"), {}, "choose shared or bins"),
        (GaussianBayes(4, shrinkage=2.0), {}, "between 0 and 1"),
        (GaussianBayes(2, shrinkage=0.0), {"X": np.repeat(X, 2, axis=1)}, "the covariance of the noise is singular"),
        (GaussianBayes(4, pseudo_bins=-1.0), {}, "must not be below zero"),
        (TemplateDecoder(4, metric="manhattan"), {}, "choose euclidean, correlation or cosine"),
    ],
)
def test_what_cannot_be_decoded_is_refused_in_one_sentence(decoder, changed, message):
    with pytest.raises(ValueError, match=message):
        decoder.fit(**({"X": X, "y": Y} | changed))


def test_given_curves_that_cannot_be_used_are_refused():
    curves = ring()
    with pytest.raises(ValueError, match="needs training data"):
        PoissonBayes.from_curves(curves, continuity="fit")
    below = TuningCurves(curves.rates - 20, curves.occupancy, curves.edges, curves.period, 0.1)
    with pytest.raises(ValueError, match="rates below zero"):
        PoissonBayes.from_curves(below)
    with pytest.raises(ValueError, match=r"it must be \(16, 16\)"):
        GaussianBayes.from_curves(curves, np.ones((3, 3)))
    with pytest.raises(ValueError, match="squared distance above zero"):
        TemplateDecoder.from_curves(curves, 0.0)
    with pytest.raises(ValueError, match="expecting 16 features"):
        PoissonBayes.from_curves(curves).predict(np.ones((4, 3)))
