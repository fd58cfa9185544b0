"""`tuning_curves`: rates bin by bin, in any dimension, with what nobody visited left open."""

import numpy as np
import pytest
import torch
from scipy.stats import binned_statistic_dd

from probes.tuning import TuningCurves, tuning_curves


def walk(n=4000, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, (n, d)), rng.poisson(0.7, (n, 3))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_rates_and_occupancy_are_those_of_plain_binning(d):
    x, counts = walk(d=d)
    sizes = (5, 4, 6)[:d]
    curves = tuning_curves(counts, x, n_bins=sizes, range=[(0, 1)] * d, dt=0.05)
    seconds = binned_statistic_dd(x, None, "count", bins=sizes, range=[(0, 1)] * d).statistic * 0.05
    spikes = binned_statistic_dd(x, counts.T, "sum", bins=sizes, range=[(0, 1)] * d).statistic
    np.testing.assert_allclose(curves.occupancy, seconds)
    np.testing.assert_allclose(curves.rates, spikes / seconds)
    assert curves.grid.shape == (np.prod(sizes), d)
    np.testing.assert_array_equal(tuning_curves(counts, x, n_bins=sizes, range=(0, 1), dt=0.05).rates, curves.rates)
    np.testing.assert_allclose(curves.at(x)[7], curves.flat[:, curves.bins_of(x[7:8])[0]])


def test_a_bin_nobody_visited_has_no_rate_and_one_where_nobody_fired_has_zero():
    x = np.array([0.1, 0.1, 0.9, 0.9])
    curves = tuning_curves(np.array([[2], [1], [0], [0]]), x, n_bins=4, range=(0, 1), dt=0.5)
    np.testing.assert_array_equal(curves.rates[0], [3, np.nan, np.nan, 0])
    np.testing.assert_array_equal(curves.visited, [True, False, False, True])
    np.testing.assert_array_equal(curves.probability, [0.5, 0, 0, 0.5])


def test_a_bin_visited_too_briefly_has_no_rate_and_no_say_in_its_neighbours():
    x = np.array([0.1] * 10 + [0.4] + [0.6] * 10 + [0.9] * 10)
    counts = np.ones((31, 1))
    counts[10] = 1000
    curves = tuning_curves(counts, x, n_bins=4, range=(0, 1), dt=1.0, min_occupancy=2.0, smoothing=0.25)
    np.testing.assert_allclose(curves.rates[0], [1, np.nan, 1, 1])


def test_smoothing_weighs_by_time_and_leaves_a_constant_rate_alone_at_edges_and_holes():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (3000, 2)) ** 2
    x = x[~((x > 0.4) & (x < 0.6)).all(1)]
    curves = tuning_curves(np.full((len(x), 1), 0.3), x, n_bins=10, dt=0.1, smoothing=0.2)
    hole = np.isnan(curves.rates[0])
    assert 0 < hole.sum() < 20
    np.testing.assert_allclose(curves.rates[0][~hole], 3.0)


def test_smoothing_goes_round_a_circle_and_not_over_the_end_of_a_track():
    x = np.arange(0.5, 12) % 12
    counts = (np.arange(12) == 0)[:, None].astype(float)
    settings = {"n_bins": 12, "range": (0, 12), "dt": 1.0, "smoothing": 1.0}
    circle, track = (tuning_curves(counts, x, period=p, **settings).rates[0] for p in (12.0, None))
    np.testing.assert_allclose(circle[1:], circle[1:][::-1], rtol=1e-9)
    assert circle[11] > 0.1
    assert track[11] < 1e-6
    np.testing.assert_allclose(circle.sum(), 1)


def test_a_circular_variable_is_wrapped_into_its_range():
    angles = np.random.default_rng(2).uniform(-3, 3, 500)
    counts = np.random.default_rng(3).poisson(1, (500, 2))
    signed = tuning_curves(counts, angles, period=2 * np.pi, n_bins=8, dt=0.1)
    assert signed.edges[0][0] == -np.pi
    turned = tuning_curves(counts, angles + 4 * np.pi, period=2 * np.pi, n_bins=8, dt=0.1, range=(-np.pi, np.pi))
    np.testing.assert_allclose(turned.rates, signed.rates)
    assert tuning_curves(counts, np.abs(angles), period=2 * np.pi, n_bins=8, dt=0.1).edges[0][0] == 0


def test_axes_may_differ_in_kind_and_in_bins():
    x, counts = walk(d=2)
    x[:, 1] *= 360
    curves = tuning_curves(counts, x, n_bins=(5, 12), period=(None, 360.0), range=(None, (0, 360)), dt=0.1)
    assert curves.shape == (5, 12)
    assert curves.period == (None, 360.0)


