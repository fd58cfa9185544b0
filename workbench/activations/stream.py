"""`ActivationStream`: batches of activations that are computed as they are asked for, and never written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from workbench.activations.batches import MEMORY, Batch, check_reading
from workbench.activations.permutation import Permutation
from workbench.activations.recorder import Recorder


class ActivationStream:
    """A recording that is not kept: hooks, widths and batches as an `ActivationStore` has them.

    Sequences are read in a shuffled order, and the rows of as many as the memory holds are shuffled among each other.
    Rows of one sequence so come near each other: where the memory holds the share s of all rows, two of them meet in a
    batch 1/s times as often as in the batches of a store, which mix as chance does.

    Args:
        model: a subject with TransformerLens's protocol.
        dataset: what it reads.
        hooks: names of hooks, or one, all with rows of the same positions.
        positions: `real`, `last` or `bos`, as for `harvest`.
        sequences_per_pass: sequences a forward pass.

    Raises:
        TypeError: the model has no hooks, or the dataset is none.
        ValueError: an unknown hook or choice of positions, hooks whose rows are not of the same positions, an empty
            dataset.
    """

    def __init__(
        self,
        model: Any,
        dataset: Dataset,
        hooks: str | Sequence[str],
        *,
        positions: str = "real",
        sequences_per_pass: int = 64,
    ) -> None:
        self.recorder = Recorder(model, dataset, hooks, positions=positions)
        self.sequences_per_pass = whole_number(sequences_per_pass, "sequences_per_pass", least=1)
        if len(self.recorder.rows) > 1:
            raise ValueError(f"the hooks have rows of the {' and the '.join(self.recorder.rows)}: stream them apart.")
        (self.axis,) = self.recorder.rows

    def __len__(self) -> int:
        return int(self.recorder.counts[self.axis].sum())

    @property
    def hooks(self) -> list[str]:
        """The names of the hooks."""
        return self.recorder.hooks

    def shape(self, hook: str) -> tuple[int, ...]:
        """The shape of one row as the model has it. Raises `ValueError` for a hook that is not streamed."""
        if hook not in self.hooks:
            raise ValueError(f"{hook!r} is not streamed: {', '.join(self.hooks)} are.")
        return tuple(self._shapes[hook])

    def width(self, hook: str) -> int:
        """The length of one flattened row."""
        return int(np.prod(self.shape(hook)))

    @cached_property
    def _shapes(self) -> dict[str, list[int]]:
        n = int(self.recorder.counts[self.axis][0])
        self.recorder.record(slice(0, 1), {}, {self.axis: 0}, {self.axis: n})
        return self.recorder.shapes

    def batches(
        self,
        hook: str | Sequence[str],
        batch_size: int = 4096,
        *,
        seed: int = 0,
        split: str | None = None,
        epochs: int | None = None,
        memory: int = MEMORY,
        stack: bool = False,
    ) -> "StreamedBatches":
        """Shuffled batches, float32; every row once an epoch, as `ActivationStore.batches` gives them.

        Args:
            hook: one; or several, of which each batch is a tuple of tensors with the same rows.
            batch_size: rows a batch.
            seed: of the order.
            split: only sequences of this split.
            epochs: how often each row is given; without end for None.
            memory: bytes of rows that are computed and shuffled at once.
            stack: several hooks of one width as one tensor `[batch_size, hook, d]`.
        """
        hooks = (hook,) if isinstance(hook, str) else tuple(hook)
        together = "stack" if stack else "one" if isinstance(hook, str) else "tuple"
        sequences = self.recorder.dataset.sequences(split).numpy()
        return StreamedBatches(self, hooks, batch_size, seed, sequences, epochs, together, memory)


@dataclass(frozen=True)
class StreamedBatches:
    """An iterable of shuffled batches that are computed as it goes; iterating again computes the same ones again.

    `resume` computes what the batch it starts with is drawn from, and nothing before.
    """

    stream: ActivationStream
    hooks: tuple[str, ...]
    batch_size: int
    seed: int
    sequences: Int[np.ndarray, " seq"]
    epochs: int | None = None
    together: str = "one"
    memory: int = MEMORY
    start: int = 0

    def __post_init__(self) -> None:
        widths = {self.stream.width(hook) for hook in self.hooks}
        check_reading(self.hooks, self.batch_size, self.seed, self.epochs, self.memory, self.n_rows)
        if self.together == "stack" and len(widths) > 1:
            raise ValueError(f"only hooks of one width can be stacked: these have {sorted(widths)}.")

    @property
    def d_in(self) -> int:
        """The width of a row, of the first hook where there are several."""
        return self.stream.width(self.hooks[0])

    @cached_property
    def _counts(self) -> Int[np.ndarray, " seq"]:
        return self.stream.recorder.counts[self.stream.axis][self.sequences]

    @property
    def n_rows(self) -> int:
        """Rows an epoch."""
        return int(self._counts.sum())

    def resume(self, n_batches: int) -> "StreamedBatches":
        """The same batches without the first `n_batches`."""
        return replace(self, start=self.start + whole_number(n_batches, "n_batches"))

    def __iter__(self) -> Iterator[Any]:  # of `Batch`; which of them, `together` says
        epoch, skipped = divmod(self.start * self.batch_size, self.n_rows)
        rest: list[tuple[Tensor, ...]] = []
        while self.epochs is None or epoch < self.epochs:
            for block in self._blocks(epoch, skipped):
                rest.append(block)
                while (n := sum(len(part[0]) for part in rest)) >= self.batch_size:
                    joined = tuple(torch.cat(parts) for parts in zip(*rest, strict=True)) if len(rest) > 1 else rest[0]
                    yield self._given(tuple(values[: self.batch_size] for values in joined))
                    rest = [tuple(values[self.batch_size :] for values in joined)] if n > self.batch_size else []
            epoch, skipped = epoch + 1, 0
        if rest:
            yield self._given(tuple(torch.cat(parts) for parts in zip(*rest, strict=True)))

    def _blocks(self, epoch: int, skipped: int) -> Iterator[tuple[Tensor, ...]]:
        """The shuffled rows of as many sequences as the memory holds, one block after the other."""
        order = Permutation(len(self.sequences), self.seed, epoch).at(np.arange(len(self.sequences)))
        ends = np.cumsum(self._counts[order])
        most = max(1, self.memory // (4 * sum(self.stream.width(hook) for hook in self.hooks)))
        first = number = 0
        while first < len(order):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
            n = int(ends[last - 1]) - before
            if skipped < before + n:
                rows = self._computed(torch.from_numpy(self.sequences[order[first:last]]), n)
                shuffled = np.random.default_rng([self.seed, epoch, number]).permutation(n)
                kept = torch.from_numpy(shuffled[max(0, skipped - before) :])
                yield tuple(rows[hook][kept] for hook in self.hooks)
            first, number = last, number + 1

    def _computed(self, sequences: Tensor, n: int) -> dict[str, Tensor]:
        axis, recorder = self.stream.axis, self.stream.recorder
        buffers: dict[str, Tensor] = {}
        filled = {axis: 0}
        for part in sequences.split(self.stream.sequences_per_pass):
            added = recorder.record(part, buffers, filled, {axis: n})
            filled = {axis: filled[axis] + added[axis]}
        return buffers

    def _given(self, values: tuple[Tensor, ...]) -> Batch:
        if self.together == "one":
            return values[0]
        return torch.stack(values, dim=1) if self.together == "stack" else values
