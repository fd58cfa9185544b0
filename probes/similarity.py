"""How alike two recordings represent the same things: dissimilarities, kernel alignment, canonical correlations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau, rankdata
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from probes.base import as_numpy
from probes.covariances import is_regular
from probes.rows import Rows

METRICS = ("euclidean", "correlation", "crossnobis")
COMPARISONS = ("spearman", "kendall", "pearson")
# Directions of less than this share of the largest variance are rounding.
LEAST_VARIANCE = 1e-10


def rdm(
    X: Any, *, metric: str = "correlation", conditions: Any = None, groups: Any = None
) -> Float[np.ndarray, "condition condition"]:
    """The dissimilarities of all pairs of conditions.

    Kriegeskorte, Mur and Bandettini, "Representational similarity analysis" (2008). `crossnobis` is the cross-validated
    Mahalanobis distance (Walther et al., "Reliability of dissimilarity measures for multi-voxel pattern analysis",
    2016): (x̄ᵃ − ȳᵃ)ᵀ Σ⁻¹ (x̄ᵇ − ȳᵇ) over pairs of different groups a, b, divided by the number of neurons, Σ the noise
    within conditions and groups, shrunk as Ledoit and Wolf do. Noise does not make it larger: between conditions that
    do not differ it is zero on average, and may be below.

    Args:
        X: a row for each condition, or for each trial [rows, neurons].
        metric: `euclidean` (squared distances over the number of neurons), `correlation` (1 − r) or `crossnobis`.
        conditions: of each trial; rows of one condition are averaged, conditions stand in sorted order.
        groups: for `crossnobis`, the session of each trial; each condition must be in every one, some twice.

    Raises:
        ValueError: fewer than two conditions, or trials that do not allow what was asked.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}: choose euclidean, correlation or crossnobis.")
    values = _matrix(X)
    if metric == "crossnobis":
        if conditions is None or groups is None:
            raise ValueError(
                "crossnobis needs the conditions and the groups of the trials: noise must differ among these."
            )
        return _crossnobis(values, _codes(conditions, values), _codes(groups, values))
    if conditions is not None:
        of = _codes(conditions, values)
        values = _means(values, of, int(of.max()) + 1)
    if len(values) < 2:
        raise ValueError("there is one condition only: at least two are compared.")
    if metric == "euclidean":
        return squareform(pdist(values, "sqeuclidean")) / values.shape[1]
    if (np.ptp(values, axis=1) == 0).any():
        raise ValueError("a condition's activity is the same in all neurons: it has no correlation; use euclidean.")
    return squareform(pdist(values, "correlation"))


@dataclass(frozen=True)
class Comparison:
    """How alike two matrices of dissimilarities are, and how often relabelled conditions are as much."""

    score: float
    p_value: float


def compare_rdms(a: Any, b: Any, *, method: str = "spearman", n_permutations: int = 1000, seed: int = 0) -> Comparison:
    """The correlation of two recordings' dissimilarities, pair by pair of conditions.

    Args:
        a: [condition, condition], symmetric.
        b: of the same conditions in the same order.
        method: `spearman`, `kendall` (τ_b) or `pearson`.
        n_permutations: of the conditions of the one, for a p-value, (1 + #{as much}) / (1 + permutations); with none
            that is 1.
        seed: of these.
    """
    if method not in COMPARISONS:
        raise ValueError(f"method is {method!r}: choose spearman, kendall or pearson.")
    if n_permutations < 0:
        raise ValueError(f"n_permutations is {n_permutations}: it must be a number of zero and above.")
    first, second = (_matrix(one) for one in (a, b))
    n = len(first)
    if first.shape != (n, n) or second.shape != (n, n) or n < 3:
        raise ValueError(
            f"the matrices are {first.shape} and {second.shape}: they must be [condition, condition] of the same three "
            "conditions or more."
        )
    if not all(np.allclose(one, one.T) for one in (first, second)):
        raise ValueError("a matrix of dissimilarities must be symmetric.")
    upper = np.triu_indices(n, 1)
    x, y = first[upper], second[upper]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("all dissimilarities of one matrix are equal: there is no correlation with them.")
    if method == "kendall":

        def score(values: Float[np.ndarray, " pair"]) -> float:
            return float(kendalltau(x, values).statistic)

        table = second
    else:
        ranked = rankdata if method == "spearman" else np.asarray
        x, table = _standard(ranked(x)), np.zeros((n, n))
        table[upper] = _standard(ranked(y))
        table = table + table.T

        def score(values: Float[np.ndarray, " pair"]) -> float:
            return float(x @ values)

    found, rng = score(table[upper]), np.random.default_rng(seed)
    orders = (rng.permutation(n) for _ in range(n_permutations))
    as_much = sum(score(table[np.ix_(order, order)][upper]) >= found - 1e-12 for order in orders)
    return Comparison(found, (1 + as_much) / (1 + n_permutations))


