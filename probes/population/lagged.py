"""Products of a recording with itself at other times, without the matrix that has every bin beside its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from probes.base import taken

# Bins that are multiplied at once.
BLOCK = 8192


@dataclass(frozen=True)
class LaggedMoments:
    """Sums over the bins whose whole window, from `before` bins earlier to `after` bins later, lies in their group.

    Columns are lag by lag, the earliest first, and neuron by neuron within a lag.

    Attributes:
        n: how many bins these are.
        mean, target_mean: of the columns and of the targets.
        gram: sums of products of the columns, less their means.
        products: of the columns with the targets.
    """

    n: int
    mean: Float[np.ndarray, " p"]
    target_mean: Float[np.ndarray, " k"]
    gram: Float[np.ndarray, "p p"]
    products: Float[np.ndarray, "p k"]

    @classmethod
    def of(
        cls,
        X: Float[np.ndarray, "n neurons"],
        targets: Float[np.ndarray, "n k"],
        runs: Sequence[slice],
        before: int,
        after: int,
    ) -> "LaggedMoments":
        """Raises `ValueError` where no group is as long as the window.

        Products at lags i and i + δ are sums of x_s x_{s+δ} over all s of a stretch that moves by a bin when i does:
        one sum for each δ, and differences at the ends of the groups for each i. L lags cost L products of the
        recording with itself, where the matrix of all lags would cost L²/2.
        """
        inside = [(run.start, run.stop - before - after) for run in runs if run.stop - run.start > before + after]
        if not inside:
            longest = max(run.stop - run.start for run in runs)
            raise ValueError(
                f"no group has the {before + after + 1} bins of the window (the longest has {longest}): give fewer "
                "lags, or longer groups."
            )
        first = np.concatenate([np.arange(a, b) for a, b in inside])
        starts, stops = np.array(inside).T
        n, n_lags, n_neurons = len(first), before + after + 1, X.shape[1]
        # What never changes leaves nothing, not even rounding.
        centre = np.where(np.ptp(X, axis=0) > 0, X.mean(0), X[0])
        target_mean = targets[first + before].mean(0)
        X, targets = X - centre, targets[first + before] - target_mean
        sums = np.stack([_at(X, first + lag).sum(0) for lag in range(n_lags)])
        gram = np.empty((n_lags, n_neurons, n_lags, n_neurons))
        for apart in range(n_lags):
            product = _products(X, X, first, apart)
            for lag in range(n_lags - apart):
                if lag:
                    left, joined = starts + lag - 1, stops + lag - 1
                    product = product - X[left].T @ X[left + apart] + X[joined].T @ X[joined + apart]
                found = product - np.outer(sums[lag], sums[lag + apart] / n)
                gram[lag, :, lag + apart] = found
                gram[lag + apart, :, lag] = found.T
        p = n_lags * n_neurons
        by_lag = [_at(X, first + lag).T @ targets for lag in range(n_lags)]
        mean = (sums / n + centre).ravel()
        return cls(n, mean, target_mean, gram.reshape(p, p), np.concatenate(by_lag))


def _products(
    X: Float[np.ndarray, "n neurons"], Y: Float[np.ndarray, "n others"], first: Int[np.ndarray, " m"], apart: int
) -> Float[np.ndarray, "neurons others"]:
    """Σ x_s y_{s+apart} over some bins, a block at a time."""
    found = np.zeros((X.shape[1], Y.shape[1]))
    for start in range(0, len(first), BLOCK):
        bins = first[start : start + BLOCK]
        found += _at(X, bins).T @ _at(Y, bins + apart)
    return found


def weighted_sum(
    X: Float[np.ndarray, "n neurons"], coef: Float[np.ndarray, "k lag neurons"], bins: Int[np.ndarray, " m"], first: int
) -> Float[np.ndarray, "m k"]:
    """Σ over lags of the weights times the recording that many bins from each, the first lag given."""
    found = np.zeros((len(bins), len(coef)))
    for i in range(coef.shape[1]):
        found += _at(X, bins + first + i) @ coef[:, i].T
    return found


def _at(X: Float[np.ndarray, "n neurons"], bins: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m neurons"]:
    """These bins, without a copy where they follow one another."""
    return np.asarray(taken(X, bins))
