"""Similarity of recordings: what is known of rotated, unrelated and noisy ones, and plain formulas."""

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from sklearn.cross_decomposition import CCA

from probes.similarity import canonical_correlations, compare_rdms, linear_cka, rbf_cka, rdm


def pair(n=60, d=5, e=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 3
    return X, X @ rng.standard_normal((d, e)) + rng.standard_normal((n, e)) - 2


def hsic_by_sums(K, L):
    """Song et al.'s unbiased estimate as it is printed."""
    n = len(K)
    K, L = (one - np.diag(np.diag(one)) for one in (K, L))
    terms = (K * L).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K.sum(0) @ L.sum(0)) / (n - 2)
    return terms / (n * (n - 3))


@pytest.mark.parametrize(("n", "d"), [(60, 5), (12, 40)])
def test_linear_cka_is_its_formula_from_columns_and_from_rows(n, d):
    X, Y = pair(n=n, d=d, e=d + 3)
    K, L = X @ X.T, Y @ Y.T
    debiased = hsic_by_sums(K, L) / np.sqrt(hsic_by_sums(K, K) * hsic_by_sums(L, L))
    assert linear_cka(X, Y) == pytest.approx(debiased)
    a, b = X - X.mean(0), Y - Y.mean(0)
    plain = np.linalg.norm(a.T @ b) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert linear_cka(X, Y, debiased=False) == pytest.approx(plain)


def test_gaussian_cka_is_its_formula():
    X, Y = pair()
    kernels = []
    for one in (X, Y):
        distance = np.linalg.norm(one[:, None] - one, axis=2)
        kernels.append(np.exp(-(distance**2) / (2 * (0.7 * np.median(distance[np.triu_indices(60, 1)])) ** 2)))
    K, L = kernels
    debiased = hsic_by_sums(K, L) / np.sqrt(hsic_by_sums(K, K) * hsic_by_sums(L, L))
    # torch's median of an even number is the lower of the two in the middle.
    assert rbf_cka(X, Y, bandwidth=0.7) == pytest.approx(debiased, rel=1e-3)
    H = np.eye(60) - 1 / 60
    K, L = H @ K @ H, H @ L @ H
    plain = (K * L).sum() / np.linalg.norm(K) / np.linalg.norm(L)
    assert rbf_cka(X, Y, bandwidth=0.7, debiased=False) == pytest.approx(plain, rel=1e-3)


def test_alignment_is_one_up_to_rotation_shift_and_scale_and_zero_of_strangers():
    X, _ = pair(n=50, d=80)
    rng = np.random.default_rng(1)
    turned = 3 * X @ np.linalg.qr(rng.standard_normal((80, 80)))[0] + 7
    for cka in (linear_cka, rbf_cka):
        assert cka(X, turned) == pytest.approx(1)
        assert cka(X, turned, debiased=False) == pytest.approx(1)
    strangers = [(rng.standard_normal((50, 80)), rng.standard_normal((50, 90))) for _ in range(40)]
    assert abs(np.mean([linear_cka(a, b) for a, b in strangers])) < 0.05
    assert np.mean([linear_cka(a, b, debiased=False) for a, b in strangers]) > 0.5


def test_curved_relations_are_seen_by_gaussian_kernels():
    angle = np.random.default_rng(2).uniform(0, 2 * np.pi, 300)
    X, Y = (np.stack([np.cos(k * angle), np.sin(k * angle)], axis=1) for k in (1, 2))
    assert abs(linear_cka(X, Y)) < 0.05
    assert rbf_cka(X, Y, bandwidth=0.5) > 0.1


def test_chunks_tensors_and_many_rows_change_nothing(monkeypatch):
    X, Y = pair(n=700)
    whole = linear_cka(X, Y), canonical_correlations(X, Y)
    monkeypatch.setattr("probes.rows.CHUNK_BYTES", 1)
    assert linear_cka(torch.from_numpy(X), torch.from_numpy(Y)) == pytest.approx(whole[0])
    np.testing.assert_allclose(canonical_correlations(torch.from_numpy(X), Y), whole[1])


def test_canonical_correlations_are_scikit_learns():
    X, Y = pair(n=300, d=4, e=3)
    U, V = CCA(3, tol=1e-10, max_iter=5000).fit_transform(X, Y)
    wanted = sorted((np.corrcoef(u, v)[0, 1] for u, v in zip(U.T, V.T, strict=True)), reverse=True)
    np.testing.assert_allclose(canonical_correlations(X, Y), wanted, atol=1e-4)
    rng = np.random.default_rng(3)
    np.testing.assert_allclose(canonical_correlations(X, X @ rng.standard_normal((4, 4))), 1)
    noisy = np.concatenate([X[:, 1:], 1e-3 * rng.standard_normal((300, 200))], axis=1)
    assert len(canonical_correlations(noisy, X, share=0.99)) == 3
    with pytest.raises(ValueError, match="rows are too few"):
        canonical_correlations(rng.standard_normal((20, 15)), rng.standard_normal((20, 15)))


def test_dissimilarities_are_plain_distances_of_condition_means():
    rng = np.random.default_rng(4)
    X, of = rng.standard_normal((40, 6)), np.repeat(["c", "a", "b", "d"], 10)
    means = np.stack([X[of == name].mean(0) for name in "abcd"])
    euclidean = rdm(X, metric="euclidean", conditions=of)
    np.testing.assert_allclose(euclidean, ((means[:, None] - means) ** 2).mean(2), atol=1e-15)
    np.testing.assert_allclose(rdm(X, conditions=of), 1 - np.corrcoef(means), atol=1e-12)
    np.testing.assert_allclose(rdm(torch.from_numpy(means)), 1 - np.corrcoef(means), atol=1e-12)


