"""Sets of row numbers that cost memory by their runs, not by their rows."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Int


class RowRuns:
    """A set of rows as runs of neighbours: ascending, none touching the next.

    A split is whole documents and so a few runs a document; a store of a billion rows has a handful of megabytes of
    them.

    Args:
        starts: the first row of every run, ascending.
        lengths: how many rows each has, at least one; no run reaches into the next.

    Raises:
        ValueError: runs that are empty, overlap or do not ascend.
    """

    def __init__(self, starts: Int[np.ndarray, " run"], lengths: Int[np.ndarray, " run"]) -> None:
        starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
        if len(starts) and (starts[0] < 0 or lengths.min() < 1 or (starts[1:] < (starts + lengths)[:-1]).any()):
            raise ValueError("the runs of rows overlap or do not ascend: give each row once, in ascending order.")
        self.starts, self.lengths = starts, lengths
        # How many chosen rows stand before each run, and the number of all of them.
        self._before = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    @classmethod
    def whole(cls, n: int) -> "RowRuns":
        """All of the rows 0 … n − 1."""
        return cls(np.zeros(min(n, 1), np.int64), np.full(min(n, 1), n, np.int64))

    @classmethod
    def from_mask(cls, blocks: Iterable[Bool[np.ndarray, " _"]]) -> "RowRuns":
        """The rows at which a mask is true, where the mask comes in pieces."""
        starts, ends, offset = [], [], 0
        for block in blocks:
            edges = np.flatnonzero(np.diff(block, prepend=False, append=False)) + offset
            starts.append(edges[::2])
            ends.append(edges[1::2])
            offset += len(block)
        return cls._joined(np.concatenate([*starts, []]).astype(np.int64), np.concatenate([*ends, []]).astype(np.int64))

    @classmethod
    def from_numbers(cls, rows: Int[np.ndarray, " n"]) -> "RowRuns":
        """The rows with these numbers, in whatever order; one named twice is in the set once."""
        rows = np.unique(np.asarray(rows, dtype=np.int64))
        return cls._joined(rows, rows + 1)

    @classmethod
    def _joined(cls, starts: Int[np.ndarray, " run"], ends: Int[np.ndarray, " run"]) -> "RowRuns":
        """Runs that touch become one."""
        apart = starts[1:] != ends[:-1]
        some = np.ones(min(len(starts), 1), bool)
        starts, ends = starts[np.concatenate([some, apart])], ends[np.concatenate([apart, some])]
        return cls(starts, ends - starts)

    def __len__(self) -> int:
        return int(self._before[-1])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Each run's first row and the row behind its last."""
        return zip(self.starts.tolist(), (self.starts + self.lengths).tolist(), strict=True)

    def at(self, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The number of the i-th row of the set, for every i of `places` in 0 … len − 1."""
        if len(self.starts) == 1:
            return places + self.starts[0]
        run = np.searchsorted(self._before, places, side="right") - 1
        return self.starts[run] + (places - self._before[run])

    def numbers(self) -> Int[np.ndarray, " n"]:
        """Every row number, written out."""
        return np.repeat(self.starts - self._before[:-1], self.lengths) + np.arange(len(self))

    @property
    def nbytes(self) -> int:
        """Memory that the set takes."""
        return self.starts.nbytes + self.lengths.nbytes + self._before.nbytes
