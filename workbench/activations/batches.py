"""Shuffled batches of a recording."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from workbench.activations.store import ActivationStore


@dataclass(frozen=True)
class Batches:
    """An iterable of `[batch_size, d]` float32 tensors; iterating again starts anew with the same order.

    The order of an epoch depends on the seed and the epoch's number alone, so `resume(n)` starts behind the
    first n batches without reading them.
    """

    store: "ActivationStore"
    hook: str
    batch_size: int
    seed: int
    rows: Int[np.ndarray, " n"]
    epochs: int | None
    start: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}: it must be at least 1.")
        if self.batch_size > len(self.rows):
            raise ValueError(f"a batch of {self.batch_size} rows cannot be filled: there are {len(self.rows)} rows.")

    @property
    def d_in(self) -> int:
        """The width of a row."""
        return self.store.width(self.hook)

    def resume(self, n_batches: int) -> "Batches":
        """The same batches without the first `n_batches`."""
        return replace(self, start=self.start + n_batches)

    def __iter__(self) -> Iterator[Float[Tensor, "batch d"]]:
        n = len(self.rows)
        first = self.start * self.batch_size
        last = None if self.epochs is None else self.epochs * n
        epoch, order = -1, self.rows
        while last is None or first < last:
            stop = first + self.batch_size if last is None else min(first + self.batch_size, last)
            wanted = np.empty(stop - first, dtype=np.int64)
            filled = 0
            while filled < len(wanted):
                now, place = divmod(first + filled, n)
                if now != epoch:
                    epoch, order = now, np.random.default_rng([self.seed, now]).permutation(n)
                part = order[place : place + len(wanted) - filled]
                wanted[filled : filled + len(part)] = part
                filled += len(part)
            # Read in the order of the disk: the batch is a set, and neighbours then share pages.
            yield self.store.read(self.hook, np.sort(self.rows[wanted]))
            first = stop
