"""How columns detect labels, and conjunctions of two labels: exact counts for all of them at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from threadpoolctl import threadpool_limits

from probes.detection.columns import WIDE_FRACTIONS, Columns, DenseColumns, Ladder
from probes.detection.scores import f1_from_counts, has_lift

LABEL_BLOCK = 128
# Blocks of rows that stay in the cache.
ROW_BLOCK = 4096
# A detector that fires b times as often as its label holds has F1 of at most 2/(1 + b): below .23 here.
TOO_WIDE = 8


@dataclass(frozen=True)
class LabelCounts:
    """Columns against labels at every level.

    Attributes:
        tp: true positives.
        fired: how often each column fires at each level.
        thresholds: the levels' thresholds.
        positives: how often each label holds.
    """

    tp: Int[np.ndarray, "columns levels labels"]
    fired: Int[np.ndarray, "columns levels"]
    thresholds: Float[np.ndarray, "columns levels"]
    positives: Int[np.ndarray, " labels"]
    n_rows: int

    def f1(self) -> Float[np.ndarray, "columns levels labels"]:
        """F1 of every column at every level for every label."""
        return f1_from_counts(self.tp, self.fired[:, :, None], self.positives)

    def worth(self) -> Float[np.ndarray, "columns levels labels"]:
        """F1 where there is lift, 0 elsewhere."""
        return np.where(has_lift(self.tp, self.fired[:, :, None], self.positives, self.n_rows), self.f1(), 0)

    def best_label(self) -> "Choice":
        """For each column, the label and level of the highest F1 among those with lift."""
        f1 = self.worth().reshape(len(self.tp), -1)
        best = f1.argmax(1)
        level, label = np.divmod(best, self.tp.shape[2])
        column = np.arange(len(self.tp))
        return Choice(column, label, self.thresholds[column, level], f1[column, best])

    def best_column(self) -> "Choice":
        """For each label, the column and level of the highest F1, whatever its lift."""
        return self.best_columns(1)

    def best_columns(self, n: int) -> "Choice":
        """For each label, one after the other, the n columns of the highest F1, each at its best level, best first."""
        f1 = self.f1()
        level = f1.argmax(1)  # columns × labels
        f1 = f1.max(1)
        n = min(n, len(f1))
        column = f1.argmax(0)[None] if n == 1 else np.argsort(-f1, axis=0, kind="stable")[:n]
        label = np.tile(np.arange(f1.shape[1]), (n, 1))
        column, label = column.T.ravel(), label.T.ravel()
        return Choice(column, label, self.thresholds[column, level[column, label]], f1[column, label])


@dataclass(frozen=True)
class Choice:
    """Detectors that were chosen: a column, its threshold, what it is to detect, and F1 where it was chosen."""

    column: Int[np.ndarray, " chosen"]
    label: Int[np.ndarray, " chosen"]
    threshold: Float[np.ndarray, " chosen"]
    f1: Float[np.ndarray, " chosen"]

    def then(self, other: "Choice") -> "Choice":
        """Both one behind the other, the labels of the other numbered on from these."""
        return Choice(
            np.concatenate([self.column, other.column]),
            np.concatenate([self.label, 1 + self.label.max(initial=-1) + other.label]),
            np.concatenate([self.threshold, other.threshold]),
            np.concatenate([self.f1, other.f1]),
        )

    def where(self, kept: Bool[np.ndarray, " chosen"] | Int[np.ndarray, " kept"]) -> "Choice":
        """Some of them: a mask, or their places."""
        return Choice(self.column[kept], self.label[kept], self.threshold[kept], self.f1[kept])

    @property
    def first_of_each(self) -> "Choice":
        """The first that was chosen for each label, by label."""
        return self.where(np.unique(self.label, return_index=True)[1])


@dataclass(frozen=True)
class PairChoice:
    """For each column the conjunction that beats its best single label; `f1` is 0 where there is none."""

    first: Int[np.ndarray, " columns"]
    second: Int[np.ndarray, " columns"]
    threshold: Float[np.ndarray, " columns"]
    f1: Float[np.ndarray, " columns"]


def count_labels(columns: Columns, labels: UInt8[np.ndarray, "rows labels"]) -> LabelCounts:
    """Count every column's true positives for every label at every level of its ladder.

    Dense columns have wide levels beside: there a label is counted only if the column would not fire more than
    `TOO_WIDE` times as often as it holds (0 true positives stand for the rest).
    """
    ladder = columns.ladder
    positives = labels.sum(0, dtype=np.int64)
    tp, fired, thresholds = _count_bands(ladder, labels), ladder.fired, ladder.thresholds
    if isinstance(columns, DenseColumns):
        wide_tp, wide_fired = _count_wide(columns, labels, positives)
        tp, fired = np.concatenate([tp, wide_tp], axis=1), np.concatenate([fired, wide_fired], axis=1)
        thresholds = np.concatenate([thresholds, columns.wide_thresholds], axis=1)
    return LabelCounts(tp, fired, thresholds, positives, columns.n_rows)


def count_together(labels: UInt8[np.ndarray, "rows labels"]) -> Int[np.ndarray, "labels labels"]:
    """How often each two labels hold on the same row."""
    together = torch.zeros(labels.shape[1], labels.shape[1], dtype=torch.int64)
    for start in range(0, len(labels), ROW_BLOCK):
        block = torch.from_numpy(labels[start : start + ROW_BLOCK]).float()
        together += (block.T @ block).long()
    return together.numpy()


def best_pairs(
    ladder: Ladder,
    labels: UInt8[np.ndarray, "rows labels"],
    counts: LabelCounts,
    together: Int[np.ndarray, "labels labels"],
    to_beat: Float[np.ndarray, " columns"],
    max_fraction: float = 1.0,
) -> PairChoice:
    """For each column the conjunction of two labels, at any level, with lift and the highest F1 above `to_beat`.

    Levels at which a column fires on more than `max_fraction` of the rows are left out. The search is exact: no
    conjunction has more true positives than either of its labels, and how often both hold is known, so F1 is bounded
    for all pairs before any is counted; labels in no pair that could beat the bar are left out of the product.
    """

    def search(column: int) -> tuple[int, int, float, float]:
        fired = ladder.fired[column]
        fired = fired[fired <= max_fraction * ladder.n_rows]
        able = _able(counts.tp[column, : len(fired)], fired, together, float(to_beat[column]))
        if len(able) < 2:
            return 0, 0, 0.0, 0.0
        rows = ladder.rows[ladder.starts[column] : ladder.starts[column] + fired[-1]]
        hit = labels[rows].take(able, axis=1).astype(np.float32)
        tp = np.cumsum([hit[a:b].T @ hit[a:b] for a, b in pairwise([0, *fired])], axis=0)
        positives, fired = _square(together, able), fired[:, None, None]
        f1 = np.where(has_lift(tp, fired, positives, ladder.n_rows), 2 * tp / np.maximum(1, fired + positives), 0)
        f1[:, np.arange(len(able)), np.arange(len(able))] = 0
        level, first, second = np.unravel_index(f1.argmax(), f1.shape)
        best = float(f1[level, first, second])
        if best <= to_beat[column]:
            return 0, 0, 0.0, 0.0
        return *sorted(able[[first, second]].tolist()), float(ladder.thresholds[column, level]), best

    # Thousands of small products: threads over columns, one thread a product.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(search, range(len(ladder.fired))))
    first, second, threshold, best = np.array(found, dtype=np.float64).reshape(-1, 4).T
    return PairChoice(
        first.astype(np.int64), second.astype(np.int64), threshold.astype(np.float32), best.astype(np.float32)
    )


def _able(
    tp: Int[np.ndarray, "levels labels"],
    fired: Int[np.ndarray, " levels"],
    together: Int[np.ndarray, "labels labels"],
    bar: float,
) -> Int[np.ndarray, " able"]:
    """The labels that are in some pair whose F1 could exceed the bar at some level."""
    # A pair holds at least as often as it is hit: F1 ≤ 2 TP / (fired + TP), so TP > fired · bar / (2 − bar).
    able = np.flatnonzero((tp > fired[:, None] * bar / (2 - bar)).any(0))
    if len(able) < 2:
        return able
    hits, positives = tp[:, able], _square(together, able)
    bound = 2 * np.minimum(hits[:, :, None], hits[:, None, :]) / np.maximum(1, fired[:, None, None] + positives)
    bound[:, np.arange(len(able)), np.arange(len(able))] = 0
    return able[(bound > bar).any(axis=(0, 1))]


def _square(matrix: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return matrix[chosen[:, None], chosen]


def _count_bands(ladder: Ladder, labels: np.ndarray) -> Int[np.ndarray, "columns levels labels"]:
    """True positives at the ladder's levels: labels summed over each band of rows, then over the levels."""
    rows, bands = torch.from_numpy(ladder.rows), torch.from_numpy(ladder.bands.astype(np.int32))
    counts = np.zeros((*ladder.fired.shape, labels.shape[1]), np.int32)
    for start in range(0, labels.shape[1] if len(rows) else 0, LABEL_BLOCK):
        block = torch.from_numpy(labels[:, start : start + LABEL_BLOCK]).float().contiguous()
        sums = F.embedding_bag(rows, block, bands, mode="sum")
        counts[:, :, start : start + LABEL_BLOCK] = sums.view(*ladder.fired.shape, -1).numpy()
    return counts.cumsum(axis=1, dtype=np.int32)


