"""Detection: every count against brute force, every score against scikit-learn."""

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import f1_score, precision_score, recall_score

from probes.detection import (
    DenseColumns,
    HeldOut,
    SparseColumns,
    best_column_for_sets,
    best_pairs,
    best_sets,
    bootstrap_f1_gain,
    count_labels,
    count_together,
    detect,
    f1_interval,
    f1_of_values,
)
from probes.detection.labels import Choice

N_ROWS, N_LABELS, N_VALUES = 400, 7, 6


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return (rng.random((N_ROWS, N_LABELS)) < rng.uniform(0.05, 0.5, N_LABELS)).astype(np.uint8)


@pytest.fixture
def sparse_columns():
    """Columns of very different densities, one of them empty, with many equal values."""
    rng = np.random.default_rng(1)
    matrix = rng.integers(1, 9, (N_ROWS, 8)) * (rng.random((N_ROWS, 8)) < [0.3, 0.1, 0.03, 0.5, 0.01, 0, 0.2, 0.05])
    csc = sp.csc_array(matrix.astype(np.float32))
    return SparseColumns(csc.indptr, csc.indices, csc.data, N_ROWS), matrix


def detectors(columns, matrix):
    """Every (column, level, threshold) with its firings, read off the matrix."""
    ladder = columns.ladder
    for column, level in np.ndindex(ladder.fired.shape):
        threshold = ladder.thresholds[column, level]
        yield column, level, (matrix[:, column] > 0) & (matrix[:, column] >= threshold)


def score_with_lift(truth, fires):
    """F1, or 0 where the truth is not twice as frequent on the firings as on all rows."""
    hits, fired, positives = (truth & fires).sum(), fires.sum(), truth.sum()
    return 2 * hits / (fired + positives) if fired and hits / fired >= 2 * truth.mean() else 0.0


def signed(matrix):
    return np.concatenate([matrix, -matrix], axis=1)


def test_sparse_ladder_halves_the_firings_and_keeps_equal_values_together(sparse_columns):
    columns, matrix = sparse_columns
    ladder = columns.ladder
    for column, level, fires in detectors(columns, matrix):
        n, fired = int((matrix[:, column] > 0).sum()), ladder.fired[column, level]
        start = ladder.starts[column]
        assert fired == fires.sum()
        assert sorted(ladder.rows[start : start + fired]) == list(np.flatnonzero(fires))
        assert fired >= n / 2 ** (ladder.fired.shape[1] - 1 - level)
    assert (ladder.fired[:, -1] == (matrix > 0).sum(0)).all()


def test_label_counts_of_sparse_columns_are_those_of_brute_force(sparse_columns, labels):
    columns, matrix = sparse_columns
    counts = count_labels(columns, labels)
    f1 = counts.f1()
    for column, level, fires in detectors(columns, matrix):
        assert (counts.tp[column, level] == labels[fires].sum(0)).all()
        for label in range(N_LABELS):
            expected = f1_score(labels[:, label], fires, zero_division=0)
            assert f1[column, level, label] == pytest.approx(expected, abs=1e-6)
    precision = counts.tp / np.maximum(1, counts.fired)[:, :, None]
    with_lift = np.where(precision >= 2 * labels.mean(0), f1, 0)
    assert 0 < (with_lift > 0).mean() < 1
    assert counts.best_label().f1 == pytest.approx(with_lift.max((1, 2)))
    assert counts.best_column().f1 == pytest.approx(f1.max((0, 1)))
    three, at_best = counts.best_columns(3), f1.max(1)
    for label in range(N_LABELS):
        found = three.where(three.label == label)
        assert len(set(found.column)) == 3
        assert found.f1 == pytest.approx(-np.sort(-at_best[:, label])[:3])
        assert found.f1 == pytest.approx(at_best[found.column, label])
        for column, threshold, reached in zip(found.column, found.threshold, found.f1, strict=True):
            fires = (matrix[:, column] > 0) & (matrix[:, column] >= threshold)
            assert f1_score(labels[:, label], fires, zero_division=0) == pytest.approx(reached, abs=1e-6)
    assert (three.first_of_each.column == counts.best_column().column).all()


