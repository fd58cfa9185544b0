"""`detect`: which column of anybody's activations detects which label, chosen on some rows and scored on others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from jaxtyping import Int, Shaped, UInt8

from probes.detection.columns import Columns, DenseColumns, SparseColumns
from probes.detection.labels import LABEL_BLOCK, Choice, PairChoice, best_pairs, count_labels, count_together
from probes.detection.scores import Confusion, confusion

PAIR_MARGIN = 0.02


@dataclass(frozen=True)
class Detection:
    """What `detect` found; every score but `f1_fit` is of the held-out rows.

    Attributes:
        by_column: for each column (with its better sign, if it is dense) its best label: column, sign, label,
            threshold, precision, recall, f1, lift, base_rate, f1_fit. The label is None where none is at least
            twice as frequent on the rows where the column fires as on all.
        by_label: for each label its best column, in the same columns.
    """

    by_column: pd.DataFrame
    by_label: pd.DataFrame


@dataclass(frozen=True)
class HeldOut:
    """Labels of the rows on which detectors are scored, and the group (document) of each row."""

    labels: UInt8[np.ndarray, "rows labels"]
    groups: Int[np.ndarray, " rows"]
    group_rows: Int[np.ndarray, " groups"]
    positives: Int[np.ndarray, "groups labels"]

    @classmethod
    def of(cls, labels: UInt8[np.ndarray, "rows labels"], groups: Int[np.ndarray, " rows"]) -> "HeldOut":
        """Count each label in each group; groups are numbered from 0."""
        group_rows = np.bincount(groups)
        return cls(labels, groups, group_rows, _count_in_groups(labels, groups, len(group_rows)))

    def extended(self, labels: UInt8[np.ndarray, "rows more"]) -> "HeldOut":
        """The same rows with more labels behind those there are."""
        more = _count_in_groups(labels, self.groups, len(self.group_rows))
        return HeldOut(
            np.concatenate([self.labels, labels], axis=1),
            self.groups,
            self.group_rows,
            np.concatenate([self.positives, more], axis=1),
        )

    def score(self, columns: Columns, choice: Choice) -> list[Confusion]:
        """How the chosen detectors do here. `columns` are the same columns on these rows."""
        results = []
        for column, threshold, label in zip(choice.column, choice.threshold, choice.label, strict=True):
            fired = columns.firings(int(column), float(threshold))
            hits = self.labels[fired, label]
            results.append(confusion(hits, self.groups[fired], self.positives[:, label], self.group_rows))
        return results


def detect(
    columns: Any,
    labels: Shaped[np.ndarray, "rows labels"],
    *,
    fit: Shaped[np.ndarray, " fit"],
    held_out: Shaped[np.ndarray, " held_out"],
    names: Sequence[str] | None = None,
    pairs: bool = True,
) -> Detection:
    """For each column the label, and for each label the column, that go together best by F1.

    Column, label and threshold are chosen on the rows `fit`; precision, recall, F1 and lift (precision over base
    rate) are those of the rows `held_out`.

    Args:
        columns: a dense array [rows, columns], of which both signs are tried, or a SciPy sparse one, of which the
            positive values are.
        labels: Booleans.
        fit: a mask or row numbers.
        held_out: the same; no row may be in both.
        names: the labels' names; their numbers otherwise.
        pairs: whether a conjunction of two labels may name a column: it must beat every single label by .02.

    Raises:
        ValueError: rows that do not match, or rows that are in both parts.
    """
    fit, held_out = (_row_numbers(rows, len(labels)) for rows in (fit, held_out))
    _check(columns, labels, fit, held_out)
    names = [str(i) for i in range(labels.shape[1])] if names is None else list(names)
    if len(names) != labels.shape[1]:
        raise ValueError(f"names has {len(names)}, and there are {labels.shape[1]} labels: name each of them.")
    truth = np.ascontiguousarray(labels, dtype=np.uint8)
    ours, theirs = _columns(columns, fit), _columns(columns, held_out)
    counts = count_labels(ours, truth[fit])
    choice = counts.best_label()
    extended, extended_names = truth[held_out], names
    if pairs:
        together = count_together(truth[fit])
        found = best_pairs(ours.ladder, truth[fit], counts, together, choice.f1 + np.float32(PAIR_MARGIN))
        choice, used = with_pairs(choice, found, len(names))
        extended = np.concatenate([extended, conjunctions(extended, used)], axis=1)
        extended_names = [*names, *(f"{names[a]} and {names[b]}" for a, b in used)]
    if isinstance(ours, DenseColumns):
        choice = _better_sign(choice, ours.d)
    scorer = HeldOut.of(extended, np.zeros(len(held_out), np.int64))
    by_label = counts.best_column()
    return Detection(
        _report(choice, scorer.score(theirs, choice), extended_names, ours),
        _report(by_label, scorer.score(theirs, by_label), extended_names, ours),
    )


def with_pairs(single: Choice, pair: PairChoice, n_labels: int) -> tuple[Choice, Int[np.ndarray, "pairs 2"]]:
    """Put conjunctions in place of the single labels they beat, numbered after the labels; and which they are."""
    won = pair.f1 > 0
    keys = np.stack([pair.first[won], pair.second[won]], axis=1)
    used, place = np.unique(keys, axis=0, return_inverse=True)
    label, threshold, f1 = single.label.copy(), single.threshold.copy(), single.f1.copy()
    label[won], threshold[won], f1[won] = n_labels + place.ravel(), pair.threshold[won], pair.f1[won]
    return Choice(single.column, label, threshold, f1), used


def conjunctions(
    labels: UInt8[np.ndarray, "rows labels"], pairs: Int[np.ndarray, "pairs 2"]
) -> UInt8[np.ndarray, "rows pairs"]:
    """Where both labels of each pair hold."""
    return np.ascontiguousarray(labels[:, pairs[:, 0]] & labels[:, pairs[:, 1]])


def _count_in_groups(
    labels: UInt8[np.ndarray, "rows labels"], groups: Int[np.ndarray, " rows"], n_groups: int
) -> Int[np.ndarray, "groups labels"]:
    """On how many rows of each group each label holds."""
    counts = np.empty((n_groups, labels.shape[1]), np.int64)
    group = torch.from_numpy(groups.astype(np.int64))
    for start in range(0, labels.shape[1], LABEL_BLOCK):  # all labels as floats at once would fill the memory
        part = torch.from_numpy(labels[:, start : start + LABEL_BLOCK]).float()
        sums = torch.zeros(n_groups, part.shape[1]).index_add_(0, group, part)
        counts[:, start : start + LABEL_BLOCK] = sums.long().numpy()
    return counts


def _better_sign(choice: Choice, d: int) -> Choice:
    """Of the two signs of each dense column, the one with the higher F1 where it was chosen."""
    kept = np.arange(d) + d * (choice.f1[d:] > choice.f1[:d])
    return choice.where(kept)


def _columns(columns: Any, rows: Int[np.ndarray, " rows"]) -> Columns:
    if sp.issparse(columns):
        part = sp.csc_array(columns.tocsr()[rows])
        part.data = np.where(part.data > 0, part.data, 0)
        part.eliminate_zeros()
        part.sort_indices()
        return SparseColumns(part.indptr, part.indices, part.data.astype(np.float32), len(rows))
    return DenseColumns(np.ascontiguousarray(np.asarray(columns)[rows].T, dtype=np.float32))


def _report(choice: Choice, results: Iterable[Confusion], names: Sequence[str], columns: Columns) -> pd.DataFrame:
    d = columns.d if isinstance(columns, DenseColumns) else columns.n_columns
    rows = [(c.precision, c.recall, c.f1, c.lift, c.base_rate) for c in results]
    scores = pd.DataFrame(rows, columns=["precision", "recall", "f1", "lift", "base_rate"])
    chosen = pd.DataFrame(
        {
            "column": choice.column % d,
            "sign": np.where(choice.column < d, 1, -1),
            "label": [names[label] if f1 else None for label, f1 in zip(choice.label, choice.f1, strict=True)],
            "threshold": choice.threshold,
        }
    )
    return pd.concat([chosen, scores], axis=1).assign(f1_fit=choice.f1)


def _row_numbers(rows: np.ndarray, n: int) -> Int[np.ndarray, " chosen"]:
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape != (n,):
        raise ValueError(f"a mask of {rows.shape} rows does not fit labels of {n} rows.")
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)


def _check(columns: Any, labels: np.ndarray, fit: np.ndarray, held_out: np.ndarray) -> None:
    if columns.shape[0] != len(labels):
        raise ValueError(f"there are {columns.shape[0]} rows of activations, but {len(labels)} rows of labels.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be Booleans: one column for each label, True where it holds.")
    if not len(fit) or not len(held_out):
        raise ValueError("both parts need rows: some to choose on and some to score on.")
    if np.intersect1d(fit, held_out).size:
        raise ValueError("some rows are in both parts: the score would be of rows that were chosen on.")
