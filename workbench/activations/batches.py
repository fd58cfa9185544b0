"""Shuffled batches of a recording."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models import ranks
from models.checked_input import whole_number
from workbench.activations.permutation import Permutation
from workbench.activations.row_runs import RowRuns
from workbench.activations.stretches import Stretch, stretches

if TYPE_CHECKING:
    from workbench.activations.store import ActivationStore

Batch = Float[Tensor, "batch d"] | Float[Tensor, "batch hook d"] | tuple[Float[Tensor, "batch _"], ...]

MEMORY = 256 * 2**20
_FIRST_STRETCH = 4  # batches: few, so that the first comes soon
_INDEX_BYTES = 40  # a row number, its place in the order of the disk and what sorting takes
_AT_ONCE = 2**15  # numbers: they stay in the cache, and torch works on no more without several threads


def check_reading(hooks: tuple[str, ...], batch_size: int, seed: int, epochs: int | None, memory: int, n: int) -> None:
    """Raises `ValueError` or `TypeError` for numbers that cannot be, and where n rows fill no batch."""
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("memory", memory, 1)):
        whole_number(value, name, least)
    if epochs is not None:
        whole_number(epochs, "epochs", least=1)
    if not hooks:
        raise ValueError("no hook was named: name at least one.")
    if batch_size > n:
        raise ValueError(f"a batch of {batch_size} rows cannot be filled: there are {n} rows.")


@dataclass(frozen=True)
class Batches:
    """An iterable of shuffled batches; iterating again starts anew with the same order.

    Each epoch is a permutation of all the rows, drawn from the seed and the epoch's number: place i of epoch e holds
    row `rows.at(Permutation(len(rows), seed, e).at(i))`, epochs follow each other without a gap, and batch b holds the
    places from b·batch_size on. What a batch holds so depends on rows, seed and batch size alone, never on the memory
    or on who reads, and any batch can be had without those before it. Within a batch rows stand in ascending order.

    A thread reads ahead: the rows of many batches at once, in the order of the disk.

    Attributes:
        store: the recording.
        hooks: whose rows are read, the same ones of each.
        batch_size: rows a batch, over all ranks.
        seed: of the order.
        rows: the rows that are shuffled.
        epochs: how often they are given; without end for None.
        together: `one` hook gives `[batch, d]`, a `tuple` one such tensor a hook, a `stack` `[batch, hook, d]`.
        memory: bytes of rows that are held at once; two batches are held in any case.
        dtype: of the batches.
        device: where they are given; those for a CUDA device come through pinned memory, without waiting.
        pin_memory: give batches in pinned memory; for where there is a CUDA device and of no effect without one.
        start: the first batch that is given.
        rank, world: which share of every batch is given, of how many.
    """

    store: "ActivationStore"
    hooks: tuple[str, ...]
    batch_size: int
    seed: int
    rows: RowRuns
    epochs: int | None = None
    together: str = "one"
    memory: int = MEMORY
    dtype: torch.dtype = torch.float32
    device: torch.device | str | None = None
    pin_memory: bool = False
    start: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        check_reading(self.hooks, self.batch_size, self.seed, self.epochs, self.memory, len(self.rows))
        if self.device is not None:
            ranks.device(str(self.device))
        widths = {hook: self.store.width(hook) for hook in self.hooks}
        if self.together == "stack" and len(set(widths.values())) > 1:
            listed = ", ".join(f"{hook} has {width}" for hook, width in widths.items())
            raise ValueError(f"only hooks of one width can be stacked: {listed}.")
        if not 0 <= self.rank < self.world <= self.batch_size:
            raise ValueError(
                f"rank {self.rank} of {self.world} can have no share of a batch of {self.batch_size}: ranks count from "
                "0, and there can be no more of them than rows."
            )

    @property
    def d_in(self) -> int:
        """The width of a row, of the first hook where there are several."""
        return self.store.width(self.hooks[0])

    def __len__(self) -> int:
        if self.epochs is None:
            raise TypeError("batches without end have no length: give a number of epochs.")
        return max(0, self._n_batches - self.start)

    @property
    def _n_batches(self) -> int:
        assert self.epochs is not None
        return -(-self.epochs * len(self.rows) // self.batch_size)

    def resume(self, n_batches: int) -> "Batches":
        """The same batches without the first `n_batches`."""
        return replace(self, start=self.start + whole_number(n_batches, "n_batches"))

    def part(self, rank: int, world: int) -> "Batches":
        """One rank's share of every batch: all shares joined in the order of the ranks are the batch."""
        return replace(self, rank=rank, world=world)

    def numbers(self, first: int, n: int) -> list[Int[np.ndarray, " _"]]:
        """The row numbers of `n` batches from batch `first` on, ascending in each; fewer where the reading ends."""
        size = len(self.rows)
        place, last = first * self.batch_size, (first + n) * self.batch_size
        if self.epochs is not None:
            last = min(last, self.epochs * size)
        found = []
        while place < last:
            epoch, begin = divmod(place, size)
            end = min(size, begin + last - place)
            found.append(Permutation(size, self.seed, epoch).at(np.arange(begin, end)))
            place += end - begin
        rows = self.rows.at(np.concatenate(found)) if found else np.empty(0, np.int64)
        batches = [np.sort(rows[i : i + self.batch_size]) for i in range(0, len(rows), self.batch_size)]
        return [b[len(b) * self.rank // self.world : len(b) * (self.rank + 1) // self.world] for b in batches]

    def __iter__(self) -> Iterator[Any]:  # of `Batch`; which of them, `together` says
        for stretch in stretches(self.store, self.hooks, self._plan(), self._most):
            for i in range(len(stretch)):
                yield self._batch(stretch, i)

    @property
    def _most(self) -> int:
        """Rows of the largest stretch. Two are held: one is being given while the next is being read."""
        bytes_per_row = _INDEX_BYTES + sum(self.store.mapped(hook, 0)[:1].nbytes for hook in self.hooks)
        share = -(-self.batch_size // self.world)
        epoch = -(-len(self.rows) // self.batch_size)  # more at once would gain nothing
        return share * min(epoch, max(1, self.memory // (2 * bytes_per_row * share)))

    def _plan(self) -> Iterator[list[Int[np.ndarray, " _"]]]:
        """The row numbers of the batches of each stretch."""
        most = self._most // -(-self.batch_size // self.world)
        first, n = self.start, min(_FIRST_STRETCH, most)
        while batches := self.numbers(first, n):
            yield batches
            first, n = first + n, min(2 * n, most)

    def _batch(self, stretch: Stretch, i: int) -> Batch:
        places, widths = stretch.places[i], [rows.shape[1] for rows in stretch.values]
        device = torch.device(self.device or "cpu")
        pinned = torch.cuda.is_available() and (self.pin_memory or device.type == "cuda")
        # To a device goes what lies on disk; it is cast there. torch uses pinned memory again only once it has gone.
        dtype = self.dtype if device.type == "cpu" else stretch.values[0].dtype
        if self.together == "stack":
            held = torch.empty(len(places), len(widths), widths[0], dtype=dtype, pin_memory=pinned)
            parts: tuple[Tensor, ...] = held.unbind(1)
        else:
            parts = tuple(torch.empty(len(places), width, dtype=dtype, pin_memory=pinned) for width in widths)
        for part, rows in zip(parts, stretch.values, strict=True):
            _take(rows, places, part)
        if self.together == "stack":
            return held.to(device, non_blocking=pinned).to(self.dtype)
        given = tuple(part.to(device, non_blocking=pinned).to(self.dtype) for part in parts)
        return given[0] if self.together == "one" else given


def _take(rows: Float[Tensor, "_ d"], places: Int[Tensor, " n"], out: Float[Tensor, "n d"]) -> None:
    """Some rows, cast to the dtype of `out`, a few at a time: what is taken is then still in the cache when cast.

    In one thread: to meet again after every few rows would take several threads far longer, since the reader's thread
    has a core too.
    """
    step = max(1, _AT_ONCE // rows.shape[1])
    for start in range(0, len(places), step):
        out[start : start + step].copy_(rows.index_select(0, places[start : start + step]))
