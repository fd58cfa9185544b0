"""The matrix that an estimator reads, some rows at a time: NumPy or torch, in memory or mapped from a file."""

from collections.abc import Iterator
from copy import copy

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Rows that are multiplied and searched while they are in the cache.
CHUNK_BYTES = 4 << 20
# A centred copy of a matrix up to this size is kept.
KEPT_BYTES = 64 << 20
MIN_CHUNK_ROWS = 256
SHOWN_ROWS = 5


class Rows:
    """A matrix [n, d] whose rows come as tensors in which can be computed.

    Double precision stays double; half precision and whole numbers become single, chunk by chunk, so that no second
    copy of the matrix is made.

    Attributes:
        source: the matrix itself.
        n: how many rows.
        d: how many columns.
        dtype: what is computed in.
        device: where.
    """

    def __init__(self, X: np.ndarray | Tensor) -> None:
        self.source = X
        self._mean: Tensor | None = None
        self.n, self.d = (int(size) for size in X.shape)
        double = X.dtype in (torch.float64, np.dtype(np.float64))
        self.dtype = torch.float64 if double else torch.float32
        self.device = X.device if isinstance(X, Tensor) else torch.device("cpu")
        self.chunk = max(MIN_CHUNK_ROWS, CHUNK_BYTES // (self.d * self.dtype.itemsize))

    def mean(self) -> Float[Tensor, " d"]:
        """Of all rows, in double precision."""
        total = torch.zeros(self.d, dtype=torch.float64, device=self.device)
        for _, x in self.chunks():
            total += x.double().sum(0)
        return total / self.n

    def less(self, mean: Float[Tensor, " d"]) -> "Rows":
        """The same rows less their mean: small ones once for all, others whenever they are read."""
        found = copy(self)
        found._mean = mean.to(self.dtype) if mean.any() else None
        if found._mean is not None and self.n * self.d * self.dtype.itemsize <= KEPT_BYTES:
            found.source = torch.cat([x for _, x in found.chunks()])
            found._mean = None
        return found

    def __getitem__(self, rows: slice) -> Float[Tensor, "chunk d"]:
        """Some rows, converted."""
        x = self._converted(self.source[rows])
        return x if self._mean is None else x - self._mean

    def _converted(self, part: np.ndarray | Tensor) -> Float[Tensor, "chunk d"]:
        if isinstance(part, Tensor):
            return part.detach().to(self.dtype)
        if not part.flags.writeable or part.dtype.byteorder == ">":  # a mapped file; torch takes neither
            part = part.astype(part.dtype.newbyteorder("="))
        return torch.from_numpy(np.ascontiguousarray(part)).to(self.dtype)

    def take(self, numbers: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen d"]:
        """The rows with these numbers, converted."""
        if isinstance(self.source, Tensor):
            x = self.source[numbers].detach().to(self.dtype)
        else:
            x = torch.from_numpy(np.asarray(self.source[numbers.cpu().numpy()])).to(self.dtype)
        return x if self._mean is None else x - self._mean

    def chunks(self, step: int = 1) -> Iterator[tuple[slice, Float[Tensor, "chunk d"]]]:
        """All rows in order, or every `step`-th, with where they stand."""
        for start in range(0, self.n, self.chunk * step):
            where = slice(start, min(start + self.chunk * step, self.n), step)
            yield where, self[where]

    def refuse_not_finite(self) -> None:
        """Raise `ValueError` that says which rows hold NaN or infinity."""
        wrong: list[int] = []
        kinds = set()
        for where, x in self.chunks():
            if torch.isfinite(x.sum()):  # a sum overflows more easily than it misses something
                continue
            for test, kind in ((torch.isnan, "NaN"), (torch.isinf, "infinity")):
                found = test(x).any(1).nonzero().flatten()
                kinds |= {kind} if len(found) else set()
                wrong += (found + where.start).tolist()
        if wrong:
            rows = sorted(set(wrong))
            shown = ", ".join(map(str, rows[:SHOWN_ROWS])) + (", …" if len(rows) > SHOWN_ROWS else "")
            raise ValueError(
                f"X contains {' and '.join(sorted(kinds))} in {len(rows):,} of {self.n:,} rows ({shown}): "
                "leave them out, or replace the values."
            )


def returned(values: Tensor, like: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """What comes out is of the type that went in."""
    return values if isinstance(like, Tensor) else values.cpu().numpy()
