"""Labels that are added to a recording after it was made: an artifact of their own, one file a shard."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from models.artifacts import MANIFEST, ArtifactError, Manifest, publishing
from models.progress import progress

if TYPE_CHECKING:
    from workbench.activations.store import ActivationStore

KIND = "labels"
Columns = pa.Table | Mapping[str, Any]


@dataclass(frozen=True)
class AddedLabels:
    """An artifact of labels: `labels-00000.parquet` has the rows of the recording's shard of that number."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> "AddedLabels":
        """The labels in a folder. Raises `ArtifactError` if there are none there."""
        manifest = Manifest.read(path)
        if manifest.kind != KIND:
            raise ArtifactError(f"{path} holds {manifest.kind}, not {KIND}.")
        return cls(Path(path).absolute(), manifest)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return self.manifest.config["results"]["columns"]

    @property
    def axis(self) -> str:
        """Whose positions they are of."""
        return self.manifest.config["axis"]

    def file(self, shard: int) -> Path:
        """The file that belongs to a shard."""
        return self.path / f"labels-{shard:05d}.parquet"


def labels_of(store: Path, store_id: str, further: Sequence[str | Path] = ()) -> list[AddedLabels]:
    """The labels that were added to a recording in its run, and those in further folders.

    Raises:
        ArtifactError: labels in a further folder are not of this recording, or two have a column of one name.
    """
    store = store.absolute()
    beside = sorted((store.parent.parent / KIND).glob("*/manifest.json")) if store.parent.name == "activations" else []
    found = []
    for path in beside:
        with suppress(ArtifactError):  # damaged ones are another's matter: `workbench ls` names them
            found.append(AddedLabels.open(path.parent))
    named = [AddedLabels.open(path) for path in further if Path(path).absolute() not in {f.path for f in found}]
    for labels in named:
        if store_id not in labels.manifest.inputs.values():
            raise ArtifactError(f"the labels in {labels.path} are of another recording than {store}.")
    chosen = [labels for labels in found if store_id in labels.manifest.inputs.values()] + named
    homes: dict[tuple[str, str], Path] = {}
    for labels in chosen:
        for column in labels.names:
            other = homes.setdefault((labels.axis, column), labels.path)
            if other != labels.path:
                raise ArtifactError(
                    f"the labels in {other} and in {labels.path} both have a column {column!r}: remove one of them."
                )
    return chosen


def write_labels(
    store: "ActivationStore",
    name: str,
    labels: Columns | Callable[[pa.Table], Columns],
    out: str | Path | None,
    *,
    replace: bool,
) -> Path:
    """Publish labels and return their folder (`ActivationStore.add_labels`)."""
    home = store.path.absolute()
    in_run = home.parent.name == "activations"
    if out is None and not in_run:
        raise ValueError(f"{store.path} lies in no run: say by `out` where the labels shall be.")
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} cannot be the name of an artifact: use letters, digits, '.', '-' and '_'.")
    folder = Path(out).absolute() if out is not None else home.parent.parent / KIND / name
    key = f"activations/{home.name}" if in_run else str(home)
    if not replace and (folder / MANIFEST).exists():
        there = AddedLabels.open(folder).manifest.inputs
        if there.get(key) == store.id or key not in there:  # those of a recording that has been replaced are of no use
            raise ArtifactError(f"there are labels in {folder}: choose another name, or add replace=True.")
    known = set(store.column_names) - {
        column for added in store.added if added.path == folder for column in added.names
    }
    table = None if callable(labels) else _checked(labels, len(store), known)
    with publishing(folder, KIND, inputs={key: store.id}, config={"axis": store.axis, "name": name}) as draft:
        columns: list[str] = []
        schema = pa.schema([])
        for shard in progress(range(store.n_shards), desc="labelling", unit="shard"):
            first, last = (int(n) for n in store.shard_starts[shard : shard + 2])
            if callable(labels):
                (rows,) = store.shard_columns(*store.column_names, shards=[shard])
                part = _checked(labels(rows), last - first, known)
            else:
                assert table is not None
                part = table.slice(first, last - first)
            if shard and part.schema != schema:
                raise ValueError(f"the labels of shard {shard} are {part.schema}, those before them {schema}.")
            columns, schema = part.column_names, part.schema
            pq.write_table(part, AddedLabels(draft.path, store.manifest).file(shard), compression="zstd")
        draft.results = {"columns": columns}
    return folder


def _column(name: Any, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        column = values
    else:
        try:
            column = pa.array(np.asarray(values) if isinstance(values, Tensor) else values)
        except (TypeError, ValueError, pa.ArrowException):  # of whatever kind Arrow, or what was given, has for it
            column = None
    nested = (pa.types.is_nested, pa.types.is_binary)
    if not isinstance(name, str) or column is None or any(of_kind(column.type) for of_kind in nested):
        raise ValueError(
            f"the label {name!r} is a {type(values).__name__}, and no column of one truth value, number or text a row."
        )
    return column


def _checked(labels: Any, n_rows: int, known: set[str]) -> pa.Table:
    if not isinstance(labels, Mapping | pa.Table):
        raise TypeError(
            f"a {type(labels).__name__} is no labels: give columns by name ({{'late': values}}), an Arrow table, or a "
            "function that makes them of a shard's rows."
        )
    columns = labels.items() if isinstance(labels, Mapping) else zip(labels.column_names, labels.columns, strict=True)
    table = pa.table({column: _column(column, values) for column, values in columns})
    if not table.num_columns:
        raise ValueError("there is no column among the labels: give at least one.")
    if table.num_rows != n_rows:
        raise ValueError(f"the labels have {table.num_rows:,} rows, but the recording {n_rows:,}: each row wants one.")
    if taken := known & set(table.column_names):
        raise ValueError(f"the recording has a column {sorted(taken)[0]!r} already: choose another name.")
    return table