def test_crossnobis_is_zero_on_average_where_nothing_differs_and_the_mahalanobis_distance_where_it_does():
    rng = np.random.default_rng(5)
    truth = np.zeros((3, 10))
    truth[2] = rng.standard_normal(10)
    factor = np.eye(10) + 0.1 * rng.standard_normal((10, 10))
    of, group = np.tile(np.repeat(np.arange(3), 8), 4), np.repeat(np.arange(4), 24)
    found = []
    for _ in range(150):
        X = truth[of] + rng.standard_normal((96, 10)) @ factor.T + rng.standard_normal((4, 10))[group]
        found.append(rdm(X, metric="crossnobis", conditions=of, groups=group))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(150)
    assert abs(mean[0, 1]) < 3 * error[0, 1]
    mahalanobis = truth[2] @ np.linalg.solve(factor @ factor.T, truth[2]) / 10
    assert mean[0, 2] == pytest.approx(mahalanobis, rel=0.2)
    plain = np.mean(
        [rdm(truth[of] + rng.standard_normal((96, 10)), metric="euclidean", conditions=of)[0, 1] for _ in range(9)]
    )
    assert plain > 0.03  # noise alone


def test_crossnobis_of_noise_along_one_direction_is_refused_whatever_rounding_makes_of_it():
    """Noise of one size along one direction is known so well that Ledoit and Wolf do not shrink it."""
    sign, of, group = np.tile([1.0, -1.0], 8), np.tile(np.repeat([0, 1], 2), 4), np.repeat([0, 1], 8)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = sign[:, None] * rng.standard_normal(rng.integers(2, 9))
        with pytest.raises(ValueError, match="covariance of the noise is singular"):
            rdm(X, metric="crossnobis", conditions=of, groups=group)


def test_crossnobis_is_the_mean_over_pairs_of_groups():
    from sklearn.covariance import ledoit_wolf

    rng = np.random.default_rng(6)
    X, of, group = rng.standard_normal((36, 4)), np.tile(np.arange(3), 12), np.repeat(np.arange(3), 12)
    means = np.stack([[X[(group == g) & (of == c)].mean(0) for c in range(3)] for g in range(3)])
    noise = ledoit_wolf(X - means[group, of], assume_centered=True)[0] * 36 / 27
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    for c, e in ((0, 1), (1, 2)):
        gap = means[:, c] - means[:, e]
        wanted = np.mean([gap[a] @ np.linalg.solve(noise, gap[b]) for a, b in pairs]) / 4
        assert rdm(X, metric="crossnobis", conditions=of, groups=group)[c, e] == pytest.approx(wanted)


@pytest.mark.parametrize("method", ["spearman", "kendall", "pearson"])
def test_comparisons_are_scipys_and_p_values_tell_relation_from_none(method):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((14, 6))
    a, b = rdm(X), rdm(X + 0.5 * rng.standard_normal((14, 6)))
    upper = np.triu_indices(14, 1)
    wanted = {
        "spearman": spearmanr(a[upper], b[upper]).statistic,
        "kendall": kendalltau(a[upper], b[upper]).statistic,
        "pearson": np.corrcoef(a[upper], b[upper])[0, 1],
    }[method]
    found = compare_rdms(a, b, method=method, n_permutations=99)
    assert found.score == pytest.approx(wanted)
    assert found.p_value == 0.01
    p = [
        compare_rdms(a, rdm(rng.standard_normal((14, 6))), method=method, n_permutations=39).p_value for _ in range(12)
    ]
    assert 0.2 < np.mean(p) < 0.8


SQUARE = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: rdm(np.eye(3), metric="cosine"), "choose euclidean, correlation or crossnobis"),
        (lambda: rdm(np.ones((3, 4))), "the same in all neurons"),
        (lambda: rdm(np.eye(3), conditions=[1, 1, 1]), "one condition only"),
        (lambda: rdm(np.eye(3), conditions=[1, 1]), "each row needs its own"),
        (lambda: rdm(np.full((3, 2), np.nan)), "NaN or infinity in 3 of 3 rows"),
        (lambda: rdm(np.eye(3), metric="crossnobis"), "needs the conditions and the groups"),
        (lambda: rdm(np.eye(4), metric="crossnobis", conditions=[0, 1, 0, 1], groups=[0, 0, 1, 1]), "and some twice"),
        (lambda: compare_rdms(SQUARE, SQUARE[:2]), "of the same three conditions"),
        (lambda: compare_rdms(SQUARE, np.triu(SQUARE)), "must be symmetric"),
        (lambda: compare_rdms(SQUARE, 1 - np.eye(3)), "all dissimilarities of one matrix are equal"),
        (lambda: compare_rdms(SQUARE, SQUARE, method="cosine"), "choose spearman, kendall or pearson"),
        (lambda: compare_rdms(SQUARE, SQUARE, n_permutations=-1), "n_permutations is -1"),
        (lambda: linear_cka(np.eye(5), np.eye(6)), "of the same 4 rows or more"),
        (lambda: linear_cka(np.ones((5, 2)), np.eye(5)), "does not vary"),
        (lambda: rbf_cka(np.ones((5, 2)), np.eye(5)), "half of the rows or more are equal"),
        (lambda: rbf_cka(np.eye(5), np.eye(5), bandwidth=0.0), "above zero"),
        (lambda: canonical_correlations(np.ones((9, 2)), np.eye(9)), "does not vary"),
        (lambda: canonical_correlations(np.eye(9), np.eye(9), share=0.0), "above 0 and at most 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(measure, message):
    with pytest.raises(ValueError, match=message):
        measure()