def test_label_counts_of_dense_columns_take_both_signs_and_all_fractions():
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(3000, 5)).astype(np.float32)
    labels = np.stack([matrix[:, 0] > 1, matrix[:, 1] < -0.3, rng.random(3000) < 0.3], axis=1).astype(np.uint8)
    columns = DenseColumns(np.ascontiguousarray(matrix.T))
    counts = count_labels(columns, labels)
    both = signed(matrix)
    for column, level in np.ndindex(counts.fired.shape):
        fires = both[:, column] >= counts.thresholds[column, level]
        assert counts.fired[column, level] == fires.sum()
        counted = counts.tp[column, level] > 0
        assert (counts.tp[column, level][counted] == labels[fires].sum(0)[counted]).all()
        # What is left out could not have reached an F1 of .23.
        for label in np.flatnonzero(~counted):
            assert f1_score(labels[:, label], fires, zero_division=0) < 0.23
    best = counts.best_column()
    assert (best.column[:2] == [0, 5 + 1]).all()  # the second label is the negative side of column 1
    assert (best.f1[:2] > 0.75).all()


def test_a_value_shared_by_most_rows_does_not_make_a_narrow_level_wide():
    relu = np.maximum(np.random.default_rng(3).normal(size=(2, 2000)) - 1.5, 0).astype(np.float32)
    ladder = DenseColumns(relu).ladder
    assert (ladder.fired <= 0.21 * 2000).all()
    assert ladder.fired[0, -1] == (relu[0] > 0).sum()


def test_pairs_are_those_of_an_exhaustive_search(sparse_columns, labels):
    columns, matrix = sparse_columns
    # Conjunctions worth finding: make some labels mean a column only together.
    labels[:, 0] |= (matrix[:, 0] > 0).astype(np.uint8)
    labels[:, 1] |= (matrix[:, 0] > 0).astype(np.uint8)
    counts = count_labels(columns, labels)
    to_beat = counts.best_label().f1
    found = best_pairs(columns.ladder, labels, counts, count_together(labels), to_beat)
    best = np.zeros(columns.n_columns)
    for column, _, fires in detectors(columns, matrix):
        for a, b in combinations(range(N_LABELS), 2):
            best[column] = max(best[column], score_with_lift(labels[:, a] & labels[:, b], fires))
    wins = best > to_beat + 1e-6
    assert wins.any()
    assert not wins.all()
    assert found.f1 == pytest.approx(np.where(wins, best, 0), abs=1e-6)
    for column in np.flatnonzero(wins):
        fires = (matrix[:, column] > 0) & (matrix[:, column] >= found.threshold[column])
        both = labels[:, found.first[column]] & labels[:, found.second[column]]
        assert f1_score(both, fires) == pytest.approx(found.f1[column], abs=1e-6)


def test_sets_are_the_best_of_all_subsets(sparse_columns):
    columns, matrix = sparse_columns
    values = np.random.default_rng(4).integers(-1, N_VALUES, N_ROWS)
    # One column that is nearly a set, so that the best set is neither one value nor all.
    hit = np.isin(values, (1, 4))
    found = best_sets(columns.ladder, values, N_VALUES)
    best = np.zeros(columns.n_columns)
    subsets = [s for size in range(1, N_VALUES + 1) for s in combinations(range(N_VALUES), size)]
    inside = [np.isin(values, s) for s in subsets]
    for column, _, fires in detectors(columns, matrix):
        highest = max(inside, key=lambda s: (fires & s).sum() / max(1, fires.sum() + s.sum()))
        best[column] = max(best[column], score_with_lift(highest, fires))
    assert found.f1 == pytest.approx(best, abs=1e-5)
    for column, members in enumerate(found.members):
        fires = (matrix[:, column] > 0) & (matrix[:, column] >= found.threshold[column])
        score = f1_score(np.isin(values, members), fires, zero_division=0)
        assert score == pytest.approx(best[column], abs=1e-5)
    planted = SparseColumns(np.array([0, hit.sum()]), np.flatnonzero(hit), np.ones(hit.sum()), N_ROWS)
    assert set(best_sets(planted.ladder, values, N_VALUES).members[0]) == {1, 4}


