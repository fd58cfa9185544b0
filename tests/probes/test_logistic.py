"""`LogisticProbe` ends where scikit-learn's logistic regression ends, for one target and for many."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes import LogisticProbe

N, D, T = 600, 12, 5


@pytest.fixture(scope="module")
def rows():
    """Correlated columns of several sizes, far from zero."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)) @ rng.standard_normal((D, D)) * np.geomspace(0.1, 3, D) + 5


@pytest.fixture(scope="module")
def labels(rows):
    rng = np.random.default_rng(1)
    scores = (rows - rows.mean(0)) @ rng.standard_normal((D, T)) + 2 * rng.standard_normal((N, T))
    return (scores > np.array([0, 1, 3, 5, -2])).astype(int)


def theirs(x, y, **options):
    return LogisticRegression(tol=1e-12, max_iter=20_000, solver="newton-cg", **options).fit(x, y)


@pytest.mark.parametrize(
    "options", [{}, {"C": 0.01}, {"C": 100.0}, {"class_weight": "balanced"}, {"fit_intercept": False}]
)
def test_the_optimum_is_scikit_learns(rows, labels, options):
    y = labels[:, 1]
    ours, reference = LogisticProbe(**options, tol=1e-6).fit(rows, y), theirs(rows, y, **options)
    np.testing.assert_allclose(ours.coef_, reference.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, reference.intercept_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(rows), reference.predict_proba(rows), atol=1e-4)
    assert (ours.predict(rows) == reference.predict(rows)).all()


def test_weights_count_as_repeated_rows(rows, labels):
    weight = np.random.default_rng(2).integers(0, 4, N).astype(float)
    ours = LogisticProbe(tol=1e-6).fit(rows, labels, sample_weight=weight)
    for target in range(T):
        reference = theirs(rows, labels[:, target])
        reference = LogisticRegression(tol=1e-12, max_iter=20_000, solver="newton-cg").fit(
            rows, labels[:, target], weight
        )
        np.testing.assert_allclose(ours.coef_[target], reference.coef_[0], atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"class_weight": {"a": 1, "b": 3, "c": 0.5}}, {"fit_intercept": False}])
def test_several_classes_are_the_multinomial(rows, options):
    scores = rows @ np.random.default_rng(3).standard_normal((D, 3))
    y = np.array(["a", "b", "c"])[(scores - scores.mean(0)).argmax(1)]
    y[::5] = "b"
    ours, reference = LogisticProbe(**options, tol=1e-6).fit(rows, y), theirs(rows, y, **options)
    np.testing.assert_allclose(ours.coef_, reference.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(rows), reference.predict_proba(rows), atol=1e-4)
    assert ours.classes_.tolist() == ["a", "b", "c"]


def test_targets_that_share_rows_end_as_each_would_alone(rows, labels):
    together = LogisticProbe(tol=1e-7).fit(rows, labels)
    assert together.coef_.shape == (T, D)
    assert together.decision_function(rows).shape == together.predict_proba(rows).shape == (N, T)
    for target in range(T):
        alone = LogisticProbe(tol=1e-7).fit(rows, labels[:, target])
        np.testing.assert_allclose(together.coef_[target], alone.coef_[0], atol=1e-6)
        assert (together.predict(rows)[:, target] == alone.predict(rows)).all()


def test_more_targets_than_are_solved_at_once(monkeypatch, rows, labels):
    whole = LogisticProbe().fit(rows, labels)
    monkeypatch.setattr("probes.logistic.TARGETS", 2)
    np.testing.assert_allclose(LogisticProbe().fit(rows, labels).coef_, whole.coef_, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32])
def test_other_precisions_end_near_by(rows, labels, dtype):
    x = rows.astype(dtype)
    ours, reference = LogisticProbe().fit(x, labels[:, 0]), theirs(x.astype(float), labels[:, 0])
    np.testing.assert_allclose(ours.coef_, reference.coef_, atol=2e-3)
    assert ours.coef_.dtype == (np.float32 if dtype is not np.int32 else np.float64)


