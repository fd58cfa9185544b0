"""From whatever yields rows to whole batches, with a position from which the same rows follow again."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Position(NamedTuple):
    """Where a `RowStream` stands: whole source batches behind it, and rows used of the next one."""

    batches: int = 0
    rows: int = 0


class RowStream:
    """Cuts and joins the batches of a source into batches of equal size.

    Args:
        source: any iterable of [n, d_in] tensors. One that has `resume(n_batches)`, as a store's batches do,
            is asked to start there; of any other the first batches are read and dropped.
        batch_size: rows of every batch that `next_batch` gives.
        d_in: the width that is wanted.
        n_tokens: how many rows will be asked for in all, so that a list that is too short is refused at
            once.
        start: where an earlier stream over the same source stood.

    Raises:
        ValueError: at construction if a list is too short or the first batch is not [n, d_in]; from
            `next_batch` when the source ends early.
    """

    def __init__(
        self,
        source: Iterable[Tensor],
        batch_size: int,
        d_in: int,
        n_tokens: int,
        start: Position = Position(),  # noqa: B008  (immutable)
    ) -> None:
        self.batch_size, self.d_in, self.n_tokens = batch_size, d_in, n_tokens
        self._batches, self._used = start
        self._source = self._start(source, start.batches)
        self._current: Tensor | None = self._read()
        if isinstance(source, Sequence):
            self._refuse_short(sum(len(batch) for batch in source))

    @property
    def position(self) -> Position:
        """Where the next batch starts."""
        return Position(self._batches, self._used)

    def next_batch(self) -> Float[Tensor, "batch_size d_in"]:
        """The next `batch_size` rows, without a copy where the source's batches have that size."""
        parts, missing = [], self.batch_size
        while missing:
            if self._current is None:
                self._current = self._read()
            if self._current is None:
                raise ValueError(
                    f"the batches ended before the {self.n_tokens:,} rows of n_tokens were read in whole "
                    f"batches of {self.batch_size:,}: give more rows (several epochs of a store, say), or a "
                    "smaller n_tokens or batch_size."
                )
            part = self._current[self._used : self._used + missing]
            parts.append(part)
            missing -= len(part)
            self._used += len(part)
            if self._used == len(self._current):
                self._batches, self._used, self._current = self._batches + 1, 0, None
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @staticmethod
    def _start(source: Iterable[Tensor], n_batches: int) -> Iterator[Tensor]:
        if n_batches and hasattr(source, "resume"):
            return iter(source.resume(n_batches))
        return islice(source, n_batches, None)

    def _read(self) -> Tensor | None:
        batch = next(self._source, None)
        if batch is not None and (batch.ndim != 2 or batch.shape[1] != self.d_in):
            raise ValueError(
                f"the batches are of shape {tuple(batch.shape)}, but this SAE reads rows of width {self.d_in}"
                ": set d_in to the width of the hook."
            )
        return batch

    def _refuse_short(self, rows: int) -> None:
        if rows < self.n_tokens:
            raise ValueError(
                f"the batches hold {rows:,} rows, fewer than the {self.n_tokens:,} of n_tokens: "
                "give more (several epochs of a store, say) or a smaller n_tokens."
            )
