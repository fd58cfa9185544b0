"""Mixed selectivity by analysis of variance, signal and noise correlations, Fano factors, explained variance."""

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway, kstest

from probes.tuning import (
    encoding_r2,
    fano_factors,
    mixed_selectivity,
    noise_ceiling,
    noise_correlations,
    signal_correlations,
    tuning_curves,
)


def crossed(repeats=40, sizes=(3, 4), seed=0):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))
    conditions = np.repeat(grid, repeats, axis=0)
    return conditions[rng.permutation(len(conditions))], rng


def test_each_kind_of_unit_is_told_and_its_variance_found():
    conditions, rng = crossed()
    a, b = conditions.T
    signal = np.stack([0 * a, a - 1.0, (a - 1.0) + (b - 1.5), (a - 1.0) * (b - 1.5)], axis=1)
    X = signal + 0.5 * rng.standard_normal(signal.shape)
    found = mixed_selectivity(X, conditions)
    assert found.kinds().tolist() == ["none", "pure", "linear", "non-linear"]
    np.testing.assert_allclose(found.effects[2], [2 / 3, 1.25], rtol=0.1)
    np.testing.assert_allclose(found.interaction[3], 2 / 3 * 1.25, rtol=0.1)
    np.testing.assert_allclose(found.noise, 0.25, rtol=0.15)
    np.testing.assert_allclose(found.share[2], [0.35, 0.65, 0], atol=0.03)
    tensors = mixed_selectivity(torch.from_numpy(X), conditions.astype(str))
    np.testing.assert_allclose(tensors.effects, found.effects)


def test_without_any_effect_components_average_to_zero_and_p_values_are_uniform():
    conditions, rng = crossed(repeats=3)
    keep = np.arange(len(conditions)) > 4  # numbers of trials that differ a little
    found = mixed_selectivity(rng.standard_normal((len(conditions), 3000))[keep], conditions[keep])
    assert np.abs(found.effects.mean(0)).max() < 0.01
    assert abs(found.interaction.mean()) < 0.01
    for p in (*found.p_effects.T, found.p_interaction):
        assert kstest(p, "uniform").statistic < 0.05


def test_the_effect_of_a_variable_is_a_one_way_analysis_where_the_other_says_nothing():
    conditions, rng = crossed(repeats=200, sizes=(3, 2))
    X = rng.standard_normal((len(conditions), 1)) + 0.1 * conditions[:, :1]
    wanted = f_oneway(*(X[conditions[:, 0] == k, 0] for k in range(3))).pvalue
    assert mixed_selectivity(X, conditions).p_effects[0, 0] == pytest.approx(wanted, rel=0.2)


def test_three_variables_may_interact():
    conditions, rng = crossed(repeats=10, sizes=(2, 2, 2))
    X = (-1.0) ** conditions.sum(1)[:, None] + 0.3 * rng.standard_normal((80, 1))
    found = mixed_selectivity(X, conditions)
    assert found.interaction[0] == pytest.approx(1, rel=0.15)
    assert np.abs(found.effects).max() < 0.05


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 3.3, 1e6 + 0.1, -1e-9])
def test_rounding_is_no_effect(value):
    conditions = crossed(repeats=7, sizes=(2, 3))[0]
    pure = 1e3 * value * conditions[:, 0] + value
    found = mixed_selectivity(np.stack([np.full(42, value), pure], axis=1), conditions)
    assert found.kinds().tolist() == ["none", "pure" if value else "none"]
    assert np.isnan(found.share[0]).all()
    np.testing.assert_array_equal(found.p_effects[0], 1)
    assert found.p_interaction[0] == 1


@pytest.mark.parametrize(
    ("X", "conditions", "message"),
    [
        (np.ones((6, 2)), np.zeros((6, 1)), "two variables or more"),
        (np.ones((6, 2)), np.zeros((5, 2)), "of the same trials"),
        (np.ones((4, 2)), np.array([[0, 0], [0, 1], [0, 0], [0, 1]]), "variable 0 has one value only"),
        (np.ones((4, 2)), np.array([[0, 0], [0, 1], [1, 0], [1, 0]]), "no trial combines 1, 1"),
        (np.ones((4, 2)), np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), "every combination has one trial"),
        (np.full((4, 2), np.nan), np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), "NaN"),
    ],
)
def test_designs_that_cannot_be_split_are_refused(X, conditions, message):
    with pytest.raises(ValueError, match=message):
        mixed_selectivity(X, conditions)


def test_noise_correlations_are_those_that_trials_share_whatever_the_tuning():
    rng = np.random.default_rng(1)
    stimulus = rng.integers(0, 6, 6000)
    covariance = np.array([[1, 0.3, 0], [0.3, 1, -0.4], [0, -0.4, 1]])
    noise = rng.multivariate_normal(np.zeros(3), covariance, 6000) * (1 + stimulus[:, None])
    X = 50 * np.sin(stimulus)[:, None] + noise
    np.testing.assert_allclose(noise_correlations(X, stimulus), covariance, atol=0.05)
    assert np.corrcoef(X.T)[0, 2] > 0.9
    with_constant = np.concatenate([X, stimulus[:, None] * 2.0], axis=1)
    assert np.isnan(noise_correlations(with_constant, stimulus)[3]).all()