def test_the_best_column_for_a_set_is_that_of_brute_force(sparse_columns):
    columns, matrix = sparse_columns
    values = np.random.default_rng(5).integers(-1, N_VALUES, N_ROWS)
    sets = [np.array([0, 2]), np.array([3])]
    column, threshold, f1 = best_column_for_sets(columns.ladder, values, N_VALUES, sets)
    for i, members in enumerate(sets):
        truth = np.isin(values, members)
        scores = [f1_score(truth, fires, zero_division=0) for _, _, fires in detectors(columns, matrix)]
        assert f1[i] == pytest.approx(max(scores), abs=1e-6)
        fires = (matrix[:, column[i]] > 0) & (matrix[:, column[i]] >= threshold[i])
        assert f1_score(truth, fires) == pytest.approx(f1[i], abs=1e-6)


def test_counts_made_in_blocks_are_the_same(sparse_columns, monkeypatch):
    columns, _ = sparse_columns
    values = np.random.default_rng(6).integers(0, N_VALUES, N_ROWS)
    whole = best_sets(columns.ladder, values, N_VALUES)
    monkeypatch.setattr("probes.detection.sets.CELLS", 3 * N_VALUES * columns.ladder.fired.shape[1])
    parts = best_sets(columns.ladder, values, N_VALUES)
    assert (whole.f1 == parts.f1).all()
    assert all(set(a) == set(b) for a, b in zip(whole.members, parts.members, strict=True))


def test_held_out_scores_are_scikit_learns(sparse_columns, labels):
    columns, matrix = sparse_columns
    groups = np.random.default_rng(7).integers(0, 5, N_ROWS)
    choice = Choice(np.array([0, 3]), np.array([2, 6]), np.array([4.0, 0.0], np.float32), np.zeros(2, np.float32))
    for i, score in enumerate(HeldOut.of(labels, groups).score(columns, choice)):
        fires = (matrix[:, choice.column[i]] > 0) & (matrix[:, choice.column[i]] >= choice.threshold[i])
        truth = labels[:, choice.label[i]]
        assert score.precision == pytest.approx(precision_score(truth, fires))
        assert score.recall == pytest.approx(recall_score(truth, fires))
        assert score.f1 == pytest.approx(f1_score(truth, fires))
        assert score.lift == pytest.approx(precision_score(truth, fires) / truth.mean())
        for group in range(5):
            inside = groups == group
            assert score.tp[group] == (fires & (truth > 0) & inside).sum()
            assert score.positives[group] == truth[inside].sum()


def test_bootstrap_interval_of_a_gain(labels):
    """A detector never gains on itself; a perfect one gains on a poor one, by what the interval holds."""
    groups = np.repeat(np.arange(20), N_ROWS // 20)
    truth = labels[:, 0].astype(float)
    noisy = np.where(np.random.default_rng(8).random(N_ROWS) < 0.4, 1 - truth, truth)
    csc = sp.csc_array(np.stack([truth, noisy], axis=1))
    columns = SparseColumns(csc.indptr, csc.indices, csc.data, N_ROWS)
    choice = Choice(np.arange(2), np.zeros(2, np.int64), np.zeros(2, np.float32), np.zeros(2, np.float32))
    perfect, poor = HeldOut.of(labels, groups).score(columns, choice)
    low, high = bootstrap_f1_gain([perfect, perfect], [perfect, poor], seed=0).T
    assert low[0] == high[0] == 0
    assert 0 < low[1] < perfect.f1 - poor.f1 < high[1] <= 1


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_detect_finds_planted_detectors_and_scores_them_on_other_rows(kind):
    rng = np.random.default_rng(9)
    n = 6000
    labels = rng.random((n, 4)) < [0.1, 0.05, 0.3, 0.3]
    both = labels[:, 2] & labels[:, 3]
    wanted = np.stack([labels[:, 1], both, labels[:, 0]], axis=1)
    strength = np.where(wanted, 2 + rng.random((n, 3)), rng.random((n, 3)) * (rng.random((n, 3)) < 0.05))
    if kind == "dense":
        strength = strength * [1, 1, -1]
    columns = sp.csr_array(strength) if kind == "sparse" else strength
    fit = np.arange(n) < 4000
    found = detect(columns, labels, fit=fit, held_out=~fit, names=["a", "b", "c", "d"])
    assert found.by_column["label"].tolist() == ["b", "c and d", "a"]
    assert (found.by_column["f1"] > 0.6).all()
    assert found.by_column["sign"].tolist() == [1, 1, -1] if kind == "dense" else [1, 1, 1]
    by_label = found.by_label.set_index("label")
    assert by_label.loc[["a", "b"], "column"].tolist() == [2, 0]
    for row in found.by_label.itertuples():
        value = strength[~fit, row.column] * row.sign
        fires = (value >= row.threshold) & (value > 0 if kind == "sparse" else True)
        truth = labels[~fit, "abcd".index(row.label)]
        assert row.f1 == pytest.approx(f1_score(truth, fires), abs=1e-6)


def test_detect_of_noise_is_no_better_than_chance_on_held_out_rows():
    rng = np.random.default_rng(10)
    labels = rng.random((4000, 30)) < 0.02
    noise = rng.normal(size=(4000, 40))
    fit = np.arange(4000) < 2000
    found = detect(noise, labels, fit=fit, held_out=~fit).by_column
    # Random firing reaches 2p/(1 + p) at most, whatever was found where it was chosen.
    assert found["f1"].mean() < 0.04 < found["f1_fit"].mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full((5, 1), 2)}, "Booleans"),
        ({"labels": np.zeros((4, 1))}, "5 rows of activations, but 4"),
        ({"fit": np.arange(4)}, "both parts"),
        ({"held_out": np.zeros(5, bool)}, "both parts need rows"),
        ({"fit": np.ones(3, bool)}, "a mask of"),
    ],
)
def test_detect_refuses_what_it_cannot_score(change, message):
    arguments = {"labels": np.zeros((5, 1)), "fit": np.array([0, 1]), "held_out": np.array([3, 4])} | change
    with pytest.raises(ValueError, match=message):
        detect(np.zeros((5, 2)), **arguments)


