"""Columns of activations, sparse or dense, and the ladders of thresholds at which they are read.

A column becomes a detector by a threshold. Here the candidates are few and chosen by how often the column then
fires, so that a column is described at every one of them by a prefix of its rows, sorted strongest first.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

# Each threshold fires half as often as the one below it.
SPARSE_LEVELS = 5
NARROW_FRACTIONS = tuple(0.1 / 2**k for k in range(9, -1, -1))
WIDE_FRACTIONS = (0.2, 0.4)
QUANTILE_ROWS = 20_000


@dataclass(frozen=True)
class Ladder:
    """Every column at a few thresholds, from the strictest to the widest.

    At level l, column c fires on `rows[starts[c] : starts[c] + fired[c, l]]`.
    """

    rows: Int[np.ndarray, " firings"]
    starts: Int[np.ndarray, " columns"]
    fired: Int[np.ndarray, "columns levels"]
    thresholds: Float[np.ndarray, "columns levels"]
    n_rows: int

    @property
    def bands(self) -> Int[np.ndarray, " bands"]:
        """Where in `rows` each (column, level) begins to add to the level before it."""
        before = np.pad(self.fired[:, :-1], ((0, 0), (1, 0)))
        return (self.starts[:, None] + before).ravel()


class SparseColumns:
    """Columns that are zero nearly everywhere; a threshold is read among the stored, positive values only."""

    def __init__(
        self,
        indptr: Int[np.ndarray, " columns_and_one"],
        rows: Int[np.ndarray, " firings"],
        values: Float[np.ndarray, " firings"],
        n_rows: int,
        n_levels: int = SPARSE_LEVELS,
    ) -> None:
        """Take compressed sparse columns. The ladder: all firings of a column, its stronger half, quarter, …"""
        self.indptr, self.rows, self.values, self.n_rows = indptr, rows, values, n_rows
        self.n_columns = len(indptr) - 1
        self.n_levels = n_levels

    @cached_property
    def ladder(self) -> Ladder:
        """All firings (threshold 0), then the strongest 1/2, 1/4, … of them, equal values kept together."""
        rows = np.empty(len(self.rows), np.int32)
        fired = np.zeros((self.n_columns, self.n_levels), np.int64)
        thresholds = np.zeros((self.n_columns, self.n_levels), np.float32)
        halvings = 2 ** np.arange(self.n_levels)[::-1]
        for column in range(self.n_columns):
            start, stop = self.indptr[column], self.indptr[column + 1]
            if start == stop:
                continue
            falling = -self.values[start:stop]
            order = np.argsort(falling, kind="stable")
            falling = falling[order]
            rows[start:stop] = self.rows[start:stop][order]
            least = falling[(stop - start - 1) // halvings]
            fired[column] = np.searchsorted(falling, least, side="right")
            thresholds[column] = -least
        thresholds[:, -1] = 0.0
        return Ladder(rows, self.indptr[:-1].astype(np.int64), fired, thresholds, self.n_rows)

    def firings(self, column: int, threshold: float) -> Int[np.ndarray, " firings"]:
        """The rows where a column is stored with a value at or above a threshold."""
        stored = slice(self.indptr[column], self.indptr[column + 1])
        return self.rows[stored][self.values[stored] >= threshold]


class DenseColumns:
    """Dense columns, each read with both signs: column c < d is x_c, column d + c is −x_c.

    Thresholds are quantiles: the narrow ones, up to 10% of the rows, are kept as sorted rows like those of sparse
    columns; the wide ones, up to half of the rows, as values alone.
    """

    def __init__(self, matrix: Float[np.ndarray, "d rows"], narrow: tuple[float, ...] = NARROW_FRACTIONS) -> None:
        """Take the columns' matrix, transposed, so that one column lies together in memory."""
        self.matrix, self.narrow = matrix, narrow
        self.d, self.n_rows = matrix.shape
        self.n_columns = 2 * self.d

    @cached_property
    def wide_thresholds(self) -> Float[np.ndarray, "columns wide"]:
        """The thresholds of the wide fractions."""
        return self._quantiles(WIDE_FRACTIONS)

    @cached_property
    def ladder(self) -> Ladder:
        """The narrow thresholds."""
        ranks = np.ceil(np.array(self.narrow) * self.n_rows).astype(np.int64).clip(1)
        # A little more than is needed, as the quantile is an estimate.
        least = self._quantiles((min(1.0, 1.1 * self.narrow[-1]),))[:, 0]
        fired = np.zeros((self.n_columns, len(ranks)), np.int64)
        thresholds = np.zeros(fired.shape, np.float32)

        def strongest(column: int) -> Int[np.ndarray, " firings"]:
            values = self.column(column)
            rows = np.flatnonzero(values >= least[column]).astype(np.int32)
            falling = -values[rows]
            order = np.argsort(falling, kind="stable")
            thresholds[column], fired[column] = _steps(falling[order], ranks)
            return rows[order[: fired[column, -1]]]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(strongest, range(self.n_columns)))
        starts = np.cumsum([0, *(len(rows) for rows in found)])[:-1]
        return Ladder(np.concatenate(found), starts, fired, thresholds, self.n_rows)

    def _quantiles(self, fractions: tuple[float, ...]) -> Float[np.ndarray, "columns fractions"]:
        """The values that a column reaches on each fraction of (a spread of at most 20,000 of) the rows."""
        step = -(-self.n_rows // QUANTILE_ROWS)
        sample = np.sort(self.matrix[:, ::step].astype(np.float32), axis=1)
        n = sample.shape[1]
        place = np.ceil(np.array(fractions) * n).astype(np.int64).clip(1, n)
        return np.concatenate([sample[:, n - place], -sample[:, place - 1]])

    def column(self, column: int) -> Float[np.ndarray, " rows"]:
        """The values of a signed column."""
        values = self.matrix[column % self.d].astype(np.float32, copy=False)
        return values if column < self.d else -values

    def firings(self, column: int, threshold: float) -> Int[np.ndarray, " firings"]:
        """The rows where a signed column is at or above a threshold."""
        return np.flatnonzero(self.column(column) >= threshold)


def _steps(
    falling: Float[np.ndarray, " values"], ranks: Int[np.ndarray, " levels"]
) -> tuple[Float[np.ndarray, " levels"], Int[np.ndarray, " levels"]]:
    """The threshold that each number of values reaches, and how many values really reach it.

    A value that many rows share (the zero of a ReLU) would make a narrow level wide: there the step is above it.
    """
    least = falling[np.minimum(ranks, len(falling)) - 1]
    reached = np.searchsorted(falling, least, side="right")
    too_many = reached > 2 * ranks
    thresholds = np.where(too_many, np.nextafter(-least, np.float32(np.inf)), -least)
    return thresholds, np.where(too_many, np.searchsorted(falling, least, side="left"), reached)


Columns = SparseColumns | DenseColumns