def test_rows_may_lie_in_a_file(rows, labels, tmp_path):
    np.save(tmp_path / "rows.npy", rows.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_allclose(
        LogisticProbe().fit(mapped, labels).coef_, LogisticProbe().fit(rows.astype(np.float32), labels).coef_, atol=1e-6
    )


def test_rows_are_read_in_chunks(monkeypatch, rows, labels):
    whole = LogisticProbe(tol=1e-7).fit(rows, labels)
    monkeypatch.setattr("probes.rows.CHUNK_BYTES", 1)
    monkeypatch.setattr("probes.rows.MIN_CHUNK_ROWS", 37)
    monkeypatch.setattr("probes.rows.KEPT_BYTES", 0)
    np.testing.assert_allclose(LogisticProbe(tol=1e-7).fit(rows, labels).coef_, whole.coef_, atol=1e-5)


def test_tensors_in_tensors_out(rows, labels):
    x, y = torch.from_numpy(rows), torch.from_numpy(labels)
    ours = LogisticProbe().fit(x, y)
    for found in (ours.coef_, ours.intercept_, ours.decision_function(x), ours.predict(x), ours.predict_proba(x)):
        assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(ours.coef_.numpy(), LogisticProbe().fit(rows, labels).coef_)
    assert (ours.predict(x) == y).double().mean() > 0.8


def test_a_label_that_a_plane_tells_perfectly_has_an_end(rows):
    y = rows[:, 0] > rows[:, 0].mean()
    ours, reference = LogisticProbe(tol=1e-6).fit(rows, y), theirs(rows, y)
    np.testing.assert_allclose(ours.coef_, reference.coef_, atol=1e-3)


def test_a_constant_column_counts_for_nothing(rows, labels):
    x = np.column_stack([rows, np.full(N, 7.0)])
    ours = LogisticProbe().fit(x, labels)
    np.testing.assert_allclose(ours.coef_[:, -1], 0, atol=1e-9)
    np.testing.assert_allclose(ours.coef_[:, :-1], LogisticProbe().fit(rows, labels).coef_, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (np.where(np.arange(N)[:, None] == 7, np.nan, x), y), r"NaN in 1 of 600 rows \(7\)"),
        (
            lambda x, y: (np.where(np.arange(N)[:, None] < 9, np.inf, x), y),
            r"infinity in 9 of 600 rows \(0, 1, 2, 3, 4, …",
        ),
        (lambda x, y: (x, y[:-1]), "each row needs its label"),
        (lambda x, y: (x, y * 0), "column 0 of y has one class only"),
        (lambda x, y: (x, y[:, 0] * 0), "y has one class only, 0"),
        (lambda x, y: (x, y + np.arange(N)[:, None] % 2), "column 0 of y has 3 classes: of many targets at once"),
        (lambda x, y: (x, y + np.array([0, 1, 0, 0, 0])), "column 1 of y has the classes"),
        (lambda x, y: (x, x[:, 0]), "Unknown label type: continuous"),
        (lambda x, y: (torch.from_numpy(x)[0], y), "it must be \\[rows, columns\\]"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_sentence(rows, labels, change, message):
    x, y = change(rows, labels)
    with pytest.raises(ValueError, match=message):
        LogisticProbe().fit(x, y)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_size_of_the_columns_changes_nothing_but_the_penalty(rows, labels, scale):
    """Large columns have small coefficients: a step is judged by what it does to scores too."""
    y = labels[:, 1]
    x = rows - rows.mean(0)
    plain = LogisticProbe(tol=1e-5).fit(x, y)
    scaled = LogisticProbe(C=1 / scale**2, tol=1e-5).fit(scale * x, y)
    np.testing.assert_allclose(scaled.predict_proba(scale * x), plain.predict_proba(x), atol=1e-3)
    three = np.digitize(x[:, 0], np.quantile(x[:, 0], [0.3, 0.6]))
    found = LogisticProbe(C=1 / scale**2).fit(scale * x, three)
    assert found.score(scale * x, three) == pytest.approx(LogisticProbe().fit(x, three).score(x, three), abs=0.02)


def test_a_constant_column_without_a_penalty_is_no_trouble(rows, labels):
    y = labels[:, 1]
    x = np.column_stack([rows, np.ones(N)])
    found = LogisticProbe(C=np.inf).fit(x, y)
    assert np.isfinite(found.coef_).all()
    expected = theirs(rows, y, C=1e10)
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(rows), atol=1e-2)


def test_balanced_classes_count_the_weights_of_rows(rows, labels):
    y, weight = labels[:, 1], np.random.default_rng(2).uniform(0, 3, N)
    ours = LogisticProbe(class_weight="balanced", tol=1e-6).fit(rows, y, sample_weight=weight)
    reference = LogisticRegression(class_weight="balanced", tol=1e-12, max_iter=20_000, solver="newton-cg")
    np.testing.assert_allclose(ours.coef_, reference.fit(rows, y, weight).coef_, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_class_without_weight_is_refused(rows, n_classes):
    y = np.arange(N) % n_classes
    with pytest.raises(ValueError, match="a class has no weight"):
        LogisticProbe().fit(rows, y, sample_weight=(y != 1).astype(float))


def test_a_rare_class_that_few_rows_show_is_found_in_few_steps():
    """Its rows are hardly in the sample that the search sets out from."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40_000, 16)).astype(np.float32), np.zeros(40_000, int)
    y[:9] = 1
    x[:9, 0] += 6
    found = LogisticProbe().fit(x, y)
    assert found.n_iter_[0] < 60
    assert (found.predict(x)[:9] == 1).mean() > 0.5
