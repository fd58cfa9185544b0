"""`WienerFilter` and `WienerCascade`: ridge regression on the lags that every bin has, and a polynomial of it."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from probes.population import WienerCascade, WienerFilter
from probes.population.lagged import LaggedMoments


def recording(lengths, n_neurons=5, seed=0):
    """Counts, and a variable that follows from those two bins back and one ahead."""
    rng = np.random.default_rng(seed)
    Xs, ys = [], []
    for length in lengths:
        X = rng.poisson(2.0, (length + 6, n_neurons)) * 1.0
        W = np.random.default_rng(7).standard_normal((2, n_neurons))
        y = np.stack([np.roll(X, 2, 0) @ W[0], np.roll(X, -1, 0) @ W[1]], 1) + 0.5 * rng.standard_normal(
            (length + 6, 2)
        )
        Xs.append(X[3:-3])
        ys.append(y[3:-3] + 10)
    return np.concatenate(Xs), np.concatenate(ys), np.repeat(np.arange(len(lengths)), lengths)


def design(X, groups, lags):
    """The matrix of all lags, and which bins have all of them in their group."""
    columns, whole = [], np.ones(len(X), bool)
    for lag in lags:
        source = np.arange(len(X)) + lag
        there = (source >= 0) & (source < len(X))
        source = source.clip(0, len(X) - 1)
        whole &= there & (groups[source] == groups)
        columns.append(X[source])
    return np.concatenate(columns, 1), whole


LENGTHS = [120, 40, 3, 9, 80, 4]


@pytest.mark.parametrize(("before", "after"), [(3, 0), (2, 2), (0, 3), (0, 0), (4, 2)])
def test_moments_are_those_of_the_matrix_of_all_lags(before, after):
    X, y, groups = recording(LENGTHS)
    runs = [slice(a, a + length) for a, length in zip(np.cumsum([0, *LENGTHS[:-1]]), LENGTHS, strict=True)]
    found = LaggedMoments.of(X, y, runs, before, after)
    columns, whole = design(X, groups, range(-before, after + 1))
    columns, y = columns[whole], y[whole]
    assert found.n == whole.sum()
    np.testing.assert_allclose(found.mean, columns.mean(0))
    centred = columns - columns.mean(0)
    np.testing.assert_allclose(found.gram, centred.T @ centred, atol=1e-9)
    np.testing.assert_allclose(found.products, centred.T @ (y - y.mean(0)), atol=1e-9)


@pytest.mark.parametrize(("before", "after"), [(3, 0), (2, 2), (0, 3), (0, 0)])
@pytest.mark.parametrize("alpha", [0.0, 30.0])
def test_every_bin_is_told_by_the_regression_on_the_lags_that_it_has(before, after, alpha):
    X, y, groups = recording(LENGTHS)
    X = np.c_[X, np.full(len(X), 4.1)]  # silent
    found = WienerFilter(before, after, alpha=alpha).fit(X, y, groups).predict(X, groups)
    heard = StandardScaler().fit_transform(X[:, :-1])
    _, whole = design(heard, groups, range(-before, after + 1))
    position = np.concatenate([np.arange(length) for length in LENGTHS])
    left = np.concatenate([np.arange(length)[::-1] for length in LENGTHS])
    n_kinds = 0
    for early in range(before + 1):
        for late in range(after + 1):
            bins = (np.minimum(position, before) == early) & (np.minimum(left, after) == late)
            if not bins.any():
                continue
            n_kinds += 1
            columns, _ = design(heard, groups, range(-early, late + 1))
            oracle = Ridge(alpha, solver="svd") if alpha else LinearRegression()
            oracle.fit(columns[whole], y[whole])
            np.testing.assert_allclose(found[bins], oracle.predict(columns[bins]), rtol=1e-8)
    assert n_kinds >= before + after + 1


def test_the_unit_of_a_neuron_is_no_matter():
    X, y, groups = recording([60, 40])
    plain = WienerFilter(3, 1, alpha=5.0).fit(X, y, groups)
    for unit in (1e-6, 20.0, 10.0 ** np.arange(-4, 6, 2)):
        scaled = WienerFilter(3, 1, alpha=5.0).fit(X * unit, y, groups)
        np.testing.assert_allclose(scaled.predict(X * unit, groups), plain.predict(X, groups))
        there, here = (one.predict(Z, groups, return_std=True)[1] for one, Z in ((scaled, X * unit), (plain, X)))
        np.testing.assert_allclose(there, here)


def test_coefficients_are_lag_by_lag():
    X, y, groups = recording([4000])
    one = WienerFilter(2, 1, alpha=0.0).fit(X, y, groups)
    assert one.lags_.tolist() == [-2, -1, 0, 1]
    W = np.random.default_rng(7).standard_normal((2, 5))
    np.testing.assert_allclose(one.coef_[0, 0], W[0], atol=0.05)
    np.testing.assert_allclose(one.coef_[1, 3], W[1], atol=0.05)
    np.testing.assert_allclose(one.coef_[:, 1:3], 0, atol=0.05)
    assert WienerFilter(2, 1).fit(X, y[:, 0]).coef_.shape == (4, 5)


def test_lags_never_reach_into_another_group():
    X, y, groups = recording([200, 200])
    decoder = WienerFilter(3, 3).fit(X, y, groups)
    other = X.copy()
    other[groups == 1] = 1e6
    np.testing.assert_array_equal(decoder.predict(X, groups)[:200], decoder.predict(other, groups)[:200])
    np.testing.assert_allclose(decoder.predict(X, groups)[:200], decoder.predict(X[:200]))


def test_intervals_cover_what_they_say_at_the_edges_too():
    X, y, groups = recording([12] * 800)
    fit, test = groups < 300, groups >= 300
    decoder = WienerFilter(3, 2).fit(X[fit], y[fit], groups[fit])
    estimate, std = decoder.predict(X[test], groups[test], return_std=True)
    covered = (np.abs(estimate - y[test]) < 1.96 * std).reshape(500, 12, 2).mean(0)
    assert (np.abs(covered - 0.95) < 0.035).all()
    assert std[0, 0] > 2 * std[5, 0]  # no history, no knowledge of what follows from it


def test_few_bins_and_many_weights_do_not_make_it_sure():
    X, y, _ = recording([4000], n_neurons=8)
    decoder = WienerFilter(9, 0, alpha=1.0).fit(X[:160], y[:160])
    estimate, std = decoder.predict(X[160:], return_std=True)
    assert abs((np.abs(estimate - y[160:]) < 1.96 * std).mean() - 0.95) < 0.04


def test_a_cascade_is_a_cubic_of_the_filter_and_keeps_its_ends():
    X, y, _ = recording([1500], seed=3)
    bent = np.tanh((y - 10) / 3)
    linear, cascade = WienerFilter(2, 1).fit(X, bent), WienerCascade(2, 1, degree=3).fit(X, bent)
    given = linear.predict(X)
    for j in range(2):
        cubic = np.polyfit(given[2:-1, j], bent[2:-1, j], 3)
        low, high = given[2:-1, j].min(), given[2:-1, j].max()
        expected = np.polyval(cubic, given[:, j].clip(low, high))
        np.testing.assert_allclose(cascade.predict(X)[:, j], expected, rtol=1e-6, atol=1e-8)
    assert cascade.score(X, bent) > linear.score(X, bent) + 0.02
    wild = X.copy()
    wild[5] = 1e4
    assert np.abs(cascade.predict(wild)).max() < 3
    estimate, std = cascade.predict(X, return_std=True)
    assert abs((np.abs(estimate - bent) < 1.96 * std).mean() - 0.95) < 0.03


def test_a_turning_head_is_a_vector():
    rng = np.random.default_rng(0)
    angle = np.cumsum(0.15 * rng.standard_normal(4000)) % (2 * np.pi)
    counts = rng.poisson(2 * np.exp(np.cos(angle[:, None] - np.linspace(0, 2 * np.pi, 12, endpoint=False)) - 1))
    decoder = WienerFilter(5, 5, period=2 * np.pi).fit(counts[:3000], angle[:3000])
    estimate, std = decoder.predict(counts[3000:], return_std=True)
    missed = (estimate - angle[3000:] + np.pi) % (2 * np.pi) - np.pi
    assert decoder.score(counts[3000:], angle[3000:]) > 0.8
    assert abs((np.abs(missed) < 1.96 * std).mean() - 0.95) < 0.05


@pytest.mark.parametrize(
    ("decoder", "lengths", "message"),
    [
        (WienerFilter(4, 2), [6, 5], r"no group has the 7 bins of the window \(the longest has 6\)"),
        (WienerFilter(-1), [50], "numbers of bins are not below zero"),
        (WienerFilter(alpha=-1.0), [50], "a penalty must be finite, and not below zero"),
        (WienerFilter(9, alpha=0.0), [40], "give an alpha above zero"),
        (WienerCascade(degree=0), [50], "a polynomial needs at least one"),
        (WienerFilter().set_params(before=1.5), [50], "before is 1.5: it must be a whole number"),
        (WienerFilter().set_params(after=3.0), [50], "after is 3.0: it must be a whole number"),
        (WienerCascade().set_params(degree=2.5), [50], "degree is 2.5: it must be a whole number"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_sentence(decoder, lengths, message):
    X, y, groups = recording(lengths)
    with pytest.raises(ValueError, match=message):
        decoder.fit(X, y, groups)
