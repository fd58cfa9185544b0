"""Means over sequences with their intervals over documents, many lines at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from probes.scores import LEVEL, Resampling


class Mean(NamedTuple):
    """A mean a line, and the ends of its interval (95%); these are NaN where there is one document only."""

    value: Float[np.ndarray, " line"]
    low: Float[np.ndarray, " line"]
    high: Float[np.ndarray, " line"]


def over_documents(sums: Float[np.ndarray, "line doc"], counts: Int[np.ndarray, "*line doc"], seed: int) -> Mean:
    """Means of what documents add up to, with bootstrap intervals over these, for they are what was drawn.

    Args:
        sums: of each document.
        counts: of how many it is the sum, for all lines alike or for each.
        seed: of the draws.
    """
    counts = np.broadcast_to(counts, sums.shape)
    low, high = np.full((2, len(sums)), np.nan)
    several = (counts > 0).sum(1) > 1
    if several.any():
        draws = Resampling.of_groups(np.arange(sums.shape[1]), seed=seed).draws
        with np.errstate(invalid="ignore"):  # a draw may have no document that a line is about
            drawn = (draws @ sums[several].T) / (draws @ counts[several].T)
        low[several], high[several] = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Mean(sums.sum(1) / counts.sum(1), low, high)


def mean_over_documents(
    values: Float[np.ndarray, "line seq"],
    docs: Shaped[np.ndarray, " seq"],
    *,
    of: Bool[np.ndarray, "line seq"] | None = None,
    seed: int = 0,
) -> Mean:
    """The same of a value of each sequence.

    Args:
        values: of each sequence.
        docs: which document each is of.
        of: the sequences that a line is about; all of them where None.
        seed: of the draws.
    """
    known, number = np.unique(docs, return_inverse=True)
    member = np.zeros((len(docs), len(known)), np.int64)
    member[np.arange(len(docs)), number] = 1
    of = np.ones(values.shape, bool) if of is None else of
    return over_documents(np.where(of, values, 0.0) @ member, of.astype(np.int64) @ member, seed)
