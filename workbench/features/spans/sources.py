"""Where spans are looked for: the rows of a recorded hook, or the codes of a feature index."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.activations import ActivationStore
from workbench.features.index.feature_index import FeatureIndex
from workbench.features.spans.bounds import Bounds

# Numbers of a recording that are held at once, and those that quantiles are taken of.
_BLOCK, _SAMPLE = 1 << 23, 1 << 23
_ROWS = 1 << 14  # of a sample, at most


@runtime_checkable
class SpanSource(Protocol):
    """Rows of units, sequence by sequence.

    Attributes:
        seq: the sequence of each row.
        pos: its position there.
        doc: its document, by number.
        doc_names: the documents' names.
    """

    seq: Int[np.ndarray, " row"]
    pos: Int[np.ndarray, " row"]
    doc: Int[np.ndarray, " row"]
    doc_names: np.ndarray

    @property
    def n_units(self) -> int:
        """How many units there are."""

    def check(self, bounds: Bounds) -> None:
        """`ValueError` where these bounds cannot be asked for here."""

    def quantile(self, q: float) -> Float[np.ndarray, " unit"]:
        """A quantile of each unit's values, one of them."""

    def blocks(
        self, bounds: Bounds, columns: Int[np.ndarray, " chosen"]
    ) -> Iterator[tuple[int, Bool[np.ndarray, "row chosen"]]]:
        """Which columns are on, whole sequences at a time, with the first row's number."""

    def at(
        self, bounds: Bounds, rows: Int[np.ndarray, " chosen"], columns: Int[np.ndarray, " asked"]
    ) -> Bool[np.ndarray, "chosen asked"]:
        """Which columns are on at some rows."""

    def density(self, bounds: Bounds) -> Float[np.ndarray, " column"]:
        """The share of rows at which each column is on."""

    def held(
        self, bounds: Bounds, row: Int[np.ndarray, " span"], length: Int[np.ndarray, " span"]
    ) -> Int[np.ndarray, " span"]:
        """How many of all columns are on throughout each of some spans, none of which overlap."""


