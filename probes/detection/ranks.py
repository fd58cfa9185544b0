"""How columns rank rows: the area under the ROC curve of many columns for many labels at once, without thresholds."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Shaped
from threadpoolctl import threadpool_limits
from torch import Tensor

# The ranks that are held at once, or, of sparse columns, the labels that they are multiplied with.
BLOCK_BYTES = 128 << 20
ROW_BLOCK = 4096


def auroc(columns: Any, labels: Any, *, both_signs: bool = False) -> Float[np.ndarray, "columns labels"]:
    """How often a row where the label holds has more of the column than one where it does not, ties counting half.

    Mann and Whitney's U over its largest value. Each column is ranked once, and one product with the labels gives the
    sums of ranks of all of them; these are whole numbers, so that nothing is rounded before the last division. Some
    columns are read at a time: memory does not grow with their number.

    Args:
        columns: [rows, columns]: NumPy or torch, in memory or mapped, or a SciPy sparse array, of which only what is
            stored is read. Infinity ranks as the largest.
        labels: Booleans [rows, labels].
        both_signs: give the better of a column and of its negative, which is at least ½.

    Returns:
        NaN for a label that holds on all rows, or on none.

    Raises:
        ValueError: rows that do not match, labels that are no Booleans, or NaN in a column.
    """
    truth = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    _refuse_unfit(columns, truth)
    positives = truth.sum(0, dtype=np.int64)
    twice = _sparse_sums(columns, truth) if sp.issparse(columns) else _dense_sums(columns, truth)
    pairs = positives * (len(truth) - positives)
    above = twice - positives * (positives + 1.0)
    area = np.divide(above, 2.0 * pairs, out=np.full(above.shape, np.nan), where=pairs > 0)
    return np.maximum(area, 1 - area) if both_signs else area


def _refuse_unfit(columns: Any, truth: Shaped[np.ndarray, "..."]) -> None:
    shapes = tuple(columns.shape), truth.shape
    if any(len(shape) != 2 for shape in shapes) or len(truth) != columns.shape[0]:
        raise ValueError(
            f"columns are {shapes[0]} and labels {shapes[1]}: they must be [rows, …] of the same rows; of one, "
            "`y[:, None]` makes a column."
        )
    if truth.dtype != bool and not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be Booleans: one column for each label, True where it holds.")


def _refuse_nan(values: Shaped[np.ndarray, "some values"], start: int) -> None:
    if values.dtype.kind == "f" and (nan := np.isnan(values)).any():
        column = start + int(nan.any(1).argmax())
        raise ValueError(f"column {column} contains NaN: leave its rows out, or replace the values.")


def _dense_sums(columns: Any, truth: Shaped[np.ndarray, "n labels"]) -> Float[np.ndarray, "columns labels"]:
    """Twice the sums of the ranks of each label's rows."""
    n, d = columns.shape
    size = max(1, BLOCK_BYTES // (8 * max(1, n)))
    sums = np.zeros((d, truth.shape[1]))
    # One column needs no threads beside those of the product; to hold these back takes longer than to rank it.
    alone = nullcontext() if d == 1 else threadpool_limits(1, user_api="blas")
    with alone, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, d, size):
            values = _lying_together(columns, slice(start, start + size))
            _refuse_nan(values, start)
            ranks = np.stack(list(pool.map(_twice_ranks, values)))
            for rows in (slice(first, first + ROW_BLOCK) for first in range(0, n, ROW_BLOCK)):
                sums[start : start + size] += ranks[:, rows] @ truth[rows].astype(np.float64)
    return sums


def _lying_together(columns: Any, some: slice) -> Shaped[np.ndarray, "some n"]:
    """Some columns, each contiguous."""
    if isinstance(columns, Tensor):
        part = columns[:, some].detach()
        columns = (part.float() if part.dtype == torch.bfloat16 else part).cpu().numpy()
        return np.ascontiguousarray(columns.T)
    return np.ascontiguousarray(np.asarray(columns[:, some]).T)


def _twice_ranks(values: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Twice each value's rank, counted from one; equal values share the middle of theirs."""
    order = np.argsort(values)
    rising = values[order]
    first = np.flatnonzero(np.concatenate([[True], rising[1:] != rising[:-1]]))
    last = np.append(first[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + last + 1, last - first)
    return ranks


def _sparse_sums(columns: Any, truth: Shaped[np.ndarray, "n labels"]) -> Float[np.ndarray, "columns labels"]:
    """The same from what is stored: all other rows share the rank of zero."""
    stored = sp.csc_array(columns)
    if not stored.has_canonical_format:
        stored = stored.copy()
        stored.sum_duplicates()
    n, d = stored.shape
    of_zero, beyond = np.empty(d), np.empty(len(stored.data))
    for column, (start, stop) in enumerate(pairwise(stored.indptr)):
        _refuse_nan(stored.data[None, start:stop], column)
        of_zero[column], beyond[start:stop] = _ranks_beyond_zero(stored.data[start:stop], n)
    ranks = sp.csc_array((beyond, stored.indices, stored.indptr), shape=(n, d)).T
    sums = np.empty((d, truth.shape[1]))
    size = max(1, BLOCK_BYTES // (8 * max(1, n)))
    for some in (slice(first, first + size) for first in range(0, truth.shape[1], size)):
        part = truth[:, some].astype(np.float64)
        sums[:, some] = ranks @ part + np.outer(of_zero, part.sum(0))
    return sums


def _ranks_beyond_zero(
    stored: Shaped[np.ndarray, " stored"], n_rows: int
) -> tuple[float, Float[np.ndarray, " stored"]]:
    """Twice the rank of the rows that are zero, and by how much that of each stored value is more."""
    missing = n_rows - len(stored)
    ranks = _twice_ranks(stored) + 2 * missing * (stored > 0) + missing * (stored == 0)
    of_zero = 2 * int((stored < 0).sum()) + missing + int((stored == 0).sum()) + 1
    return float(of_zero), ranks - of_zero
