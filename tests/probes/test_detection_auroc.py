"""The area under the ROC curve of many columns for many labels: scikit-learn's, whatever the columns are."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.metrics import roc_auc_score

from probes.detection import auroc

N_ROWS = 300


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return rng.random((N_ROWS, 5)) < [0.01, 0.2, 0.5, 0.9, 0.99]


def columns():
    """Columns without ties, with many, with zeros nearly everywhere, of one value, and of negative ones too."""
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((N_ROWS, 6))
    few = rng.random(N_ROWS) < 0.1
    return np.stack(
        [normal[:, 0], normal[:, 1].round(), np.maximum(normal[:, 2], 0), normal[:, 3] * few, few * 1.0, few * 0.0], 1
    )


def theirs(x, y):
    return np.array([[roc_auc_score(label, column) for label in y.T] for column in x.T])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
def test_dense_columns_are_scored_as_scikit_learn_scores_them(labels, dtype):
    x = (columns() * 3).astype(dtype)
    np.testing.assert_allclose(auroc(x, labels), theirs(x, labels), rtol=1e-12)
    np.testing.assert_allclose(auroc(np.asfortranarray(x), labels.astype(int)), theirs(x, labels), rtol=1e-12)


@pytest.mark.parametrize("kind", [sp.csc_array, sp.csr_array, sp.coo_array, sp.csc_matrix])
def test_sparse_columns_are_scored_as_the_dense_ones_they_stand_for(labels, kind):
    x = columns()
    np.testing.assert_allclose(auroc(kind(x), labels), theirs(x, labels), rtol=1e-12)


def test_zeros_that_are_stored_and_entries_that_are_stored_twice_count_as_what_they_are(labels):
    rng = np.random.default_rng(2)
    rows, values = rng.integers(0, N_ROWS, 200), rng.integers(-2, 3, 200).astype(float)
    stored = sp.csc_array((values, rows, np.array([0, 120, 200])), shape=(N_ROWS, 2))
    kept = stored.data.copy()
    np.testing.assert_allclose(auroc(stored, labels), theirs(stored.toarray(), labels), rtol=1e-12)
    np.testing.assert_array_equal(stored.data, kept)  # nobody's array is put in order behind their back


def test_parts_of_columns_of_labels_and_of_rows_change_nothing(labels, monkeypatch):
    x = columns()
    whole = auroc(x, labels), auroc(sp.csc_array(x), labels)
    monkeypatch.setattr("probes.detection.ranks.BLOCK_BYTES", 8 * N_ROWS * 2)
    monkeypatch.setattr("probes.detection.ranks.ROW_BLOCK", 7)
    np.testing.assert_array_equal(auroc(x, labels), whole[0])
    np.testing.assert_array_equal(auroc(sp.csc_array(x), labels), whole[1])


def test_mapped_files_and_tensors(labels, tmp_path):
    x = columns().astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    found = auroc(np.load(tmp_path / "x.npy", mmap_mode="r"), labels)
    np.testing.assert_allclose(found, theirs(x, labels), rtol=1e-12)
    np.testing.assert_array_equal(auroc(torch.from_numpy(x), torch.from_numpy(labels)), found)
    half = torch.from_numpy(x).bfloat16()
    np.testing.assert_allclose(auroc(half, labels), theirs(half.float().numpy(), labels), rtol=1e-12)


def test_memory_does_not_grow_with_the_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("probes.detection.ranks.BLOCK_BYTES", 1 << 20)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (8000, 800))
    x[:] = np.random.default_rng(0).standard_normal(x.shape)
    y = np.asarray(x[:, :2]) > 0
    tracemalloc.start()
    try:
        found = auroc(x, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 3
    assert (found.diagonal() == 1).all()


def test_of_both_signs_the_better_one(labels):
    x = columns()
    found = auroc(x, labels, both_signs=True)
    np.testing.assert_allclose(found, np.maximum(theirs(x, labels), theirs(-x, labels)), rtol=1e-12)
    assert (auroc(x, labels) < found).any()


def test_a_label_of_one_class_has_no_curve_and_infinity_is_the_largest(labels):
    x = columns()
    one_class = np.column_stack([labels[:, 1], np.ones(N_ROWS), np.zeros(N_ROWS)])
    found = auroc(x, one_class)
    assert np.isnan(found[:, 1:]).all()
    assert np.isfinite(found[:, 0]).all()
    x[x[:, 0].argmax(), 0] = np.inf
    np.testing.assert_array_equal(auroc(x, one_class)[:, 0], found[:, 0])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 2)), np.zeros((5, 1)), "must be .rows, ….* of the same rows"),
        (np.zeros((4, 2)), np.zeros(4), "must be .rows, …"),
        (np.zeros((4, 2)), np.full((4, 1), 2), "labels must be Booleans"),
        (np.array([[0.0, 1], [1, np.nan]]), np.array([[0], [1]]), "column 1 contains NaN"),
        (sp.csc_array(np.array([[0.0, 1], [1, np.nan]])), np.array([[0], [1]]), "column 1 contains NaN"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_one_sentence(x, y, message):
    with pytest.raises(ValueError, match=message):
        auroc(x, y)