def test_the_best_set_of_values_for_a_label_is_found_as_by_trying_all():
    rng = np.random.default_rng(5)
    values, labels = rng.integers(0, 8, 4000), np.zeros((4000, 3), np.uint8)
    for j, chance in enumerate(rng.random((3, 8))):
        labels[:, j] = rng.random(4000) < chance[values]
    fit, held_out = slice(0, 3000), slice(3000, None)
    found = f1_of_values(values[fit], labels[fit], values[held_out], labels[held_out], 8)
    for j in range(3):
        subsets = [s for size in range(9) for s in combinations(range(8), size)]
        best = max(subsets, key=lambda s: f1_score(labels[fit, j], np.isin(values[fit], s), zero_division=0))
        expected = f1_score(labels[held_out, j], np.isin(values[held_out], best))
        assert found[j] == pytest.approx(expected, abs=1e-6)


def test_a_label_that_is_a_set_of_values_is_told_by_them_alone():
    rng = np.random.default_rng(6)
    values = rng.integers(0, 50, 5000)
    labels = np.stack([values < 7, rng.random(5000) < 0.2], axis=1).astype(np.uint8)
    found = f1_of_values(values[:4000], labels[:4000], values[4000:], labels[4000:], 50)
    assert found[0] == 1
    assert found[1] < 0.4


def test_the_interval_of_f1_is_that_of_its_posterior():
    rng = np.random.default_rng(5)
    for tp, fp, fn in [(7, 0, 0), (200, 30, 1), (3, 10, 30), (0, 12, 0)]:
        # Shares of hits, false alarms and misses, with Jeffreys's prior.
        hit, false, missed = rng.dirichlet([tp + 0.5, fp + 0.5, fn + 0.5], 200_000).T
        drawn = np.quantile(2 * hit / (2 * hit + false + missed), [0.025, 0.975])
        found = f1_interval(np.array(tp), np.array(tp + fp), np.array(tp + fn))
        assert found.tolist() == pytest.approx(drawn.tolist(), abs=0.005)


def test_the_interval_of_f1_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(6)
    share = rng.beta(0.5, 1, 40_000)  # of hits among all rows where either holds
    tp = rng.binomial(40, share)
    low, high = f1_interval(tp, np.full_like(tp, 40), tp).T
    truth = 2 * share / (1 + share)
    assert (truth < low).mean() == pytest.approx(0.025, abs=0.003)
    assert (truth > high).mean() == pytest.approx(0.025, abs=0.003)


def test_a_perfect_score_on_few_rows_is_not_as_sure_as_on_many():
    n = np.array([1, 3, 10, 100, 1000])
    low = f1_interval(n, n, n)[:, 0]
    assert (np.diff(low) > 0).all()
    assert low[0] < 0.2 < 0.99 < low[-1] < 1
