"""The rows beside a shard: where each recorded position is, what stands there, and its labels."""

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int
from torch import Tensor

from models.dataset import Dataset

# What every row has, besides its labels; `token` only where sequences are of tokens.
COLUMNS = ("doc", "seq", "pos", "token", "split")


class RowTables:
    """Makes the row table of any run of sequences, without the table of all."""

    def __init__(self, rows: Dataset) -> None:
        self.rows = rows
        split = rows.doc_table["split"].combine_chunks().cast(pa.string())
        self._split = split.dictionary_encode()
        self._first_label: Int[np.ndarray, " seq"] = np.cumsum(np.count_nonzero(rows.mask.numpy(), axis=1))

    def table(self, sequences: slice, kept: Bool[Tensor, "seq pos"]) -> pa.Table:
        """One row for each position that is kept, in reading order."""
        rows = self.rows
        seq, pos = (index.numpy() for index in kept.nonzero(as_tuple=True))
        docs = rows.docs[sequences].numpy()[seq]
        columns = {
            "doc": pa.array(docs.astype(np.int32)),
            "seq": pa.array((seq + sequences.start).astype(np.int32)),
            "pos": pa.array(pos.astype(np.int16 if kept.shape[1] <= np.iinfo(np.int16).max else np.int32)),
            "split": self._split.take(pa.array(docs)),
        }
        if not rows.tokens.is_floating_point():
            columns["token"] = pa.array(rows.tokens[sequences][kept].numpy().astype(np.int32))
        table = pa.table(columns)
        if rows.labels is None:
            return table
        mask = rows.mask[sequences]
        first = int(self._first_label[sequences.start - 1]) if sequences.start else 0
        labels = rows.labels.slice(first, int(mask.sum())).filter(pa.array(kept[mask].numpy()))
        for name in labels.column_names:
            table = table.append_column(name, labels[name].combine_chunks())
        return table
