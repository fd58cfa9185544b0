"""Whole sequences of a recording, in their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import whole_number
from workbench.activations.query import check_columns, chosen_rows

if TYPE_CHECKING:
    from workbench.activations.store import ActivationStore


@dataclass(frozen=True)
class SequenceBatch:
    """Some sequences, each from its first recorded position to its last.

    Attributes:
        values: the rows, zero behind the end of a sequence; by hook where several were asked for.
        mask: where there is a row.
        seq: which sequences of the recorded dataset they are.
        rows: the row numbers, −1 where there is none.
    """

    values: Float[Tensor, "seq time d"] | dict[str, Float[Tensor, "seq time _"]]
    mask: Bool[Tensor, "seq time"]
    seq: Int[Tensor, " seq"]
    rows: Int[Tensor, "seq time"]


def sequences(
    store: "ActivationStore", hooks: str | Sequence[str], batch_size: int = 64, *, split: str | None = None
) -> Iterator[SequenceBatch]:
    """Whole sequences in the order of the recording; memory holds one batch and one shard's sequence numbers.

    Args:
        store: the recording.
        hooks: one, or several to be read side by side.
        batch_size: sequences a batch; the last may have fewer.
        split: only sequences of this split.

    Raises:
        ValueError: a batch size below 1, no hook or one that was not recorded, a split without rows.
    """
    whole_number(batch_size, "batch_size", least=1)
    names = (hooks,) if isinstance(hooks, str) else tuple(hooks)
    if not names:
        raise ValueError("no hook was named: name at least one.")
    for name in names:
        store.shape(name)
    if split is not None:
        check_columns(["split"], store.column_names)
        chosen_rows(store, split)
    return _batches(store, names, batch_size, split, single=isinstance(hooks, str))


def _batches(
    store: "ActivationStore", hooks: tuple[str, ...], batch_size: int, split: str | None, *, single: bool
) -> Iterator[SequenceBatch]:
    found = _sequences(store, split)
    while batch := list(islice(found, batch_size)):
        seq, starts, ends = (torch.tensor(column) for column in zip(*batch, strict=True))
        lengths = ends - starts
        time = torch.arange(int(lengths.max()))
        mask = time < lengths[:, None]
        rows = torch.where(mask, starts[:, None] + time, -1)
        values = {}
        for hook in hooks:
            padded = torch.zeros(*mask.shape, store.width(hook))
            padded[mask] = store.read(hook, rows[mask].numpy())
            values[hook] = padded
        yield SequenceBatch(values[hooks[0]] if single else values, mask, seq, rows)


def _sequences(store: "ActivationStore", split: str | None) -> Iterator[tuple[int, int, int]]:
    """Each sequence's number, its first row and the row behind its last; one may go on from shard to shard."""
    columns = ("seq",) if split is None else ("seq", "split")
    open_: tuple[int, int, bool] | None = None  # the last one seen: its number, first row, whether it is wanted
    row = 0
    for table in store.shard_columns(*columns):
        seq = table["seq"].to_numpy()
        starts = np.flatnonzero(np.diff(seq, prepend=-1 if open_ is None else open_[0]))
        wanted = _is_of(table, starts, split)
        for start, keep in zip(starts.tolist(), wanted, strict=True):
            if open_ is not None and open_[2]:
                yield open_[0], open_[1], row + start
            open_ = int(seq[start]), row + start, keep
        row += len(seq)
    if open_ is not None and open_[2]:
        yield open_[0], open_[1], row


def _is_of(table: pa.Table, rows: Int[np.ndarray, " n"], split: str | None) -> list[bool]:
    """Whether rows are of a split; a sequence is wholly of one."""
    if split is None:
        return [True] * len(rows)
    return [name == split for name in table["split"].take(pa.array(rows)).to_pylist()]
