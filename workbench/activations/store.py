"""`ActivationStore`: the format of a recording, and how it is read.

A store is a folder of shards. `shard-00000.safetensors` holds one tensor `[rows, d]` for each hook, side by side;
`rows-00000.parquet` holds the same rows' document, sequence, position, token, split and labels. Rows stand in
reading order, so the context of a row is its neighbours of the same `seq`.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.artifacts import ArtifactError, Manifest
from workbench.activations.batches import Batches

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# NumPy has no bfloat16: its bits travel as integers and are named again in torch.
_ON_DISK = {"float32": np.float32, "float16": np.float16, "bfloat16": np.int16}

RowIndex = int | slice | Sequence[int] | np.ndarray | Tensor


@dataclass(frozen=True)
class HookRows:
    """The rows of one hook: `rows[1000:2000]`, `rows[[3, 1, 4]]`, `rows[mask]` are float32 `[n, d]`."""

    store: "ActivationStore"
    hook: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return len(self.store), self.store.width(self.hook)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, rows: RowIndex) -> Float[Tensor, "n d"] | Float[Tensor, " d"]:
        if isinstance(rows, (int, np.integer)):
            return self.store.read(self.hook, self.store.row_numbers([int(rows)]))[0]
        return self.store.read(self.hook, self.store.row_numbers(rows))


class ActivationStore:
    """A recording on disk; opening it reads its manifest and nothing else."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        # The first row of every shard, and the number of all rows behind them.
        self.shard_starts = np.cumsum([0, *manifest.config["results"]["shards"]], dtype=np.int64)

    @classmethod
    def open(cls, path: str | Path) -> "ActivationStore":
        """The store in a folder. Raises `ArtifactError` if there is none there."""
        path = Path(path)
        manifest = Manifest.read(path)
        if manifest.kind != "activations":
            raise ArtifactError(f"{path} holds {manifest.kind}, not activations.")
        return cls(path, manifest)

    def __len__(self) -> int:
        return int(self.shard_starts[-1])

    @property
    def id(self) -> str:
        """The manifest's id."""
        return self.manifest.id

    @property
    def hooks(self) -> list[str]:
        """The names of the recorded hooks."""
        return list(self.manifest.config["results"]["hooks"])

    def shape(self, hook: str) -> tuple[int, ...]:
        """The shape of one row as the model has it: `(d,)`, or `(head, d_head)` for a head-split hook."""
        shapes = self.manifest.config["results"]["hooks"]
        if hook not in shapes:
            raise ValueError(f"{self.path} has no recording of {hook!r}: it has {', '.join(shapes)}.")
        return tuple(shapes[hook])

    def width(self, hook: str) -> int:
        """The length of one flattened row."""
        return int(np.prod(self.shape(hook)))

    def __getitem__(self, hook: str) -> HookRows:
        self.shape(hook)
        return HookRows(self, hook)

    @cached_property
    def rows(self) -> pa.dataset.Dataset:
        """The row table, lazily: doc, seq, pos, token, split and the labels, one row per recorded position."""
        # Named one by one: a folder scan would not promise the shards' order.
        files = [str(self.path / f"rows-{i:05d}.parquet") for i in range(len(self.shard_starts) - 1)]
        return pa.dataset.dataset(files, format="parquet")

    @property
    def has_tokens(self) -> bool:
        """Whether a token stands at each row; a subject that reads vectors has none."""
        return "token" in self.rows.schema.names

    @cached_property
    def labels(self) -> list[str]:
        """The names of the label columns."""
        return [name for name in self.rows.schema.names if name not in ROW_COLUMNS]

    def columns(self, *names: str) -> pa.Table:
        """Some columns of the row table, whole. Raises `ValueError` for a name it does not have."""
        for name in names:
            if name not in self.rows.schema.names:
                raise ValueError(f"{self.path} has no label {name!r}: it has {', '.join(self.rows.schema.names)}.")
        return self.rows.to_table(columns=list(names)).unify_dictionaries()

    def rows_of(self, split: str | None) -> Int[np.ndarray, " n"]:
        """The row numbers of a split, `train` or `test`; all of them for None."""
        if split is None:
            return np.arange(len(self))
        column = self.columns("split")["split"].combine_chunks().cast(pa.string())
        chosen = np.flatnonzero(np.asarray(pa.compute.equal(column, split)))
        if not len(chosen):
            raise ValueError(f"{self.path} has no row of the split {split!r}.")
        return chosen

    def row_numbers(self, rows: RowIndex) -> Int[np.ndarray, " n"]:
        """Row numbers from a slice, an index array or a mask. Raises `IndexError` out of range."""
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)))
        array = np.asarray(rows)
        if array.dtype == bool:
            if array.shape != (len(self),):
                raise IndexError(f"the mask has {array.shape} entries, but the store has {len(self)} rows.")
            return np.flatnonzero(array)
        array = array.astype(np.int64)
        if len(array) and (array.min() < -len(self) or array.max() >= len(self)):
            raise IndexError(f"row {array.max()} is out of range: the store has {len(self)} rows.")
        return array % len(self)

    def read(self, hook: str, rows: Int[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
        """Rows by number, in the order asked for."""
        shards = np.searchsorted(self.shard_starts, rows, side="right") - 1
        out = torch.empty(len(rows), self.width(hook))
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            local = rows[here] - self.shard_starts[shard]
            mapped = self.mapped(hook, int(shard))
            if local[-1] - local[0] == len(local) - 1 and np.all(np.diff(local) == 1):
                # Read, not mapped: pages that are passed over once need not stay in memory.
                start = mapped.offset + int(local[0]) * mapped.strides[0]
                block = np.fromfile(str(mapped.filename), mapped.dtype, len(local) * mapped.shape[1], offset=start)
                if block.size != len(local) * mapped.shape[1]:
                    raise ArtifactError(f"shard {mapped.filename} has been cut short while it was read.")
                block = block.reshape(len(local), mapped.shape[1])
            else:
                block = mapped[local]
            values = torch.from_numpy(block)
            if self.dtype == "bfloat16":
                values = values.view(torch.bfloat16)
            if len(here) == len(rows):
                return values.float()
            out[torch.from_numpy(here)] = values.float()
        return out

    @property
    def dtype(self) -> str:
        """The number format on disk."""
        return self.manifest.config["dtype"]

    def batches(
        self,
        hook: str,
        batch_size: int = 4096,
        *,
        seed: int = 0,
        split: str | None = None,
        epochs: int | None = None,
    ) -> Batches:
        """Shuffled batches `[batch_size, d]`, float32: each epoch is a new permutation of every row of the split.

        Epochs follow each other without end unless their number is given; a last, smaller batch of an epoch is
        joined by the first rows of the next, and given as it is at the very end.
        """
        self.shape(hook)
        return Batches(self, hook, batch_size, seed, self.rows_of(split), epochs)

    def mapped(self, hook: str, shard: int) -> np.memmap:
        """One shard's `[rows, d]` as it lies on disk, bfloat16 as int16 bits. Raises `ArtifactError` if damaged."""
        cache = self.__dict__.setdefault("_maps", {})
        if (hook, shard) not in cache:
            path = self.path / f"shard-{shard:05d}.safetensors"
            cache[hook, shard] = _map_tensor(path, hook, _ON_DISK[self.dtype])
        return cache[hook, shard]


ROW_COLUMNS = ("doc", "seq", "pos", "token", "split")


def _map_tensor(path: Path, name: str, dtype: type) -> np.memmap:
    """A memory map of one tensor of a safetensors file, checked against the file's true length."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            entry = json.loads(file.read(length))[name]
    except (OSError, KeyError, ValueError, struct.error) as error:
        raise ArtifactError(f"shard {path} is missing or damaged: no tensor {name} can be read.") from error
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    if path.stat().st_size < end:
        raise ArtifactError(f"shard {path} is cut short: tensor {name} is not whole.")
    return np.memmap(path, dtype=dtype, mode="r", offset=begin, shape=tuple(entry["shape"]))
