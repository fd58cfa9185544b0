"""Packs labelled documents into sequences: BOS, then up to n_ctx - 1 tokens of one document."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.corpus.label_columns import LANGUAGES, LINE, LabelColumn
from models.corpus.labelling import DocumentLabels
from models.corpus.tokenizer import BOS_ID


def pack_tokens(
    ids: Sequence[Int[np.ndarray, " _"]], n_ctx: int, bos: int = BOS_ID
) -> tuple[Int[Tensor, "seq time"], Bool[Tensor, "seq time"], Int[Tensor, " seq"]]:
    """Sequences, the mask of their real positions, and the document of each.

    A document's last sequence is padded at its end with 0.
    """
    per_sequence = n_ctx - 1
    n_sequences = [-(-len(tokens) // per_sequence) for tokens in ids]
    rows = np.zeros((sum(n_sequences), n_ctx), dtype=np.int64)
    mask = np.zeros(rows.shape, dtype=bool)
    start = 0
    for tokens, n in zip(ids, n_sequences, strict=True):
        padded = np.zeros(n * per_sequence, dtype=np.int64)
        padded[: len(tokens)] = tokens
        rows[start : start + n, 1:] = padded.reshape(n, per_sequence)
        mask[start : start + n, 1:] = (np.arange(n * per_sequence) < len(tokens)).reshape(n, per_sequence)
        start += n
    rows[:, 0], mask[:, 0] = bos, True
    docs = np.repeat(np.arange(len(ids)), n_sequences)
    return torch.from_numpy(rows), torch.from_numpy(mask), torch.from_numpy(docs)


def label_table(labels: Sequence[DocumentLabels], language: str, n_ctx: int) -> pa.Table:
    """One row per real position in reading order, all null for BOS: `line` and the language's columns."""
    columns = LANGUAGES[language]
    rows = _rows_of_tokens([len(found.lines) for found in labels], n_ctx)
    n_rows = int(rows[-1]) + 1 if len(rows) else 0
    is_bos = np.ones(n_rows, dtype=bool)
    is_bos[rows] = False

    def spread(per_document: list[np.ndarray]) -> np.ndarray:
        values = np.concatenate(per_document)
        table = np.zeros(n_rows, dtype=values.dtype)
        table[rows] = values
        return table

    arrays = {LINE: pa.array(spread([found.lines for found in labels]), mask=is_bos)}
    counted = [column for column in columns if column.kind == "int"]
    coded = [column for column in columns if column.kind != "int"]
    for i, column in enumerate(counted):
        arrays[column.name] = pa.array(spread([found.counts[i] for found in labels]), mask=is_bos)
    for i, column in enumerate(coded):
        arrays[column.name] = _arrow(column, spread([found.codes[i] for found in labels]), is_bos)
    return pa.table({name: arrays[name] for name in (LINE, *(column.name for column in columns))})


def _arrow(column: LabelColumn, codes: np.ndarray, is_bos: np.ndarray) -> pa.Array:
    if column.kind == "bool":
        return pa.array(codes.astype(bool), mask=is_bos)
    indices = pa.array(codes.astype(np.int8) - 1, mask=is_bos | (codes == 0))
    return pa.DictionaryArray.from_arrays(indices, pa.array(column.values))


def _rows_of_tokens(lengths: Sequence[int], n_ctx: int) -> Int[np.ndarray, " token"]:
    """The row of each token in a table that has a row for each BOS as well."""
    per_sequence = n_ctx - 1
    within = np.concatenate([np.arange(n) for n in lengths]) if lengths else np.zeros(0, dtype=np.int64)
    bos_in_documents = np.cumsum([0, *(-(-n // per_sequence) for n in lengths[:-1])])
    tokens_in_documents = np.cumsum([0, *lengths[:-1]])
    before = np.repeat(bos_in_documents + tokens_in_documents, lengths)
    return before + within + within // per_sequence + 1
