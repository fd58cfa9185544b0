"""`RidgeProbe`: the penalty that leaving rows out chooses, and the regression it gives."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV

from probes import RidgeProbe

ALPHAS = np.logspace(-2, 4, 9)


def data(n, d, t=4, noise=3.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 4
    return x, x @ rng.standard_normal((d, t)) + noise * rng.standard_normal((n, t)) * np.arange(1, t + 1) + 7


@pytest.mark.parametrize(("n", "d"), [(80, 10), (20, 50)])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_error_of_left_out_rows_is_what_leaving_them_out_gives(n, d, intercept):
    x, y = data(n, d)
    errors = RidgeProbe(ALPHAS, fit_intercept=intercept).fit(x, y).loo_error_
    for i in (0, 4, 8):
        missed = np.zeros_like(y)
        for row in range(n):
            others = np.arange(n) != row
            fit = Ridge(ALPHAS[i], fit_intercept=intercept, solver="svd").fit(x[others], y[others])
            missed[row] = fit.predict(x[row : row + 1])[0] - y[row]
        np.testing.assert_allclose(errors[i], (missed**2).mean(0), rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(120, 10), (30, 60)])
@pytest.mark.parametrize("per_target", [True, False])
def test_choice_and_coefficients_are_ridgecvs(n, d, per_target):
    x, y = data(n, d)
    ours = RidgeProbe(ALPHAS, alpha_per_target=per_target).fit(x, y)
    theirs = RidgeCV(ALPHAS, alpha_per_target=per_target).fit(x, y)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_ if per_target else np.full(4, theirs.alpha_))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6)
    assert len(np.unique(ours.alpha_)) > per_target  # the targets' noise differs, and so may their penalties


def test_weights_are_ridges(tmp_path):
    x, y = data(60, 8)
    weight = np.random.default_rng(3).uniform(0.1, 3, 60)
    ours = RidgeProbe([2.0]).fit(x, y, weight)
    theirs = Ridge(2.0).fit(x, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6)


def test_one_target_has_no_axis_of_targets():
    x, y = data(50, 5)
    ours = RidgeProbe().fit(x, y[:, 0])
    assert ours.coef_.shape == (5,)
    assert ours.predict(x).shape == (50,)
    assert ours.loo_error_.shape == (len(ours.alphas),)
    tensors = RidgeProbe().fit(torch.from_numpy(x), torch.from_numpy(y))
    assert isinstance(tensors.predict(torch.from_numpy(x)), torch.Tensor)
    np.testing.assert_allclose(tensors.coef_[0].numpy(), ours.coef_, rtol=1e-9)


def test_chunks_of_rows_and_of_targets_change_nothing(monkeypatch):
    x, y = data(70, 6)
    whole = RidgeProbe().fit(x, y)
    for name, value in (("rows.CHUNK_BYTES", 1), ("rows.MIN_CHUNK_ROWS", 11), ("ridge.TARGETS", 3)):
        monkeypatch.setattr(f"probes.{name}", value)
    parts = RidgeProbe().fit(x, y)
    np.testing.assert_allclose(parts.loo_error_, whole.loo_error_)
    np.testing.assert_allclose(parts.coef_, whole.coef_)


@pytest.mark.parametrize(
    ("alphas", "y", "message"),
    [
        ([0.0], np.zeros(9), "all must be above zero"),
        ([], np.zeros(9), "at least one is needed"),
        ([1.0], np.array(["a"] * 9), "where a regression needs numbers"),
        ([1.0], np.r_[np.zeros(8), np.nan], r"y contains NaN or infinity in 1 of 9 rows \(the first is 8\)"),
        ([1.0], np.zeros(8), r"y must be \[rows\] or \[rows, targets\]"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_sentence(alphas, y, message):
    with pytest.raises(ValueError, match=message):
        RidgeProbe(alphas).fit(np.random.default_rng(0).standard_normal((9, 3)), y)
