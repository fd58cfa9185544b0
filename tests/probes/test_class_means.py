"""Mass-mean and LDA probes, and probes of few columns."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.linear_model import LogisticRegression

from probes import LDAProbe, LogisticProbe, MassMeanProbe, SparseProbe

N, D = 400, 9


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)) @ rng.standard_normal((D, D)) + 100


@pytest.fixture(scope="module")
def classes(rows):
    rng = np.random.default_rng(1)
    scores = (rows - 100) @ rng.standard_normal((D, 3)) + 2 * rng.standard_normal((N, 3))
    return scores.argmax(1)


def test_the_direction_is_the_difference_of_the_means_and_the_boundary_half_way(rows, classes):
    y = classes == 1
    probe = MassMeanProbe().fit(rows, y)
    mine, others = rows[y].mean(0), rows[~y].mean(0)
    np.testing.assert_allclose(probe.coef_[0], mine - others, rtol=1e-8)
    np.testing.assert_allclose(probe.decision_function([(mine + others) / 2]), 0, atol=1e-6)
    many = MassMeanProbe().fit(rows, np.stack([y, classes == 2], 1))
    np.testing.assert_allclose(many.coef_[0], probe.coef_[0], rtol=1e-8)
    each = MassMeanProbe().fit(rows, classes)
    np.testing.assert_allclose(each.coef_[1], probe.coef_[0], rtol=1e-8)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_lda_is_scikit_learns(rows, classes, shrinkage):
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows, classes)
    ours = LDAProbe(shrinkage).fit(rows, classes)
    np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), atol=1e-6)
    many = LDAProbe(shrinkage).fit(rows, np.stack([classes == k for k in range(3)], 1))
    for k in range(3):
        alone = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows, classes == k)
        np.testing.assert_allclose(many.coef_[k], alone.coef_[0], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(many.predict_proba(rows)[:, k], alone.predict_proba(rows)[:, 1], atol=1e-6)


def test_a_covariance_that_cannot_be_inverted_is_refused(rows, classes):
    x = np.column_stack([rows, rows[:, 0]])
    with pytest.raises(ValueError, match="do not vary in every direction .*: give a shrinkage above zero"):
        LDAProbe(0.0).fit(x, classes)
    assert LDAProbe(0.01).fit(x, classes).score(x, classes) > 0.5
    with pytest.raises(ValueError, match="shrinkage is 2: it must lie between 0 and 1"):
        LDAProbe(2).fit(rows, classes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_columns_rank_as_scikit_learn_ranks_them(rows, classes, n_classes):
    y = classes if n_classes == 3 else classes == 0
    f = SparseProbe(D, ranking="f_score").fit(rows, y).columns_
    assert f.tolist() == np.argsort(-f_classif(rows, y)[0]).tolist()
    information = SparseProbe(3, ranking="mutual_information").fit(rows, y).columns_
    assert information.tolist() == np.argsort(-mutual_info_classif(rows, y, random_state=0))[:3].tolist()


def test_columns_rank_by_the_difference_of_means_and_by_weight(rows, classes):
    y = classes == 0
    found = SparseProbe(D).fit(rows, y).columns_
    assert found.tolist() == np.argsort(-np.abs(rows[y].mean(0) - rows[~y].mean(0))).tolist()
    weight = np.abs(LogisticProbe().fit(rows, y).coef_[0] * rows.std(0))
    assert SparseProbe(D, ranking="weight").fit(rows, y).columns_.tolist() == np.argsort(-weight).tolist()


def test_the_regression_is_on_those_columns_alone(rows, classes):
    y = np.stack([classes == k for k in range(3)], 1)
    probe = SparseProbe(2).fit(rows, y)
    assert probe.columns_.shape == (3, 2)
    for target in range(3):
        chosen = probe.columns_[target]
        assert set(np.flatnonzero(probe.coef_[target])) == set(chosen)
        theirs = LogisticRegression(tol=1e-10, solver="newton-cg").fit(rows[:, chosen], y[:, target])
        np.testing.assert_allclose(probe.coef_[target, chosen], theirs.coef_[0], atol=1e-3)


def test_wrong_settings_are_refused(rows, classes):
    with pytest.raises(ValueError, match="k is 10: it must lie between 1 and the 9 columns"):
        SparseProbe(10).fit(rows, classes)
    with pytest.raises(ValueError, match="ranking is 'luck': choose one of mean_difference"):
        SparseProbe(1, ranking="luck").fit(rows, classes)