def linear_cka(X: Any, Y: Any, *, debiased: bool = True) -> float:
    """Centred kernel alignment of two recordings of the same rows: 1 where they are alike up to rotation and scale.

    Kornblith et al., "Similarity of neural network representations revisited" (2019). The plain value rises towards 1
    as neurons outnumber rows; debiased, with the unbiased HSIC of Song et al. (2012) as in Nguyen, Raghu and Kornblith
    (2021), recordings that have nothing in common have zero on average. Rows are read in chunks, so that hundreds of
    thousands are no matter.

    Args:
        X: [rows, neurons].
        Y: the same rows of another recording [rows, other neurons].
        debiased: for the number of rows.
    """
    x, y = _pair(X, Y, 4)
    x, y = (one.less(one.mean()) for one in (x, y))
    of = {"xy": (x, y), "xx": (x, x), "yy": (y, y)}
    hsic = {name: _linear_hsic(a, b, debiased) for name, (a, b) in of.items()}
    return _aligned(**hsic)


def rbf_cka(X: Any, Y: Any, *, bandwidth: float = 1.0, debiased: bool = True) -> float:
    """The same with Gaussian kernels, which see curved relations too; it takes [rows, rows] of memory.

    Args:
        X: [rows, neurons].
        Y: the same rows of another recording.
        bandwidth: of the kernels, as a share of the median distance of two rows.
        debiased: for the number of rows.
    """
    if not 0 < bandwidth < np.inf:
        raise ValueError(f"bandwidth is {bandwidth}: it must be a share of the median distance, above zero.")
    kernels = [_rbf(rows, bandwidth) for rows in _pair(X, Y, 4)]
    centred = [_u_centred(K) if debiased else _centred(K) for K in kernels]
    a, b = centred
    return _aligned(xy=float((a * b).sum()), xx=float(a.square().sum()), yy=float(b.square().sum()))


def canonical_correlations(X: Any, Y: Any, *, share: float = 1.0) -> Float[np.ndarray, " k"]:
    """Correlations of the pairs of directions of two recordings that go together most, largest first.

    With a `share` below 1 only the principal components that have that share of each recording's variance are used:
    SVCCA (Raghu et al., "SVCCA: singular vector canonical correlation analysis", 2017), whose score is the mean.
    Correlations of few rows are large by chance: with as many dimensions as rows all are 1.

    Args:
        X: [rows, neurons], more rows than neurons that are used.
        Y: the same rows of another recording.
        share: of the variance.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it must be above 0 and at most 1.")
    x, y = _pair(X, Y, 3)
    a, b = (one.less(one.mean()) for one in (x, y))
    left, right = _whitening(_products(a, a), share), _whitening(_products(b, b), share)
    if left.shape[1] + right.shape[1] >= x.n:
        raise ValueError(
            f"{x.n} rows are too few for {left.shape[1]} and {right.shape[1]} dimensions: take a smaller share."
        )
    return torch.linalg.svdvals(left.T @ _products(a, b) @ right).clamp(max=1).cpu().numpy()


def _crossnobis(
    X: Float[np.ndarray, "n d"], condition: Int[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "condition condition"]:
    n_conditions, n_groups = int(condition.max()) + 1, int(group.max()) + 1
    cell = group * n_conditions + condition
    number = np.bincount(cell, minlength=n_conditions * n_groups)
    if n_groups < 2 or n_conditions < 2 or not number.all() or number.max() < 2:
        raise ValueError(
            "crossnobis needs two groups and two conditions, each of these in every group, and some twice."
        )
    means = _means(X, cell, n_conditions * n_groups)
    left = X - means[cell]
    noise = ledoit_wolf(left, assume_centered=True)[0] * (len(X) / (len(X) - len(number)))
    if not is_regular(noise):
        raise ValueError(
            "the covariance of the noise is singular: leave out neurons that never vary within a condition."
        )
    lower = np.linalg.cholesky(noise)
    white = np.linalg.solve(lower, means.T).T.reshape(n_groups, n_conditions, -1)
    total = white.sum(0)
    # All pairs of groups, less those of a group with itself.
    products = (total @ total.T - np.einsum("gcd,ged->ce", white, white)) / (n_groups * (n_groups - 1))
    own = np.diag(products)
    return (own[:, None] + own[None, :] - products - products.T) / X.shape[1]


def _linear_hsic(x: Rows, y: Rows, debiased: bool) -> float:
    """‖XᵀY‖² of centred rows; or the unbiased estimate (up to a factor), from products of columns or of rows."""
    products = _squared_products(x, y)
    if not debiased:
        return products
    n, own, of_x, of_y = x.n, 0.0, 0.0, 0.0
    # Rows are centred, so that the sum of a row of the kernel is zero, and without its diagonal −‖x‖².
    for where, part in x.chunks():
        a, b = part.double().square().sum(1), y[where].double().square().sum(1)
        own, of_x, of_y = own + float(a @ b), of_x + float(a.sum()), of_y + float(b.sum())
    return products - own * n / (n - 2) + of_x * of_y / ((n - 1) * (n - 2))


def _squared_products(x: Rows, y: Rows) -> float:
    if x.d * y.d <= x.n * (x.d + y.d):
        return float(_products(x, y).square().sum())
    a, b = (torch.cat([part.double() for _, part in rows.chunks()]) for rows in (x, y))
    return float(((a @ a.T) * (b @ b.T)).sum())


def _products(x: Rows, y: Rows) -> Float[Tensor, "d e"]:
    total = torch.zeros(x.d, y.d, dtype=torch.float64, device=x.device)
    for where, part in x.chunks():
        total += part.double().T @ y[where].double()
    return total


def _rbf(rows: Rows, bandwidth: float) -> Float[Tensor, "n n"]:
    x = torch.cat([part.double() for _, part in rows.chunks()])
    distances = torch.cdist(x, x)
    median = distances[*torch.triu_indices(rows.n, rows.n, 1)].median()
    if median <= 0:
        raise ValueError("half of the rows or more are equal: their median distance, the kernel's measure, is zero.")
    return torch.exp(-0.5 * (distances / (bandwidth * median)).square())


def _centred(K: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    return K - K.mean(0) - K.mean(1, keepdim=True) + K.mean()


def _u_centred(K: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Centred without the diagonal (Székely and Rizzo, 2014): products of such matrices are the unbiased HSIC."""
    n = len(K)
    K = K - torch.diag(K.diagonal())
    sums = K.sum(1)
    K = K - sums / (n - 2) - sums[:, None] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return K - torch.diag(K.diagonal())


