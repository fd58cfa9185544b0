"""Labels that are added to a recording after it was made: an artifact of their own, one file a shard."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.artifacts import ArtifactError, Manifest, publishing
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
        ArtifactError: labels in a further folder are not of this recording.
    """
    store = store.absolute()
    beside = sorted((store.parent.parent / KIND).glob("*/manifest.json")) if store.parent.name == "activations" else []
    found = []
    for path in beside:
        with suppress(ArtifactError):  # damaged ones are another's matter: `workbench ls` names them
            found.append(AddedLabels.open(path.parent))
    named = [AddedLabels.open(path) for path in further]
    for labels in named:
        if store_id not in labels.manifest.inputs.values():
            raise ArtifactError(f"the labels in {labels.path} are of another recording than {store}.")
    return [labels for labels in found if store_id in labels.manifest.inputs.values()] + named


def write_labels(
    store: "ActivationStore", name: str, labels: Columns | Callable[[pa.Table], Columns], out: str | Path | None
) -> Path:
    """Publish labels and return their folder (`ActivationStore.add_labels`)."""
    home = store.path.absolute()
    in_run = home.parent.name == "activations"
    if out is None and not in_run:
        raise ValueError(f"{store.path} lies in no run: say by `out` where the labels shall be.")
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} cannot be the name of an artifact: use letters, digits, '.', '-' and '_'.")
    folder = Path(out).absolute() if out is not None else home.parent.parent / KIND / name
    known = set(store.column_names) - {
        column for added in store.added if added.path == folder for column in added.names
    }
    table = None if callable(labels) else _checked(labels, len(store), known)
    inputs = {f"activations/{home.name}" if in_run else str(home): store.id}
    with publishing(folder, KIND, inputs=inputs, config={"axis": store.axis, "name": name}) as draft:
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


def _checked(labels: Any, n_rows: int, known: set[str]) -> pa.Table:
    table = pa.table({k: pa.array(v) for k, v in labels.items()}) if isinstance(labels, Mapping) else labels
    if not table.num_columns:
        raise ValueError("there is no column among the labels: give at least one.")
    if table.num_rows != n_rows:
        raise ValueError(f"the labels have {table.num_rows:,} rows, but the recording {n_rows:,}: each row wants one.")
    if taken := known & set(table.column_names):
        raise ValueError(f"the recording has a column {sorted(taken)[0]!r} already: choose another name.")
    return table