class RecordedUnits:
    """The units of one hook of a recording; `doc_names` are those of its dataset's documents, else their numbers."""

    def __init__(
        self, store: ActivationStore, hook: str, doc_names: Sequence[str] | None = None, *, seed: int = 0
    ) -> None:
        self.store, self.hook, self._seed = store.on(store.axis_of(hook)), hook, seed
        place = self.store.columns("seq", "pos", "doc")
        self.seq, self.pos, self.doc = (place[name].to_numpy() for name in ("seq", "pos", "doc"))
        names = [str(i) for i in range(int(self.doc.max(initial=-1)) + 1)] if doc_names is None else list(doc_names)
        self.doc_names = np.array(names, dtype=object)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return self.store.width(self.hook)

    def check(self, bounds: Bounds) -> None:
        """Any bounds can be asked for."""

    @cached_property
    def _sample(self) -> Float[np.ndarray, "unit n"]:
        n = min(len(self.store), _ROWS, max(1, _SAMPLE // self.n_units))
        rows = np.sort(np.random.default_rng(self._seed).choice(len(self.store), n, replace=False))
        return np.sort(self.store.read(self.hook, rows).numpy(), 0).T

    def quantile(self, q: float) -> Float[np.ndarray, " unit"]:
        """A quantile of each unit's values; of a long recording, at 16,384 rows drawn at random."""
        return self._sample[:, int(q * (self._sample.shape[1] - 1))].astype(np.float64)

    def blocks(
        self, bounds: Bounds, columns: Int[np.ndarray, " chosen"]
    ) -> Iterator[tuple[int, Bool[np.ndarray, "row chosen"]]]:
        """Which columns are on, whole sequences at a time, with the first row's number."""
        for first, last in _cuts(self.seq, max(1, _BLOCK // max(self.n_units, len(columns)))):
            yield first, bounds.on(self.store.read(self.hook, np.arange(first, last)).numpy(), columns)

    def at(
        self, bounds: Bounds, rows: Int[np.ndarray, " chosen"], columns: Int[np.ndarray, " asked"]
    ) -> Bool[np.ndarray, "chosen asked"]:
        """Which columns are on at some rows."""
        return bounds.on(self.store.read(self.hook, rows).numpy(), columns)

    def density(self, bounds: Bounds) -> Float[np.ndarray, " column"]:
        """The share of rows at which each column is on."""
        total = sum(lit.sum(0) for _, lit in self.blocks(bounds, np.arange(len(bounds))))
        return np.asarray(total) / max(1, len(self.seq))

    def held(
        self, bounds: Bounds, row: Int[np.ndarray, " span"], length: Int[np.ndarray, " span"]
    ) -> Int[np.ndarray, " span"]:
        """How many of all columns are on throughout each of some spans, none of which overlap."""
        found = np.zeros(len(row), np.int64)
        for first, lit in self.blocks(bounds, np.arange(len(bounds))):
            mine = (row >= first) & (row < first + len(lit))
            so_far = np.concatenate([np.zeros((1, lit.shape[1]), np.int32), lit.cumsum(0, dtype=np.int32)])
            start = row[mine] - first
            grown = so_far[start + length[mine]] - so_far[start]
            found[mine] = (grown == length[mine][:, None]).sum(1)
        return found


class IndexedCodes:
    """The features of an index: its codes lie feature by feature, and only those that are asked for are read."""

    def __init__(self, index: FeatureIndex) -> None:
        self.index = index
        self.seq, self.pos, self.doc = (index.rows[name] for name in ("seq", "pos", "doc"))
        self.doc_names = index.documents["name"].to_numpy()

    @property
    def n_units(self) -> int:
        """How many features there are."""
        return self.index.n_features

    def check(self, bounds: Bounds) -> None:
        """`ValueError` where a feature would be on that does not fire."""
        if (bounds.sign < 0).any() or (bounds.bound < 0).any():
            raise ValueError("a feature is 0 nearly everywhere: it is on above a threshold, which is 0 or more.")

    def quantile(self, q: float) -> Float[np.ndarray, " unit"]:
        """A quantile of each feature's values over all rows; 0 of those that fire less often."""
        found, at = np.zeros(self.n_units), int(q * (len(self.seq) - 1))
        for feature in range(self.n_units):
            values = np.sort(self.index.values(feature)[1])
            from_first = at - (len(self.seq) - len(values))
            found[feature] = values[from_first] if from_first >= 0 else 0.0
        return found

    def blocks(
        self, bounds: Bounds, columns: Int[np.ndarray, " chosen"]
    ) -> Iterator[tuple[int, Bool[np.ndarray, "row chosen"]]]:
        """Which columns are on, whole sequences at a time, with the first row's number."""
        rows = [self._on(bounds, column) for column in columns.tolist()]
        for first, last in _cuts(self.seq, max(1, _BLOCK // max(1, len(columns)))):
            lit = np.zeros((last - first, len(columns)), bool)
            for i, on in enumerate(rows):
                lit[on[np.searchsorted(on, first) : np.searchsorted(on, last)] - first, i] = True
            yield first, lit

    def at(
        self, bounds: Bounds, rows: Int[np.ndarray, " chosen"], columns: Int[np.ndarray, " asked"]
    ) -> Bool[np.ndarray, "chosen asked"]:
        """Which columns are on at some rows."""
        return np.stack([np.isin(rows, self._on(bounds, column)) for column in columns.tolist()], 1)

    def density(self, bounds: Bounds) -> Float[np.ndarray, " column"]:
        """The share of rows at which each column is on."""
        return np.array([len(self._on(bounds, i)) for i in range(len(bounds))]) / max(1, len(self.seq))

    def held(
        self, bounds: Bounds, row: Int[np.ndarray, " span"], length: Int[np.ndarray, " span"]
    ) -> Int[np.ndarray, " span"]:
        """How many of all columns are on throughout each of some spans, none of which overlap."""
        span = np.full(len(self.seq), -1)
        for i, (start, n) in enumerate(zip(row, length, strict=True)):
            span[start : start + n] = i
        found = np.zeros(len(row), np.int64)
        for column in range(len(bounds)):
            inside = span[self._on(bounds, column)]
            found += np.bincount(inside[inside >= 0], minlength=len(row)) == length
        return found

    def _on(self, bounds: Bounds, column: int) -> Int[np.ndarray, " on"]:
        rows, values = self.index.values(int(bounds.unit[column]))
        return rows[values > np.float32(bounds.bound[column])]


def _cuts(seq: Int[np.ndarray, " row"], most: int) -> Iterator[tuple[int, int]]:
    """Blocks of at most so many rows, or of one sequence if that is longer."""
    ends = np.concatenate([np.flatnonzero(np.diff(seq)) + 1, [len(seq)]])
    first = 0
    while first < len(seq):
        at = np.searchsorted(ends, first + most, side="right") - 1
        last = int(ends[at]) if at >= 0 and ends[at] > first else int(ends[np.searchsorted(ends, first, side="right")])
        yield first, last
        first = last