def _count_wide(
    columns: DenseColumns, labels: np.ndarray, positives: np.ndarray
) -> tuple[Int[np.ndarray, "columns wide labels"], Int[np.ndarray, "columns wide"]]:
    """True positives and firings at the wide levels, by matrix products over blocks of rows."""
    d, thresholds = columns.d, columns.wide_thresholds
    frequent = [np.flatnonzero(positives * TOO_WIDE >= fraction * columns.n_rows) for fraction in WIDE_FRACTIONS]
    tp = np.zeros((*thresholds.shape, labels.shape[1]), np.int32)
    fired = np.zeros(thresholds.shape, np.int64)

    def count(start: int) -> list[Float[np.ndarray, "columns frequent"]]:
        """At each level the hits of the frequent labels, and in the last column all firings."""
        rows = slice(start, start + ROW_BLOCK)
        x = columns.matrix[:, rows].astype(np.float32, copy=False)
        found = []
        for level, able in enumerate(frequent):
            block = np.column_stack([labels[rows][:, able], np.ones(x.shape[1], np.uint8)]).astype(np.float32)
            above = (x >= thresholds[:d, level, None]).astype(np.float32)
            below = (x <= -thresholds[d:, level, None]).astype(np.float32)
            found.append(np.concatenate([above @ block, below @ block]))
        return found

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(count, range(0, columns.n_rows, ROW_BLOCK) if any(map(len, frequent)) else ()):
            for level, counts in enumerate(found):
                tp[:, level, frequent[level]] += counts[:, :-1].astype(np.int32)
                fired[:, level] += counts[:, -1].astype(np.int64)
    return tp, fired
