"""How many dimensions a population's activity takes up, by its covariance and by distances between neighbours."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.base import as_numpy
from probes.rows import Rows

# Distances of so many bytes are held at once.
BLOCK_BYTES = 64 << 20
DISCARDED = 0.1


def participation_ratio(X: Any, *, corrected: bool = True) -> float:
    """(Σλ)² / Σλ² of the covariance's eigenvalues: as many dimensions as would share the variance equally.

    Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (2017). Of few rows the plain ratio
    is too small: noise spreads the eigenvalues, and there are no more of them than rows. The correction puts unbiased
    estimates of tr(Σ)² and tr(Σ²) in their places, for rows of any distribution (Himeno and Yamada, "Estimations for
    some functions of covariance matrix in high dimension under non-normality", 2014).

    Args:
        X: activity [rows, neurons]; rows that are not independent (neighbours in time) are fewer than they look.
        corrected: for the number of rows.

    Raises:
        ValueError: fewer than four rows, activity that does not vary, or too few rows to tell.
    """
    rows = checked(X, 4)
    n, centred = rows.n, rows.less(rows.mean())
    gram, fourth, total = _covariance(centred), 0.0, 0.0
    for _, x in centred.chunks():
        squares = x.double().square().sum(1)
        fourth += float(squares.square().sum())
        total += float(squares.sum())
    trace, of_square = total / (n - 1), float((gram / (n - 1)).square().sum())
    if trace <= 0:
        raise ValueError("the activity does not vary: it has no dimensions.")
    if not corrected:
        return trace**2 / of_square
    q = fourth / (n - 1)
    scale = (n - 1) / (n * (n - 2) * (n - 3))
    square = scale * ((n - 1) * (n - 2) * of_square + trace**2 - n * q)
    squared = scale * (2 * of_square + (n * n - 3 * n + 1) * trace**2 - n * q)
    if square <= 0:
        raise ValueError(f"{n} rows are too few to tell how many dimensions there are: bring more, or corrected=False.")
    return squared / square


def variance_dimension(X: Any, *, share: float = 0.9) -> int:
    """How many principal components together have that share of the variance."""
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it must be above 0 and at most 1.")
    rows = checked(X, 2)
    eigenvalues = torch.linalg.eigvalsh(_covariance(rows.less(rows.mean()))).clamp(min=0).flip(0)
    if eigenvalues.sum() <= 0:
        raise ValueError("the activity does not vary: it has no dimensions.")
    reached = (eigenvalues.cumsum(0) / eigenvalues.sum()).cpu().numpy()
    return min(int(np.searchsorted(reached, share - 1e-12)) + 1, len(reached))


def two_nn_dimension(X: Any, *, discarded: float = DISCARDED) -> float:
    """The dimension of the surface on which rows lie, curved or not, from each row's two nearest neighbours.

    Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information" (2017): the ratio μ of the two distances has P(μ) = 1 − μ^−d, so that −log(1 − P) against log μ is a
    line through the origin of slope d. Rows that repeat others are taken once. Distances cost n² · neurons; neighbours
    in time of a slow recording lie along its path and make it a line: take rows that lie apart.

    Args:
        X: activity [rows, neurons].
        discarded: share of the largest ratios that the line is not fitted to, for outliers bend it.
    """
    if not 0 <= discarded < 1:
        raise ValueError(f"discarded is {discarded}: it must be a share from 0 to below 1.")
    rows = checked(X, 3)
    # The distances of near neighbours are small differences: double precision, about the mean.
    x = torch.unique(torch.cat([part.double() for _, part in rows.chunks()]) - rows.mean(), dim=0)
    if len(x) < 3:
        raise ValueError(f"there are {len(x)} different rows: three are needed at least.")
    ratios = torch.cat([_ratios(x, some) for some in torch.arange(len(x)).split(max(1, BLOCK_BYTES // (8 * len(x))))])
    rising = ratios.sort().values[: max(1, round((1 - discarded) * len(x)))].cpu().numpy()
    kept = np.log(rising)
    if not kept.any():
        raise ValueError(
            "each row is as far from its second neighbour as from its first: rows on a lattice tell nothing."
        )
    empirical = np.arange(1, len(kept) + 1) / len(x)
    height = -np.log1p(-np.minimum(empirical, 1 - 0.5 / len(x)))
    return float(kept @ height / (kept @ kept))


def _ratios(x: Float[Tensor, "n d"], some: Tensor) -> Float[Tensor, " some"]:
    """The distance of the second neighbour over that of the first; rows are no neighbours of their own."""
    distances = torch.cdist(x[some], x, compute_mode="donot_use_mm_for_euclid_dist")
    distances[torch.arange(len(some)), some] = torch.inf
    first, second = distances.topk(2, largest=False).values.T
    return second / first


def checked(X: Any, least: int) -> Rows:
    """A matrix of finite numbers with so many rows at least. Raises `ValueError`."""
    values = X if isinstance(X, Tensor) else as_numpy(X)
    if values.ndim != 2 or 0 in values.shape or len(values) < least:
        raise ValueError(f"X has shape {tuple(values.shape)}: it must be [rows, neurons] with {least} rows or more.")
    rows = Rows(values)
    rows.refuse_not_finite()
    return rows


def _covariance(centred: Rows) -> Float[Tensor, "k k"]:
    """Sums of products of columns, or of rows where these are fewer: their eigenvalues are the same."""
    if centred.n < centred.d:
        x = torch.cat([part.double() for _, part in centred.chunks()])
        return x @ x.T
    gram = torch.zeros(centred.d, centred.d, dtype=torch.float64, device=centred.device)
    for _, part in centred.chunks():
        x = part.double()
        gram += x.T @ x
    return gram