def _aligned(xy: float, xx: float, yy: float) -> float:
    if xx <= 0 or yy <= 0:
        raise ValueError(
            "a recording does not vary, or has too few rows to tell that it does: there is nothing to align."
        )
    return xy / float(np.sqrt(xx * yy))


def _whitening(gram: Float[Tensor, "d d"], share: float) -> Float[Tensor, "d k"]:
    """Principal components with that share of the variance, of unit length."""
    squares, basis = torch.linalg.eigh(gram)
    squares, basis = squares.flip(0), basis.flip(1)
    if squares[0] <= 0:
        raise ValueError("a recording does not vary: it has no correlations.")
    kept = squares > LEAST_VARIANCE * squares[0]
    if share < 1:
        reached = squares.clamp(min=0).cumsum(0) / squares.clamp(min=0).sum()
        kept &= torch.cat([reached.new_zeros(1), reached[:-1]]) < share
    return basis[:, kept] / squares[kept].sqrt()


def _pair(X: Any, Y: Any, least: int) -> tuple[Rows, Rows]:
    x, y = (one if isinstance(one, Tensor) else as_numpy(one) for one in (X, Y))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < least or 0 in (x.shape[1], y.shape[1]):
        raise ValueError(
            f"X is {tuple(x.shape)} and Y {tuple(y.shape)}: they must be [rows, neurons] of the same {least} rows or "
            "more."
        )
    both = Rows(x), Rows(y)
    for rows in both:
        rows.refuse_not_finite()
    return both


def _matrix(X: Any) -> Float[np.ndarray, "n d"]:
    values = as_numpy(X)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"X has shape {values.shape}: it must be [rows, neurons].")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        wrong = np.flatnonzero(~np.isfinite(values).all(1))
        raise ValueError(
            f"X contains NaN or infinity in {len(wrong):,} of {len(values):,} rows (the first is {wrong[0]})."
        )
    return values


def _codes(labels: Any, values: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
    given = as_numpy(labels)
    if given.shape != (len(values),):
        raise ValueError(f"X has {len(values)} rows and the labels the shape {given.shape}: each row needs its own.")
    return np.unique(given, return_inverse=True)[1]


def _means(values: Float[np.ndarray, "n d"], of: Int[np.ndarray, " n"], n: int) -> Float[np.ndarray, "k d"]:
    member = sp.csr_array((np.ones(len(of)), (of, np.arange(len(of)))), shape=(n, len(of)))
    return (member @ values) / np.bincount(of, minlength=n).clip(1)[:, None]


def _standard(values: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    centred = values - values.mean()
    return centred / np.linalg.norm(centred)
