"""Batches of several recordings of the same rows, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.activations.batches import Batches

# What the rows of a recording follow from: with these equal, row i is the same position of the same document.
_WHICH_ROWS = ("positions", "sample", "n_seq", "n_rows")


@dataclass(frozen=True)
class JoinedBatches:
    """An iterable of `[batch, recording, d]`: what several subjects hold at the same positions.

    Attributes:
        parts: the batches of one hook of each recording, of equal rows, batch size and seed.

    Raises:
        ValueError: they are not of the same rows, or not of one width.
    """

    parts: tuple[Batches, ...]

    def __post_init__(self) -> None:
        first, *others = self.parts
        for other in others:
            if apart := _apart(first, other):
                raise ValueError(
                    f"{first.store.path} and {other.store.path} are not recordings of the same rows: {apart}. "
                    "Record both from the same text, with equal --tokens, --positions and --seed."
                )
            if first.d_in != other.d_in:
                raise ValueError(
                    f"{first.store.path} is {first.d_in} wide at {first.hooks[0]} and {other.store.path} {other.d_in}: "
                    "one code can be trained only on rows of one width."
                )

    @property
    def batch_size(self) -> int:
        """Rows a batch, over all ranks."""
        return self.parts[0].batch_size

    def __len__(self) -> int:
        return len(self.parts[0])

    def resume(self, n_batches: int) -> "JoinedBatches":
        """The same batches without the first `n_batches`."""
        return replace(self, parts=tuple(part.resume(n_batches) for part in self.parts))

    def part(self, rank: int, world: int) -> "JoinedBatches":
        """One rank's share of every batch."""
        return replace(self, parts=tuple(part.part(rank, world) for part in self.parts))

    def __iter__(self) -> Iterator[Float[Tensor, "batch recording d"]]:
        for found in zip(*self.parts, strict=True):
            yield torch.stack(found, dim=1)


def _apart(one: Batches, other: Batches) -> str:
    """In what two recordings do not have the same rows; empty where they have."""
    ids = [_data_id(batches) for batches in (one, other)]
    if ids[0] != ids[1]:
        return "their data differ"
    orders = [(batches.batch_size, batches.seed, batches.epochs, batches.start) for batches in (one, other)]
    if orders[0] != orders[1]:
        return "their batches are of another size or order"
    configs = [batches.store.manifest.config for batches in (one, other)]
    named = [name for name in _WHICH_ROWS if configs[0].get(name) != configs[1].get(name)]
    if named:
        return f"their {', '.join(named)} differ"
    if len(one.rows) != len(other.rows):
        return f"they have {len(one.rows):,} and {len(other.rows):,} rows"
    same = np.array_equal(one.rows.starts, other.rows.starts) and np.array_equal(one.rows.lengths, other.rows.lengths)
    return "" if same else "other rows of them were chosen"


def _data_id(batches: Batches) -> str | None:
    inputs = batches.store.manifest.inputs
    return next((id_ for name, id_ in inputs.items() if name.split("/")[-1] == "data"), None)