@pytest.mark.parametrize("trials", [2, 3, 10, 60, 10_000])
def test_few_trials_of_each_stimulus_make_noise_correlations_no_smaller(trials):
    rng = np.random.default_rng(5)
    n = 20_000
    X = rng.multivariate_normal(np.zeros(2), [[1, 0.5], [0.5, 1]], n)
    stimulus = rng.permutation(np.arange(n) // trials)
    assert noise_correlations(X + np.sin(stimulus)[:, None], stimulus)[0, 1] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("trials", [4, 20])
def test_neurons_whose_variances_rise_at_different_stimuli_are_as_correlated_as_within_each(trials):
    rng = np.random.default_rng(8)
    stimulus = np.repeat(np.arange(600), trials)
    spread = np.sqrt(0.5 + 10 * np.exp(-((stimulus[:, None] % 40 - np.array([10, 30])) ** 2) / 50))
    X = rng.multivariate_normal(np.zeros(2), [[1, 0.3], [0.3, 1]], len(stimulus)) * spread
    assert noise_correlations(X, stimulus)[0, 1] == pytest.approx(0.3, abs=0.06)


def test_a_stimulus_in_which_a_neuron_is_silent_tells_nothing_of_its_correlations():
    rng = np.random.default_rng(6)
    z, stimulus = rng.standard_normal(600), np.repeat(["a", "b", "c"], [300, 298, 2])
    X = np.stack([5 + z, np.where(stimulus == "a", 0.1, 5 + z), np.where(stimulus == "a", z, 0.1)], axis=1)
    X[-2:] = 0.1
    found = noise_correlations(X, stimulus)
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found[0, 1:], 1)
    assert np.isnan(found[1, 2])  # never together
    once = np.concatenate([X, rng.standard_normal((1, 3))])
    np.testing.assert_array_equal(noise_correlations(once, [*stimulus, "once"]), found)


def test_the_ceiling_is_the_r2_of_the_true_means():
    rng = np.random.default_rng(7)
    stimulus = rng.integers(0, 300, 3000)
    gain = np.array([0.0, 0.3, 1.0, 3.0])
    told = 2 + gain * (1 + np.sin(stimulus))[:, None]
    true_r2, ceilings, poisson = [], [], []
    for _ in range(200):
        X = rng.poisson(told)
        true_r2.append(1 - ((X - told) ** 2).sum(0) / ((X - X.mean(0)) ** 2).sum(0))
        ceilings.append(noise_ceiling(X, stimulus))
        poisson.append(noise_ceiling(X))
    np.testing.assert_allclose(np.mean(ceilings, axis=0), np.mean(true_r2, axis=0), atol=0.005)
    np.testing.assert_allclose(np.mean(poisson, axis=0), np.mean(true_r2, axis=0), atol=0.007)
    assert np.mean(ceilings, axis=0)[3] > 0.4
    shown = np.array([np.arange(4.0), np.arange(4.0), np.ones(4)]).T  # no noise, no signal, nothing at all
    one_by_one = np.repeat(shown, 2, axis=0)
    one_by_one[:, 1] = np.tile([0.0, 1.0], 4)
    found = noise_ceiling(one_by_one, np.repeat(np.arange(4), 2))
    assert found[0] == 1
    assert found[1] < 0
    assert np.isnan(found[2])
    with pytest.raises(ValueError, match="counts are negative: Poisson"):
        noise_ceiling(-X)
    with pytest.raises(ValueError, match="no stimulus has two trials"):
        noise_ceiling(X[:2], [0, 1])


def test_signal_correlations_are_those_of_the_curves():
    x = np.random.default_rng(2).uniform(0, 1, 3000)
    X = np.stack([x, -x, (x - 0.5) ** 2, np.ones(3000)], axis=1)
    curves = tuning_curves(X, x, n_bins=12, range=(0, 1.2), dt=1.0)
    found = signal_correlations(curves)
    np.testing.assert_allclose(found[0, 1], -1)
    assert abs(found[0, 2]) < 0.05
    assert np.isnan(found[3]).all()
    with pytest.raises(ValueError, match="no bin has a rate of every neuron"):
        signal_correlations(tuning_curves(X, x, n_bins=12, dt=1.0, min_occupancy=1e6))


def test_fano_factors_of_poisson_counts_are_one_and_of_counts_that_do_not_vary_zero():
    rng = np.random.default_rng(3)
    stimulus = np.repeat([2, 7], 4000)
    X = np.stack([rng.poisson(3 * stimulus), stimulus, 0 * stimulus], axis=1)
    found = fano_factors(X, stimulus)
    np.testing.assert_allclose(found[:, 0], 1, atol=0.06)
    np.testing.assert_array_equal(found[:, 1], 0)
    assert np.isnan(found[:, 2]).all()
    with pytest.raises(ValueError, match="counts are negative"):
        fano_factors(-X, stimulus)
    with pytest.raises(ValueError, match="no stimulus has two trials"):
        fano_factors(X[:2], [0, 1])
    with pytest.raises(ValueError, match="each needs its stimulus"):
        noise_correlations(X, stimulus[:5])


def test_explained_variance_is_that_of_held_out_rows():
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 1, 4000)
    X = np.stack([np.sin(9 * x) + 0.5 * rng.standard_normal(4000), rng.standard_normal(4000), np.ones(4000)], axis=1)
    curves = tuning_curves(X[:2000], x[:2000], n_bins=40, range=(0, 1), dt=0.02)
    found = encoding_r2(curves, X[2000:], x[2000:])
    seen = X[2000:, 0]
    told = curves.at(x[2000:])[:, 0] * 0.02
    assert found[0] == pytest.approx(1 - ((seen - told) ** 2).sum() / ((seen - seen.mean()) ** 2).sum())
    assert found[0] > 0.5
    assert -0.1 < found[1] < 0
    assert np.isnan(found[2])
    hole = tuning_curves(X[:2000][x[:2000] < 0.5], x[:2000][x[:2000] < 0.5], n_bins=40, range=(0, 1), dt=0.02)
    assert np.isfinite(encoding_r2(hole, X[2000:], x[2000:])[:2]).all()
    with pytest.raises(ValueError, match="counts have 2 neurons and there are 3 curves"):
        encoding_r2(curves, X[:, :2], x)
