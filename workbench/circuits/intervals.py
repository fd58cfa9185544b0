"""Means over sequences with their intervals over documents."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from probes.scores import LEVEL, Resampling

Lines = Float[np.ndarray, " line"]


def mean_and_interval(
    values: Float[np.ndarray, "line seq"], docs: Int[np.ndarray, " seq"], seed: int = 0
) -> tuple[Lines, Lines, Lines]:
    """Of each line the mean over sequences, and the ends of its 95% interval over documents; NaN of one document."""
    return interval_of(lambda means: means, values, docs, seed)


def interval_of(
    made_of: Callable[[Float[np.ndarray, "draws line"]], Float[np.ndarray, "draws line"]],
    values: Float[np.ndarray, "line seq"],
    docs: Int[np.ndarray, " seq"],
    seed: int = 0,
) -> tuple[Lines, Lines, Lines]:
    """The same of what is made of the lines' means: a difference, a share."""
    mean = made_of(values.mean(1)[None])[0]
    if len(np.unique(docs)) < 2:
        return mean, np.full(len(mean), np.nan), np.full(len(mean), np.nan)
    resampling = Resampling.of_groups(docs, seed=seed)
    n_docs = resampling.draws.shape[1]
    sums = np.stack([np.bincount(resampling.of, weights=line, minlength=n_docs) for line in values])
    sizes = resampling.draws @ np.bincount(resampling.of, minlength=n_docs)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw in which there is nothing to share
        drawn = made_of(resampling.draws @ sums.T / sizes[:, None])
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return mean, low, high
