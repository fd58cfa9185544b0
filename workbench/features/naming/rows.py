"""The rows on which names are chosen and judged, and what stands on them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, UInt8

from workbench.activations import ActivationStore
from workbench.features.naming.concepts import Concepts, concepts_of

PLACES = {"this": 0, "previous": -1, "next": 1}
MAX_FIT_ROWS = 200_000
NO_TOKEN = -1
POSITION_COLUMNS = ("doc", "seq", "pos", "token", "split")


@dataclass(frozen=True)
class NamingRows:
    """Fitting rows are those of training documents, held-out rows those of test documents.

    Attributes:
        fit: row numbers in the recording, ascending.
        held_out: the same.
        tokens: for `this`, `previous` and `next`: the token there, of every row of the recording.
        d_vocab: how many tokens there are.
        doc: the document of each held-out row, numbered from 0.
        concepts: the labels as concepts, on `fit` and then `held_out`; None where the recording has no labels.
    """

    fit: Int[np.ndarray, " fit"]
    held_out: Int[np.ndarray, " held_out"]
    tokens: dict[str, Int[np.ndarray, " rows"]]
    d_vocab: int
    doc: Int[np.ndarray, " held_out"]
    concepts: Concepts | None

    @property
    def fit_labels(self) -> UInt8[np.ndarray, "fit concepts"]:
        """The concepts on the fitting rows."""
        return self._matrix[: len(self.fit)]

    @property
    def held_out_labels(self) -> UInt8[np.ndarray, "held_out concepts"]:
        """The concepts on the held-out rows."""
        return self._matrix[len(self.fit) :]

    @property
    def names(self) -> list[str]:
        """The concepts' names."""
        return self.concepts.names if self.concepts else []

    @property
    def _matrix(self) -> UInt8[np.ndarray, "fit_and_held_out concepts"]:
        if self.concepts is None:
            return np.zeros((len(self.fit) + len(self.held_out), 0), np.uint8)
        return self.concepts.matrix


def naming_rows(
    store: ActivationStore,
    positions: dict[str, np.ndarray],
    d_vocab: int,
    bos: int,
    *,
    max_fit_rows: int = MAX_FIT_ROWS,
    seed: int = 0,
) -> NamingRows:
    """Choose the rows: all of the test documents, and training documents drawn until they hold `max_fit_rows` rows.

    Raises `ValueError` if there are no rows to choose on or none to judge by.
    """
    is_test = positions["split"] == "test"
    if not is_test.any() or is_test.all():
        missing, needed = ("test", "judge names by") if not is_test.any() else ("train", "choose names on")
        raise ValueError(f"the recording has no {missing} documents: names need some to {needed}.")
    fit = _draw_documents(positions["doc"], ~is_test, max_fit_rows, seed)
    held_out = np.flatnonzero(is_test)
    _, doc = np.unique(positions["doc"][held_out], return_inverse=True)
    return NamingRows(
        fit=fit,
        held_out=held_out,
        tokens=_tokens_around(positions, bos),
        d_vocab=d_vocab,
        doc=doc,
        concepts=_concepts(store, np.concatenate([fit, held_out]), len(fit)),
    )


def read_positions(store: ActivationStore) -> dict[str, np.ndarray]:
    """The columns of the row table that say where each row is; and `line`, if the labels have it (−1: unknown).

    Where the sequences are of vectors, every row's token is 0.
    """
    names = [*POSITION_COLUMNS, *(["line"] if "line" in store.labels else [])]
    if not store.has_tokens:
        names.remove("token")
    table = store.columns(*names)
    columns = {} if store.has_tokens else {"token": np.zeros(len(store), np.int32)}
    for name in names:
        column = table[name].combine_chunks()
        if name == "split":
            values = column.cast(pa.string()).to_numpy(zero_copy_only=False)
        else:
            values = column.fill_null(-1).to_numpy()
        columns[name] = values
    return columns


def _draw_documents(
    doc: Int[np.ndarray, " rows"], able: Bool[np.ndarray, " rows"], max_rows: int, seed: int
) -> Int[np.ndarray, " chosen"]:
    """All rows of documents drawn at random, as many as stay within `max_rows` (one at least)."""
    size = np.bincount(doc[able])
    order = np.random.default_rng(seed).permutation(np.flatnonzero(size))
    n_docs = max(1, int(np.searchsorted(np.cumsum(size[order]), max_rows, side="right")))
    chosen = np.zeros(len(size), bool)
    chosen[order[:n_docs]] = True
    return np.flatnonzero(able & chosen[np.minimum(doc, len(size) - 1)])


def _tokens_around(positions: dict[str, np.ndarray], bos: int) -> dict[str, Int[np.ndarray, " rows"]]:
    """The token at each row, the one before it (BOS before the first) and the one after it (none after the last)."""
    token, seq = positions["token"], positions["seq"]
    same = seq[1:] == seq[:-1]
    previous, following = np.full_like(token, bos), np.full_like(token, NO_TOKEN)
    previous[1:][same] = token[:-1][same]
    following[:-1][same] = token[1:][same]
    return {"this": token, "previous": previous, "next": following}


def _concepts(store: ActivationStore, rows: Int[np.ndarray, " chosen"], n_fit: int) -> Concepts | None:
    if not store.labels:
        return None
    labels = store.columns(*store.labels).take(pa.array(rows))
    is_fit = np.arange(len(rows)) < n_fit
    concepts = concepts_of(labels, is_fit)
    return concepts if concepts.names else None
