"""Linear recursions in time, `x_t = F x_{t−1} + b_t`, over many stretches of bins at once."""

from collections.abc import Sequence

import numpy as np
from einops import einsum
from jaxtyping import Float, Int

# What a step so long ago still adds is below the rounding of what was added since.
NEGLIGIBLE = 1e-18


def recur(
    b: Float[np.ndarray, "n k"],
    laws: Float[np.ndarray, "law k k"],
    law: Int[np.ndarray, " n"],
    runs: Sequence[slice],
    steady: int,
) -> Float[np.ndarray, "n k"]:
    """x_t = F x_{t−1} + b_t, F the law of bin t; the first bin of each run is x = b.

    Within a run the bins of the steady law stand together. They are solved by doubling, whose cost grows with the
    logarithm of their number; those before and after them step by step, all runs at once.

    Args:
        b: of each bin.
        laws: the matrices F.
        law: the number of each bin's; of the first bin of a run it is not read.
        runs: the bins of each, in turn.
        steady: the number of the law that most bins have.
    """
    starts = np.array([run.start for run in runs])
    lengths = np.array([run.stop - run.start for run in runs])
    start_of = np.repeat(starts, lengths)
    position = np.arange(len(b)) - start_of
    in_body = (law == steady) & (position > 0)
    run_of = np.repeat(np.arange(len(runs)), lengths)
    body = np.bincount(run_of[in_body], minlength=len(runs))
    first = lengths.copy()
    np.minimum.at(first, run_of[in_body], position[in_body])
    x = b.copy()

    def step(from_: Int[np.ndarray, " run"], to: Int[np.ndarray, " run"]) -> None:
        """From one position to another in every run."""
        for ahead in range(int((to - from_).max(initial=0))):
            bins = (starts + from_ + ahead)[from_ + ahead < to]
            x[bins] += einsum(laws[law[bins]], x[bins - 1], "bin a b, bin b -> bin a")

    step(np.minimum(1, lengths), first)
    age = np.where(in_body, position - first[run_of] + 1, 0)
    x = _doubled(x, laws[steady], age)
    step(first + body, lengths)
    return x


def _doubled(
    x: Float[np.ndarray, "n k"], F: Float[np.ndarray, "k k"], age: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """The same under one law, where a bin of age 0 is known: sums over 1, 2, 4 … bins, x_t ← x_t + F^s x_{t−s}."""
    power, step = F.T, 1
    later = np.flatnonzero(age)
    while len(later) and np.abs(power).max() > NEGLIGIBLE:
        x[later] += x[later - step] @ power  # the right side is whole before any of it is added
        power, step = power @ power, 2 * step
        later = later[age[later] >= step]
    return x
