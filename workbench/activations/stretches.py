"""Reading ahead: the rows of many batches at once, in the order of the disk, in a thread of its own."""

import mmap
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from models.artifacts import ArtifactError

if TYPE_CHECKING:
    from workbench.activations.store import ActivationStore

# Wanted rows that lie further apart than this are fetched one by one; the kernel reads ahead about as far.
_SPARSE = 64 * 1024


@dataclass(frozen=True)
class Stretch:
    """The rows of some batches that follow each other.

    Attributes:
        values: for each hook `[rows, d]` in the dtype and the order of the disk.
        places: for each batch where in `values` its rows stand.
    """

    values: tuple[Tensor, ...]
    places: list[Int[Tensor, " _"]]

    def __len__(self) -> int:
        return len(self.places)


def stretches(
    store: "ActivationStore", hooks: Sequence[str], plan: Iterator[list[Int[np.ndarray, " _"]]], most: int
) -> Iterator[Stretch]:
    """Read what `plan` names, one stretch ahead. A stretch is overwritten once the next is asked for.

    Args:
        store: the recording.
        hooks: whose rows.
        plan: for each stretch the row numbers of its batches.
        most: rows of the largest stretch; two such buffers are all the memory that is taken.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    reader = _Reader(store, tuple(hooks), plan, most)
    thread = threading.Thread(target=reader.work, name="activation-reader", daemon=True)
    thread.start()
    try:
        while (found := reader.read.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            stretch, buffers = found
            yield stretch
            reader.free.put(buffers)
    finally:
        reader.stopped.set()
        reader.free.put([])
        thread.join()


class _Reader:
    """What the thread holds; it does not hold the iterator, so that one nobody wants any more ends the thread."""

    def __init__(
        self, store: "ActivationStore", hooks: tuple[str, ...], plan: Iterator[list[Int[np.ndarray, " _"]]], most: int
    ) -> None:
        self.store, self.hooks, self.plan = store, hooks, plan
        self.stopped = threading.Event()
        self.free: queue.Queue[list[np.ndarray]] = queue.Queue()
        self.read: queue.Queue[tuple[Stretch, list[np.ndarray]] | BaseException | None] = queue.Queue()
        kinds = [store.mapped(hook, 0) for hook in hooks]
        for _ in range(2):
            # Of the full size at once: memory that is not yet written to is none.
            self.free.put([np.empty((most, *kind.shape[1:]), kind.dtype) for kind in kinds])

    def work(self) -> None:
        try:
            while not self.stopped.is_set():
                buffers = self.free.get()
                batches = None if self.stopped.is_set() else next(self.plan, None)
                if batches is None:
                    break
                self.read.put(self._stretch(batches, buffers))
            self.read.put(None)
        except BaseException as error:  # raised again where the batches are asked for
            self.read.put(error)

    def _stretch(self, batches: list[np.ndarray], buffers: list[np.ndarray]) -> tuple[Stretch, list[np.ndarray]]:
        wanted = np.concatenate(batches)
        order = np.argsort(wanted, kind="stable")
        rows = wanted[order]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        edges = np.cumsum([len(batch) for batch in batches])[:-1]
        places = list(torch.from_numpy(place).split(np.diff(edges, prepend=0, append=len(rows)).tolist()))
        bounds = np.searchsorted(rows, self.store.shard_starts)
        for shard in np.flatnonzero(np.diff(bounds)).tolist():
            here = slice(bounds[shard], bounds[shard + 1])
            local = rows[here] - self.store.shard_starts[shard]
            for hook, buffer in zip(self.hooks, buffers, strict=True):
                if self.stopped.is_set():
                    break
                _gather(self.store.mapped(hook, shard), local, buffer[here])
        return Stretch(tuple(self._tensor(buffer[: len(rows)]) for buffer in buffers), places), buffers

    def _tensor(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values)
        return tensor.view(torch.bfloat16) if self.store.dtype == "bfloat16" else tensor


def _gather(mapped: np.memmap, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
    """Rows of a memory map, ascending, into `out`."""
    if Path(str(mapped.filename)).stat().st_size < mapped.offset + mapped.nbytes:
        raise ArtifactError(f"shard {mapped.filename} has been cut short while it was read.")
    if isinstance(mapped.base, mmap.mmap):
        sparse = mapped.nbytes > _SPARSE * len(rows)
        mapped.base.madvise(mmap.MADV_RANDOM if sparse else mmap.MADV_NORMAL)
    # With mode="raise" NumPy would read into a copy first. The numbers are in range.
    np.take(np.asarray(mapped), rows, axis=0, out=out, mode="clip")
