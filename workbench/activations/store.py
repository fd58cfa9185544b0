"""`ActivationStore`: a recording on disk, and how it is read (the format: `docs/activation-store.md`)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.artifacts import ArtifactError, Manifest
from models.integrity import Damage
from models.tensor_files import read_header
from workbench.activations.batches import MEMORY, Batches
from workbench.activations.labels import AddedLabels, labels_of, write_labels
from workbench.activations.query import chosen_rows
from workbench.activations.row_runs import RowRuns
from workbench.activations.row_table import COLUMNS
from workbench.activations.sequences import SequenceBatch, sequences
from workbench.activations.shard_files import AXES, FORMATS, rows_name, shard_name
from workbench.activations.verification import check_manifest, verify_store

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
        if isinstance(rows, tuple):
            raise IndexError("rows have one index: take columns, or the axes of a row, from what it gives.")
        if isinstance(rows, Number) or getattr(rows, "ndim", 1) == 0:
            return self.store.read(self.hook, self.store.row_numbers(np.asarray(rows)[None]))[0]
        return self.store.read(self.hook, self.store.row_numbers(rows))


class ActivationStore:
    """A recording on disk; opening it reads manifests and nothing else.

    Its rows are the positions of one axis: nearly always the `target`'s. A recording of an encoder–decoder may have
    hooks of two; `on` gives the other's rows, and `store[hook]` those of whichever axis a hook has.

    Attributes:
        path: the folder.
        manifest: what it was made from.
        axis: whose positions the rows are: of the `target`, of its `source`, or one a `sequence`.
        shard_starts: the first row of every shard, and behind them the number of all rows.
    """

    def __init__(
        self, path: Path, manifest: Manifest, axis: str | None = None, added: Sequence[AddedLabels] = ()
    ) -> None:
        self.path, self.manifest, self._added_to_all = path, manifest, tuple(added)
        shards = manifest.config["results"]["shards"]
        self.axis = axis or self.axes[0]
        if self.axis not in shards:
            raise ValueError(f"{path} has no rows of the {axis}: it has those of the {' and the '.join(self.axes)}.")
        self.shard_starts = np.cumsum([0, *shards[self.axis]], dtype=np.int64)
        self._maps: dict[tuple[str, int], np.memmap] = {}

    @classmethod
    def open(cls, path: str | Path, labels: Sequence[str | Path] = ()) -> "ActivationStore":
        """The store in a folder, with the labels that were added to it in its run.

        Args:
            path: the folder.
            labels: folders of further labels that were added to it.

        Raises:
            ArtifactError: there is no store there, or labels are of another one.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        check_manifest(path, manifest)
        return cls(path, manifest, added=labels_of(path, manifest.id, labels))

    def __len__(self) -> int:
        return int(self.shard_starts[-1])

    def __getitem__(self, hook: str) -> HookRows:
        return HookRows(self.on(self.axis_of(hook)), hook)

    @property
    def id(self) -> str:
        """The manifest's id."""
        return self.manifest.id

    @property
    def dtype(self) -> str:
        """The number format on disk."""
        return self.manifest.config["dtype"]

    @property
    def hooks(self) -> list[str]:
        """The names of the recorded hooks, in the order they were asked for."""
        return list(self.manifest.config["hooks"])

    @property
    def axes(self) -> list[str]:
        """Whose positions there are rows of."""
        return [axis for axis in AXES if axis in self.manifest.config["results"]["shards"]]

    def on(self, axis: str) -> "ActivationStore":
        """The same recording by the rows of another axis. Raises `ValueError` where it has none."""
        return self if axis == self.axis else ActivationStore(self.path, self.manifest, axis, self._added_to_all)

    def axis_of(self, hook: str) -> str:
        """Whose positions a hook's rows are. Raises `ValueError` for a hook that was not recorded."""
        return self._entry(hook)["axis"]

    def shape(self, hook: str) -> tuple[int, ...]:
        """The shape of one row as the model has it: `(d,)`, or `(head, d_head)` for a head-split hook."""
        return tuple(self._entry(hook)["shape"])

    def width(self, hook: str) -> int:
        """The length of one flattened row."""
        return int(np.prod(self.shape(hook)))

    def _entry(self, hook: str) -> dict[str, Any]:
        hooks = self.manifest.config["results"]["hooks"]
        if hook not in hooks:
            raise ValueError(f"{self.path} has no recording of {hook!r}: it has {', '.join(hooks)}.")
        return hooks[hook]

    @cached_property
    def rows(self) -> pa.dataset.Dataset:
        """The row table, lazily: doc, seq, pos, token, split and the labels, one row per recorded position.

        Labels that were added later are read by `columns` and `where`.
        """
        # Named one by one: a folder scan would not promise the shards' order.
        files = [str(self._rows_file(i)) for i in range(self.n_shards)]
        try:
            return pa.dataset.dataset(files, format="parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"{self.path} is damaged: {str(error).splitlines()[0]}") from error

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return len(self.shard_starts) - 1

    @property
    def has_tokens(self) -> bool:
        """Whether a token stands at each row; a subject that reads vectors has none."""
        return "token" in self.rows.schema.names

    @cached_property
    def added(self) -> list[AddedLabels]:
        """The labels that were added to these rows after they were recorded."""
        return [labels for labels in self._added_to_all if labels.axis == self.axis]

    @property
    def labels(self) -> list[str]:
        """The names of the label columns, added ones last."""
        own = [name for name in self.rows.schema.names if name not in COLUMNS]
        return own + [name for labels in self.added for name in labels.names]

    @property
    def column_names(self) -> list[str]:
        """The names of all columns that the rows have."""
        return self.rows.schema.names + [name for labels in self.added for name in labels.names]

    def columns(self, *names: str) -> pa.Table:
        """Some columns, whole: of the row table and of labels added later; every one of them where none is named.

        Raises `ValueError` for a name that there is not.
        """
        tables = list(self.shard_columns(*(names or self.column_names)))
        return pa.concat_tables(tables).unify_dictionaries()

    def shard_columns(self, *names: str, shards: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """Some columns, a shard's at a time, of some shards or of all. Raises `ValueError` for an unknown name."""
        for name in names:
            if name not in self.column_names:
                raise ValueError(f"{self.path} has no label {name!r}: it has {', '.join(self.column_names)}.")
        own = [name for name in names if name in self.rows.schema.names]
        for shard in range(self.n_shards) if shards is None else shards:
            n = int(np.diff(self.shard_starts)[shard])
            found = _read_rows(self._rows_file(shard), own, n)
            for labels in self.added:
                if wanted := [name for name in names if name in labels.names]:
                    found |= _read_rows(labels.file(shard), wanted, n)
            yield pa.table({name: found[name] for name in names})

    def _rows_file(self, shard: int) -> Path:
        return self.path / rows_name(shard, self.axis)

    def add_labels(
        self,
        name: str,
        labels: pa.Table | Mapping[str, Any] | Callable[[pa.Table], pa.Table | Mapping[str, Any]],
        out: str | Path | None = None,
        *,
        replace: bool = False,
    ) -> "ActivationStore":
        """Labels that were not there when the rows were recorded: an artifact of their own beside the recording.

        Args:
            name: the artifact's name, `RUN/labels/NAME`.
            labels: columns with one value a row; or what gives them for the rows of one shard, which are handed to it
                as a table, so that no more than a shard's need be in memory.
            out: the artifact's folder, where the recording lies in no run.
            replace: let them take the place of labels of this name.

        Returns:
            The store with its labels; this one stays without.

        Raises:
            TypeError: they are neither columns by name nor a function.
            ValueError: a column has another length than the rows, more than one value a row, or the name of one that
                there is; or there is none.
            ArtifactError: this recording has labels of this name already, and `replace` was not given.
        """
        known = {added.path: added for added in (*labels_of(self.path, self.id), *self._added_to_all)}
        folder = write_labels(self.with_labels(known.values()), name, labels, out, replace=replace)
        found = known | {folder: AddedLabels.open(folder)}
        return self.with_labels(found.values())

    def with_labels(self, added: Iterable[AddedLabels]) -> "ActivationStore":
        """The same store with these labels, and no others, beside those that were recorded."""
        return ActivationStore(self.path, self.manifest, self.axis, list(added))

    def rows_of(self, split: str | None) -> Int[np.ndarray, " n"]:
        """The row numbers of a split, `train` or `test`; all of them for None."""
        return chosen_rows(self, split).numbers()

    def where(self, expression: str) -> Int[np.ndarray, " n"]:
        """The numbers of the rows for which a query to the labels is true, such as `depth >= 2 and not is_name`.

        Queries are comparisons joined by and, or, not; where a label is missing, no comparison with it is true. One
        shard's columns are in memory at a time. Where it is true of no row the array is empty. Raises `ValueError` for
        a query that cannot be read or answered.
        """
        return chosen_rows(self, where=expression).numbers()

    def row_numbers(self, rows: RowIndex) -> Int[np.ndarray, " n"]:
        """Row numbers from a slice, an index array or a mask. Raises `IndexError` for what is none, or out of range."""
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)))
        try:
            array = np.asarray(rows)
        except (TypeError, ValueError):  # lists of several lengths, a tensor on a GPU
            array = np.empty((0, 0))
        if array.dtype == bool:
            if array.shape != (len(self),):
                raise IndexError(f"the mask has {array.shape} entries, but the store has {len(self)} rows.")
            return np.flatnonzero(array)
        if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
            raise IndexError("rows are chosen by a number, a slice, a list of whole numbers or a mask of all rows.")
        array = array.astype(np.int64)
        if len(array) and (array.min() < -len(self) or array.max() >= len(self)):
            far = array.max() if array.max() >= len(self) else array.min()
            raise IndexError(f"row {far} is out of range: the store has {len(self)} rows.")
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

    def batches(
        self,
        hook: str | Sequence[str],
        batch_size: int = 4096,
        *,
        seed: int = 0,
        split: str | None = None,
        where: str | None = None,
        rows: RowIndex | None = None,
        epochs: int | None = None,
        memory: int = MEMORY,
        stack: bool = False,
        device: torch.device | str | None = None,
        pin_memory: bool = False,
    ) -> Batches:
        """Shuffled batches `[batch_size, d]`, float32: each epoch is a new permutation of every row that is wanted.

        Epochs follow each other without end unless their number is given; a last, smaller batch of an epoch is
        joined by the first rows of the next, and given as it is at the very end. `resume` and `part` of what is
        returned start further on and share batches among ranks.

        Args:
            hook: one; or several, of which each batch is a tuple of tensors with the same rows.
            batch_size: rows a batch.
            seed: of the order.
            split: only rows of this split.
            where: only rows for which this query to the labels is true.
            rows: only these rows, instead of a split or a query.
            epochs: how often each row is given.
            memory: bytes of rows that may be held at once, to read the disk in its order.
            stack: several hooks of one width as one tensor `[batch_size, hook, d]`.
            device: where the batches are wanted.
            pin_memory: give batches in pinned memory, for a CUDA device.
        """
        hooks = (hook,) if isinstance(hook, str) else tuple(hook)
        if rows is not None and (split is not None or where is not None):
            raise ValueError("rows were named and a split or query too: give the one or the other.")
        store = self._shared_by(hooks)
        chosen = chosen_rows(store, split, where) if rows is None else RowRuns.from_numbers(store.row_numbers(rows))
        if where is not None and not len(chosen):
            raise ValueError(f"{self.path} has no row with {where}.")
        together = "stack" if stack else "one" if isinstance(hook, str) else "tuple"
        return Batches(
            store, hooks, batch_size, seed, chosen, epochs, together, memory, device=device, pin_memory=pin_memory
        )

    def sequences(
        self, hooks: str | Sequence[str], batch_size: int = 64, *, split: str | None = None
    ) -> Iterator[SequenceBatch]:
        """Whole sequences in their order, `[seq, time, d]` with a mask (`workbench.activations.sequences`)."""
        names = (hooks,) if isinstance(hooks, str) else tuple(hooks)
        return sequences(self._shared_by(names), hooks, batch_size, split=split)

    def _shared_by(self, hooks: Sequence[str]) -> "ActivationStore":
        """The rows that hooks share. Raises `ValueError` where they are of two axes."""
        axes = {self.axis_of(name): name for name in hooks}
        if len(axes) > 1:
            (first, one), (second, other), *_ = axes.items()
            raise ValueError(f"{one} has rows of the {first} and {other} of the {second}: no batch can hold both.")
        return self.on(next(iter(axes), self.axis))

    def mapped(self, hook: str, shard: int) -> np.memmap:
        """The memory map of one shard's rows of a hook, `[rows, d]`; bfloat16 as the integers its bits are.

        Raises `ArtifactError` where the shard is missing or cut short.
        """
        if (hook, shard) not in self._maps:
            rows = int(np.diff(self.shard_starts)[shard])
            shape = (rows, self.width(hook))
            self._maps[hook, shard] = _map_tensor(self.path / shard_name(shard), hook, self.dtype, shape)
        return self._maps[hook, shard]

    def verify(self) -> list[Damage]:
        """Read everything, and name each shard and hook, and each row table, that is not what was published."""
        return verify_store(self.path)


def _read_rows(path: Path, names: list[str], n: int) -> dict[str, pa.ChunkedArray]:
    try:
        table = pq.read_table(path, columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path} is missing or damaged: {str(error).splitlines()[0]}") from error
    if names and table.num_rows != n:
        raise ArtifactError(f"{path} is damaged: it has {table.num_rows} rows, and its shard {n}.")
    return {name: table[name] for name in names}


def _map_tensor(path: Path, name: str, dtype: str, shape: tuple[int, int]) -> np.memmap:
    """A memory map of one tensor of a safetensors file, checked against the file's true length."""
    place = read_header(path).get(name)
    if place is None:
        raise ArtifactError(f"shard {path} is damaged: it has no tensor {name}.")
    if (place.dtype, place.shape) != (FORMATS[dtype], shape):
        raise ArtifactError(
            f"shard {path} is damaged: {name} is {place.dtype} {place.shape} where the manifest has {dtype} {shape}."
        )
    if path.stat().st_size < place.end:
        raise ArtifactError(f"shard {path} is cut short: tensor {name} is not whole.")
    return np.memmap(path, dtype=_ON_DISK[dtype], mode="r", offset=place.begin, shape=place.shape)
