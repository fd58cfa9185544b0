"""Parquet tables sorted by feature, of which one feature's rows are read at a time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.artifacts import ArtifactError

ROW_GROUP = 4096


class FeatureRows:
    """A table sorted by its column `feature`: reading one feature touches only the row groups that hold it.

    Safe to share between threads: the file stays open, and every read has a reader of its own.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the footer. Raises `ArtifactError` if the file is missing or damaged."""
        try:
            self._file = pa.OSFile(str(path))
            self._metadata = pq.read_metadata(self._file)
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"{path} is missing or damaged: its footer cannot be read.") from error
        column = self._metadata.schema.names.index("feature")
        # A table without rows may still have a group, which has no least feature.
        n_groups = self._metadata.num_row_groups if self._metadata.num_rows else 0
        groups = [self._metadata.row_group(i).column(column) for i in range(n_groups)]
        self._first = np.array([g.statistics.min for g in groups], dtype=np.int64)
        self._last = np.array([g.statistics.max for g in groups], dtype=np.int64)

    def of(self, feature: int) -> pd.DataFrame:
        """The rows of one feature in the order they were written, without the column `feature`."""
        groups = np.flatnonzero((self._first <= feature) & (feature <= self._last))
        reader = pq.ParquetFile(self._file, metadata=self._metadata)
        table = reader.read_row_groups(groups.tolist(), use_threads=False)
        keys = table["feature"].to_numpy()
        start, stop = np.searchsorted(keys, [feature, feature + 1])
        return table.slice(start, stop - start).drop_columns("feature").to_pandas()


def write_feature_rows(frame: pd.DataFrame, path: Path) -> None:
    """Write a table for `FeatureRows`. The rows of a feature keep their order."""
    table = pa.Table.from_pandas(frame.sort_values("feature", kind="stable"), preserve_index=False)
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd")