def test_activations_of_a_network_have_means_whatever_their_sign_and_type():
    x, _ = walk(d=1)
    h = np.random.default_rng(4).standard_normal((len(x), 6))
    curves = tuning_curves(h, x, n_bins=4, dt=1.0)
    own = curves.bins_of(x) == 2
    np.testing.assert_allclose(curves.rates[:, 2], h[own].mean(0))
    tensors = tuning_curves(torch.from_numpy(h), torch.from_numpy(x), n_bins=4, dt=1.0)
    np.testing.assert_allclose(tensors.rates, curves.rates)


def test_chunks_of_rows_change_nothing(monkeypatch):
    x, counts = walk()
    whole = tuning_curves(counts, x, dt=0.1)
    monkeypatch.setattr("probes.rows.CHUNK_BYTES", 1)
    np.testing.assert_allclose(tuning_curves(counts, x, dt=0.1).rates, whole.rates)


X, COUNTS = walk(n=20, d=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X[:9]}, "counts have 20 time bins and x has 9"),
        ({"x": np.r_[X[:19, 0], np.nan]}, r"NaN or infinity in 1 of 20 bins \(the first is 19\)"),
        ({"x": X[:, 0].astype(str)}, "where numbers are needed"),
        ({"counts": COUNTS[:, 0]}, r"must be \[bins, neurons\]"),
        ({"counts": np.where(np.arange(20)[:, None] == 3, np.inf, COUNTS)}, "infinity in 1 of 20 rows"),
        ({"range": (0.5, 1)}, "x lies outside the range 0.5 to 1 of dimension 0"),
        ({"range": (1, 0)}, "the first number must be the smaller"),
        ({"range": [(0, 1), (0, 1)]}, r"a pair \(low, high\), or one for each of 1 dimensions"),
        ({"period": 2.0, "range": (0, 1)}, "not one period of 2 long"),
        ({"period": -1.0}, "above zero, or None"),
        ({"period": (None, None)}, "period has 2 entries for 1 variables"),
        ({"n_bins": 0}, "one whole number above zero"),
        ({"n_bins": (4, 4)}, "one whole number above zero"),
        ({"n_bins": np.array([np.nan])}, "one whole number above zero"),
        ({"n_bins": np.array([None])}, "one whole number above zero"),
        ({"n_bins": np.array([2.5])}, "one whole number above zero"),
        ({"x": np.zeros(20)}, "nothing to tune to"),
        ({"dt": 0.0}, "seconds of a time bin, above zero"),
        ({"smoothing": -1.0}, "standard deviation in the unit of x"),
        ({"groups": np.arange(20) % 2}, "do not stand together"),
        ({"groups": np.arange(3)}, "each bin needs its group"),
    ],
)
def test_what_cannot_be_binned_is_refused_in_one_sentence(changed, message):
    with pytest.raises(ValueError, match=message):
        tuning_curves(**({"counts": COUNTS, "x": X, "dt": 0.1} | changed))


def test_curves_that_do_not_fit_their_edges_are_refused():
    with pytest.raises(ValueError, match="with edges and a period for each axis"):
        TuningCurves(np.ones((2, 5)), np.ones(5), (np.arange(5.0),), (None,), 0.1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edges": (np.array([0, 1, 3, 7, 13.0]),)}, "edges of axis 0 do not rise by equal steps"),
        ({"edges": (np.arange(4.0, -1, -1),)}, "edges of axis 0 do not rise by equal steps"),
        ({"edges": (np.array([0, 1, 2, 3, np.nan]),)}, "edges of axis 0 do not rise by equal steps"),
        ({"period": (5.0,)}, "span 4, which is not its period of 5"),
        ({"occupancy": -np.ones(4)}, "occupancy is below zero or NaN"),
        ({"occupancy": np.array([1, np.nan, 1, 1])}, "occupancy is below zero or NaN"),
        ({"dt": -1.0}, "seconds of a time bin, above zero"),
    ],
)
def test_bins_that_are_not_equal_and_time_that_is_none_are_refused(changed, message):
    settings = {"rates": np.ones((2, 4)), "occupancy": np.ones(4), "edges": (np.arange(5.0),), "period": (None,)}
    TuningCurves(**settings, dt=0.1)
    with pytest.raises(ValueError, match=message):
        TuningCurves(**(settings | {"dt": 0.1} | changed))


def test_a_period_typed_with_fewer_digits_goes_all_the_way_round():
    x = np.r_[np.random.default_rng(0).uniform(0, 6, 200), 6.28318530717]
    curves = tuning_curves(np.ones((201, 1)), x, dt=0.1, n_bins=8, period=2 * np.pi, range=(0, 6.283185307))
    assert curves.bins_of(x[-1:])[0] == 7
    assert curves.bins_of([2 * np.pi + 1e-12])[0] == 0
    assert curves.edges[0][-1] == 2 * np.pi
