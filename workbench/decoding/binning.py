"""Steps of a recording as the time bins that are decoded: one each, or several that follow one another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from probes.report import Split


@dataclass(frozen=True)
class Bins:
    """Which rows make each bin.

    Attributes:
        rows: their numbers, so many a bin.
        groups: the stretch of each bin.
        parts: the bins to fit on, and those to judge by.
    """

    rows: Int[np.ndarray, "bin size"]
    groups: Int[np.ndarray, " bin"]
    parts: Split

    @classmethod
    def of(cls, groups: Int[np.ndarray, " n"], parts: Split, size: int) -> "Bins":
        """Rows joined within their stretches; what is left over at the end of one is in no bin.

        Raises:
            ValueError: no stretch is long enough.
        """
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        lengths = np.diff(np.append(starts, len(groups)))
        first = np.concatenate([start + np.arange(n // size) * size for start, n in zip(starts, lengths, strict=True)])
        held_out = np.zeros(len(groups), dtype=bool)
        held_out[parts.held_out] = True
        judged = held_out[first]
        split = Split(np.flatnonzero(~judged), np.flatnonzero(judged))
        if not (len(split.fit) and len(split.held_out)):
            raise ValueError(
                f"bins of {size} steps do not fit the stretches of {lengths.max()} steps at most: ask for shorter bins."
            )
        return cls(first[:, None] + np.arange(size), groups[first], split)

    @property
    def middle(self) -> Int[np.ndarray, " bin"]:
        """The row at the middle of each bin, whose labels are the bin's."""
        return self.rows[:, self.rows.shape[1] // 2]

    def read(self, X: Float[Tensor, "n unit"], *, summed: bool) -> Float[Tensor, "bin unit"]:
        """What the units did in each bin: the sum of counts, or the mean of activations."""
        joined = X[self.rows[:, 0]]
        for rows in self.rows.T[1:]:
            joined += X[rows]
        return joined if summed else joined / self.rows.shape[1]
