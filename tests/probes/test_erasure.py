"""Erasure: the guarantees of LEACE's paper, and what the other two do and do not."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from probes.erasure import INLP, LEACE, MeanProjection

N, D, K = 900, 20, 3


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)) @ rng.standard_normal((D, D)) + 10


@pytest.fixture(scope="module")
def classes(rows):
    return ((rows - 10) @ np.random.default_rng(1).standard_normal((D, K))).argmax(1)


def loss_of_a_linear_probe(x, y):
    """The least cross-entropy of a linear classifier on its own rows, without a penalty, and the constant's."""
    probe = LogisticRegression(C=np.inf, max_iter=5000, tol=1e-10).fit((x - x.mean(0)) / x.std(0), y)
    p = probe.predict_proba((x - x.mean(0)) / x.std(0))[np.arange(len(y)), y]
    share = np.bincount(y) / len(y)
    return -np.log(p).mean(), -(share * np.log(share)).sum()


def test_no_linear_probe_does_better_than_a_constant(rows, classes):
    before, constant = loss_of_a_linear_probe(rows, classes)
    erased = LEACE().fit_transform(rows, classes)
    after, _ = loss_of_a_linear_probe(erased, classes)
    assert before < 0.1 * constant
    assert after == pytest.approx(constant, abs=1e-6)


def test_class_means_are_equal_and_erasing_again_changes_nothing(rows, classes):
    eraser = LEACE().fit(rows, classes)
    erased = eraser.transform(rows)
    means = np.stack([erased[classes == k].mean(0) for k in range(K)])
    assert np.ptp(means, axis=0).max() < 1e-9
    np.testing.assert_allclose(eraser.transform(erased), erased, atol=1e-9)
    assert eraser.eraser_.rank == K - 1
    np.testing.assert_allclose(erased.mean(0), rows.mean(0))


def test_no_other_affine_erasure_changes_rows_less(rows, classes):
    """Theorem 4.2, in the norm of the inverse covariance and in the plain one: against mean projection and INLP."""
    moved = {name: ((eraser.fit_transform(rows, classes) - rows) ** 2).sum() for name, eraser in erasers().items()}
    assert moved["LEACE"] < 0.9 * moved["mean projection"]
    assert moved["LEACE"] < 0.9 * moved["INLP"]
    oracle = LEACE().fit(rows, classes).transform_known(rows, classes)
    assert ((oracle - rows) ** 2).sum() < 0.9 * moved["LEACE"]
    means = np.stack([oracle[classes == k].mean(0) for k in range(K)])
    assert np.ptp(means, axis=0).max() < 1e-9


def erasers():
    return {"LEACE": LEACE(), "mean projection": MeanProjection(), "INLP": INLP()}


def test_means_are_equal_after_mean_projection_and_the_projection_is_orthogonal(rows, classes):
    probe = MeanProjection().fit(rows, classes)
    erased = probe.transform(rows)
    assert np.ptp([erased[classes == k].mean(0) for k in range(K)], axis=0).max() < 1e-9
    basis = probe.eraser_.left
    torch.testing.assert_close(basis.T @ basis, torch.eye(K - 1, dtype=torch.float64))


def test_inlp_ends_where_probes_are_right_no_more_often_than_chance(rows, classes):
    probe = INLP().fit(rows, classes)
    assert probe.accuracies_[0] > 0.9
    assert probe.accuracies_[-1] <= np.bincount(classes).max() / N or probe.eraser_.rank >= D - K
    assert loss_of_a_linear_probe(probe.transform(rows), classes)[0] > 0.8 * np.log(K)


def test_what_is_not_linear_may_stay():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 4))
    y = (np.abs(x[:, 0]) > 0.67).astype(int)
    erased = LEACE().fit_transform(x, y)
    probe = MLPClassifier((32,), learning_rate_init=0.01, max_iter=400, random_state=0)
    assert LogisticRegression().fit(erased, y).score(erased, y) < 0.6 < 0.8 < probe.fit(erased, y).score(erased, y)


def test_batches_add_up_to_the_whole(rows, classes):
    whole, parts = LEACE().fit(rows, classes), LEACE(classes=range(K))
    for part in np.array_split(np.arange(N), 7):
        parts.partial_fit(rows[part], classes[part])
    np.testing.assert_allclose(parts.transform(rows), whole.transform(rows), atol=1e-9)


def test_numbers_are_erased_too(rows):
    z = rows[:, :2] @ np.ones((2, 1)) + np.random.default_rng(2).standard_normal((N, 1))
    erased = LEACE().fit_transform(rows, z)
    covariance = (erased - erased.mean(0)).T @ (z - z.mean(0)) / N
    assert np.abs(covariance).max() < 1e-9


def test_directions_in_which_rows_do_not_vary_are_left_alone(rows, classes):
    x = np.column_stack([rows, rows[:, 0], np.full(N, 3.0)])
    erased = LEACE().fit_transform(x, classes)
    assert np.isfinite(erased).all()
    np.testing.assert_allclose(erased[:, -1], 3.0)
    assert loss_of_a_linear_probe(erased[:, :D], classes)[0] == pytest.approx(
        loss_of_a_linear_probe(rows, classes)[1], abs=1e-4
    )


@pytest.mark.parametrize("eraser", [LEACE(), MeanProjection(), INLP()])
def test_one_class_has_nothing_to_erase(rows, eraser):
    with pytest.raises(ValueError, match="one class only"):
        eraser.fit(rows, np.zeros(N, int))


def test_a_class_that_comes_late_is_refused(rows, classes):
    with pytest.raises(ValueError, match=r"which the first rows had not: name all classes"):
        LEACE().fit(rows[classes < 2], classes[classes < 2]).partial_fit(rows, classes)


def test_one_column_of_numbers_is_no_classes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6))
    depth = x[:, 0] + 0.1 * rng.standard_normal(400)
    erased = LEACE().fit(x, depth)
    assert erased.classes_ is None
    assert np.linalg.matrix_rank(x - erased.transform(x), tol=1e-8) == 1
    assert abs(np.corrcoef(erased.transform(x)[:, 0], depth)[0, 1]) < 1e-8
    with pytest.raises(ValueError, match="y contains NaN or infinity"):
        LEACE().fit(x, np.where(np.arange(400) == 7, np.nan, depth))
