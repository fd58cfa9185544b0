"""`decoding_report` and splits by blocks of time: what is held out, what chance gives, what the bound allows."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from probes.population import KalmanFilter, OptimalLinearDecoder, PoissonBayes, WienerFilter, decoding_report
from probes.population.scores import correlation, errors, memory, r2, typical_error
from probes.series import stretch_numbers
from probes.validation import blocked_splits


@pytest.mark.parametrize("gap", [0, 7])
@pytest.mark.parametrize("lengths", [[103], [40, 63], [5] * 20 + [3]])
def test_every_row_is_held_out_once_and_its_neighbours_are_not_fitted_on(lengths, gap):
    groups = np.repeat(np.arange(len(lengths)), lengths)
    seen = []
    for fit, held_out in blocked_splits(103, 4, gap=gap, groups=groups):
        assert (np.diff(held_out) == 1).all()
        near = np.abs(fit[:, None] - held_out) <= gap
        assert not (near & (groups[fit][:, None] == groups[held_out])).any()
        other_groups = np.setdiff1d(np.flatnonzero(~np.isin(groups, groups[held_out])), fit)
        assert len(other_groups) == 0
        seen.append(held_out)
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(103))


def test_whole_groups_are_held_out_where_that_is_asked():
    groups = np.repeat(np.arange(6), [50, 1, 1, 1, 2, 50])
    parts = list(blocked_splits(105, 4, groups=groups, by_group=True))
    assert len(parts) == 4
    for fit, held_out in parts:
        assert len(held_out)
        assert not set(groups[fit]) & set(groups[held_out])
        assert len(fit) + len(held_out) == 105


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_blocks": 1}, "n_blocks is 1: it must lie between 2 and the 20 rows"),
        ({"n_blocks": 3, "groups": np.repeat([0, 1], 10), "by_group": True}, "between 2 and the 2 groups"),
        ({"gap": -1}, "gap is -1"),
        ({"gap": 20}, "leaves nothing of 20 rows"),
        ({"groups": np.r_[[0] * 5, [1] * 10, [0] * 5]}, "do not stand together"),
        ({"groups": np.zeros(3)}, "each bin needs its group"),
    ],
)
def test_blocks_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        list(blocked_splits(20, **settings))


def test_stretches_end_where_rows_or_groups_do():
    assert stretch_numbers(np.array([0, 1, 4, 5, 6]), np.array([0] * 6 + [1] * 2)).tolist() == [0, 0, 1, 1, 2]


def test_scores_are_the_fields():
    rng = np.random.default_rng(0)
    y, told = rng.standard_normal((2, 200, 2))
    told += y
    plain = (None, None)
    np.testing.assert_allclose(r2(y, told, plain), r2_score(y, told, multioutput="raw_values"))
    np.testing.assert_allclose(correlation(y, told, plain)[0], np.corrcoef(y[:, 0], told[:, 0])[0, 1])
    small, period = 1e-3 * y, (2 * np.pi,) * 2  # small angles are as good as linear
    np.testing.assert_allclose(r2(small, 1e-3 * told, period), r2(y, told, plain), rtol=1e-4)
    np.testing.assert_allclose(correlation(small, 1e-3 * told, period), correlation(y, told, plain), rtol=1e-4)
    turned = (3.0 * y + 100.0) % 360
    np.testing.assert_allclose(errors(turned, (turned + 350) % 360, (360, 360)), -10)
    np.testing.assert_allclose(typical_error(np.array([[3.0, 3.0], [-4.0, -4.0]]), (None, 360)), [np.sqrt(12.5), 3.5])


def test_a_circular_correlation_is_that_of_all_pairs_wherever_the_variable_has_been():
    rng = np.random.default_rng(0)
    y = rng.uniform(0, 360, 90)
    told = y + 40 * rng.standard_normal(90)
    i, j = np.triu_indices(90, 1)
    a, b = (np.sin(np.deg2rad(one[i] - one[j])) for one in (y, told))
    pairs = a @ b / np.sqrt((a @ a) * (b @ b))
    np.testing.assert_allclose(correlation(y[:, None], told[:, None], (360,)), pairs)
    np.testing.assert_allclose(correlation(y[:, None], -told[:, None], (360,)), -pairs)
    for n_turns in (1, 20):  # evenly round the circle a mean direction is rounding, and says nothing
        even = np.linspace(0, 2 * np.pi * n_turns, 4000, endpoint=False)[:, None]
        noisy = even + 0.3 * rng.standard_normal(even.shape)
        np.testing.assert_allclose(correlation(even, noisy, (2 * np.pi,)), np.exp(-(0.3**2)), atol=0.01)


@pytest.mark.parametrize(("scale", "offset"), [(1e-150, 0), (1e-8, 0), (1.0, 2e6), (1e9, 0)])
def test_scores_are_the_same_in_any_unit_and_of_what_is_constant_there_are_none(scale, offset):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((500, 1))
    told = y + 0.3 * rng.standard_normal(y.shape)
    for score in (r2, correlation):
        there = score(scale * y + offset, scale * told + offset, (None,))
        np.testing.assert_allclose(there, score(y, told, (None,)), rtol=1e-6)
        np.testing.assert_allclose(score(scale * y, scale * told, (7 * scale,)), score(y, told, (7,)))
        constant = np.full((500, 1), scale / 3 + offset)
        assert np.isnan(score(constant, told, (None,)))
        assert np.isnan(score(constant, told, (7 * scale,)))


def slow(n, seed, tau=50):
    rng = np.random.default_rng(seed)
    x = np.zeros(n)
    for i in range(1, n):
        x[i] = (1 - 1 / tau) * x[i - 1] + rng.standard_normal()
    return x / x.std()


def test_a_decoder_stands_beside_chance_and_the_bound():
    """Linear neurons with Gaussian noise: maximum likelihood reaches the bound, and the optimal decoder nearly."""
    n, n_neurons, noise = 3000, 40, 1.0
    x = np.stack([slow(n, 0), slow(n, 1)], axis=1)
    rng = np.random.default_rng(2)
    H = rng.standard_normal((n_neurons, 2))
    X = x @ H.T + noise * rng.standard_normal((n, n_neurons))
    information = np.tile(H.T @ H / noise**2, (n, 1, 1))
    table = decoding_report(
        OptimalLinearDecoder(1e-3, fit_intercept=True), X, x, names=["x", "y"], gap=100, bound=information, n_shuffles=9
    ).set_index(["output", "variant"])
    for name in ("x", "y"):
        own, chance, mean = (table.loc[name, variant] for variant in ("decoder", "shuffled", "mean"))
        assert own["r2_low"] < own["r2"] < own["r2_high"]
        assert own["r2"] > 0.85
        assert chance["r2"] < 0.1
        assert mean["r2"] <= 0.0
        assert own["p_value"] == pytest.approx(1 / 10)
        assert own["coverage"] == pytest.approx(0.95, abs=0.02)
        assert 0.96 < own["error"] / own["bound"] < 1.1
        assert (own["measure"], own["bins"], own["blocks"], own["note"]) == ("rmse", 3000, 5, "")
    by_rule = decoding_report(
        OptimalLinearDecoder(1e-3, fit_intercept=True), X, x, bound=lambda y: information, n_shuffles=0
    )
    np.testing.assert_array_equal(by_rule["bound"].dropna(), table["bound"].dropna())
    assert by_rule["p_value"].isna().all()


def test_bins_whose_information_is_unknown_have_no_say_in_the_bound():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    information = np.where(np.arange(60) % 3 == 0, np.nan, 4.0)
    by_bound = [decoding_report(LinearRegression(), X, y, n_shuffles=0, bound=one)["bound"][0]
                for one in (information, np.full(60, np.nan))]  # fmt: skip
    assert by_bound[0] == pytest.approx(0.5)
    assert np.isnan(by_bound[1])


def test_the_bound_is_of_the_bins_that_are_judged_and_of_those_that_tell_something():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 2)), rng.standard_normal((60, 2))
    information = np.tile(np.diag([4.0, 9.0]), (60, 1, 1))
    information[:20] /= 100  # never held out
    information[30, 0, 0] = 0
    splits = [(np.arange(20), np.arange(20, 40)), (np.arange(20), np.arange(40, 60))]
    table = decoding_report(LinearRegression(), X, y, n_shuffles=0, bound=information, splits=splits)
    own = table[table["variant"] == "decoder"]
    np.testing.assert_allclose(own["bound"], [1 / 2, 1 / 3])
    assert "leaves out 1 bins that tell nothing" in own["note"].iloc[0]
    assert "leaves out" not in own["note"].iloc[1]


def test_one_block_has_scores_and_no_intervals():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    splits = [(np.arange(40), np.arange(40, 60))]
    own = decoding_report(LinearRegression(), X, X[:, 0], n_shuffles=0, splits=splits).iloc[0]
    assert own["r2"] > 0.99
    assert own[["r2_low", "r2_high", "error_low"]].isna().all()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([], "splits is empty"),
        ([(np.arange(9) < 5, np.arange(9) >= 5)], "each part must be row numbers"),
        ([(np.arange(5), np.arange(0))], "each part must be row numbers, at least one"),
        ([(np.arange(5), np.arange(5, 10))], "not among 0 to 8 in the order of time, each once"),
        ([(np.array([0, 0, 1]), np.arange(5, 9))], "not among 0 to 8 in the order of time, each once"),
        ([(np.arange(9), np.arange(5, 9))], "fitted on and held out in one block"),
        ([(np.arange(4), np.arange(5, 9)), (np.arange(4), np.arange(8, 9))], "holds a row out twice"),
    ],
)
def test_splits_that_judge_by_what_was_fitted_on_are_refused(splits, message):
    X = np.random.default_rng(0).random((9, 3))
    with pytest.raises(ValueError, match=message):
        decoding_report(LinearRegression(), X, X[:, 0], splits=splits)


def test_a_variable_too_slow_for_moved_ones_to_be_a_null_is_told_of():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 2))
    for y, is_slow in ((slow(600, 0, tau=100), True), (np.cumsum(rng.standard_normal(600)), True), (X[:, 0], False)):
        note = decoding_report(LinearRegression(), X, y, n_shuffles=0)["note"].iloc[0]
        assert ("p_value is too small" in note) == is_slow
    assert memory(slow(40_000, 0, tau=50), None, [slice(0, 40_000)]) == pytest.approx(50, rel=0.15)
    turn = np.cumsum(0.1 * rng.standard_normal(40_000)) % 1  # of a circle: exp(−(2π 0.1)²/2 · bins)
    assert memory(turn, 1.0, [slice(0, 20_000), slice(20_000, 40_000)]) == pytest.approx(
        2 / (0.2 * np.pi) ** 2, abs=1.5
    )


def test_tables_and_lists_are_recordings_too():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    plain = decoding_report(OptimalLinearDecoder(), X, X[:, 0], n_shuffles=0)
    for one, y in ((pd.DataFrame(X, columns=["a", "b"]), pd.Series(X[:, 0])), (X.tolist(), X[:, 0].tolist())):
        pd.testing.assert_frame_equal(decoding_report(OptimalLinearDecoder(), one, y, n_shuffles=0), plain)


def test_two_slow_signals_that_have_nothing_to_do_with_each_other_are_no_finding():
    found = []
    for seed in range(8):
        X = np.stack([slow(300, 100 + 7 * seed + i, tau=60) for i in range(3)], axis=1)
        table = decoding_report(LinearRegression(), X, slow(300, seed, tau=60), n_blocks=3, n_shuffles=9)
        found.append(table["p_value"][0])
    assert np.mean(np.array(found) <= 0.1) < 0.4


def test_silent_neurons_are_told_of_for_every_block_and_not_again_for_every_shuffle():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=400)
    counts = rng.poisson(np.stack([5 * x, 5 - 5 * x, np.zeros(400)], axis=1))
    with pytest.warns(UserWarning, match="1 of 3 neurons never change") as told:
        decoding_report(PoissonBayes(5), counts, x, n_blocks=2, n_shuffles=4)
    assert len(told) == 2


def test_blocks_are_decoded_by_what_was_fitted_to_the_others_and_time_does_not_jump():
    n = 300
    x = slow(n, 3)
    X = x[:, None] * np.ones(4) + 0.3 * np.random.default_rng(0).standard_normal((n, 4))
    groups = np.repeat([0, 1], 150)
    table = decoding_report(WienerFilter(3), X, x, groups=groups, n_blocks=3, gap=5, n_shuffles=0)
    told = np.empty(n)
    for fit, held_out in blocked_splits(n, 3, gap=5, groups=groups):
        decoder = WienerFilter(3).fit(X[fit], x[fit], stretch_numbers(fit, groups))
        told[held_out] = decoder.predict(X[held_out], groups[held_out])
    assert table["r2"][0] == pytest.approx(r2_score(x, told))
    tensors = decoding_report(
        WienerFilter(3), torch.from_numpy(X), torch.from_numpy(x), groups=groups, n_blocks=3, gap=5, n_shuffles=0
    )
    assert tensors["r2"][0] == pytest.approx(table["r2"][0])


def test_an_angle_has_circular_scores_and_an_absolute_error():
    rng = np.random.default_rng(0)
    angle = np.cumsum(0.2 * rng.standard_normal(3000))
    counts = rng.poisson(2 * np.exp(np.cos(angle[:, None] - np.linspace(0, 2 * np.pi, 12, endpoint=False)) - 1))
    degrees = np.rad2deg(angle) % 360
    own = decoding_report(KalmanFilter(period=360), counts, degrees, gap=20, n_shuffles=3).iloc[0]
    assert own["measure"] == "mean absolute"
    assert own["r2"] > 0.8
    assert own["rho"] > 0.8
    assert 5 < own["error"] < 40
    assert own["coverage"] > 0.9


def test_regressors_of_others_are_judged_too_and_what_is_missing_is_said():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3))
    table = decoding_report(
        LinearRegression(),
        X,
        np.c_[X[:, 0], np.zeros(120)],
        groups=np.repeat(np.arange(6), 20),
        by_group=True,
        n_blocks=3,
        n_shuffles=2,
    )
    own = table[table["variant"] == "decoder"].set_index("output")
    assert own.loc["y0", "r2"] > 0.99
    assert np.isnan(own.loc["y1", "r2"])
    assert "never changes" in own.loc["y1", "note"]
    assert "groups are short" in own.loc["y0", "note"]
    assert "no uncertainty" in own.loc["y0", "note"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ["a", "b"]}, "each of the 1 outputs needs one of its own"),
        (
            {"bound": np.ones((9, 2))},
            r"the bound has the shape \(9, 2\): Fisher information is asked, \[9, 1, 1\] or \[9\]",
        ),
        ({"groups": np.zeros(3)}, "each bin needs its group"),
        ({"n_blocks": 10}, "between 2 and the 9 rows"),
        ({"n_shuffles": -1}, "n_shuffles is -1"),
        ({"groups": np.r_[np.zeros(5), np.full(4, np.nan)]}, "the group is missing .* in 4 of 9 rows"),
    ],
)
def test_what_cannot_be_reported_is_refused(settings, message):
    X = np.random.default_rng(0).random((9, 3))
    with pytest.raises(ValueError, match=message):
        decoding_report(OptimalLinearDecoder(), X, X[:, 0], **settings)
