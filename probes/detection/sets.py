"""How columns detect sets of values of a categorical variable, such as sets of tokens.

For one detector the best set is a prefix of the values sorted by precision: with F1 = 2 Σ n_v / (fired + Σ N_v), sums
over the set's values, n_v of whose N_v rows fire, F1 exceeds λ exactly if Σ (2 n_v − λ N_v) exceeds λ · fired; and
that sum is largest when it takes the values with n_v / N_v > λ / 2 and no others. Setting λ to the F1 of the set so
found and repeating reaches the optimum in a few steps (Dinkelbach, Management Science 13(7), 1967).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from probes.detection.columns import Ladder
from probes.detection.scores import f1_from_counts, has_lift

# Counts are made for as many columns at once as fill this many cells, so that they stay in the cache.
CELLS = 1 << 20
TOLERANCE = 1e-6


@dataclass(frozen=True)
class SetChoice:
    """For each column the best set of values, at its best level.

    Attributes:
        members: the values of each column's set, those it hits most often first.
        threshold: the level's threshold.
        f1: on the rows where it was chosen.
    """

    members: list[Int[np.ndarray, " _"]]
    threshold: Float[np.ndarray, " columns"]
    f1: Float[np.ndarray, " columns"]


def best_sets(ladder: Ladder, values: Int[np.ndarray, " rows"], n_values: int) -> SetChoice:
    """For each column the set of values, and the level, of the highest F1. A value of −1 belongs to no set.

    A column whose best sets have no lift gets an empty one, and an F1 of 0.
    """
    totals = np.bincount(values[values >= 0], minlength=n_values)
    members: list[np.ndarray] = []
    thresholds, scores = [], []
    for columns, counts in _count_values(ladder, values, n_values):
        fired = ladder.fired[columns]
        n_columns, n_levels = fired.shape
        detector, value = np.divmod(np.flatnonzero(counts), n_values)
        hits = counts.reshape(-1, n_values)[detector, value]
        f1 = _dinkelbach(detector, hits, totals[value], fired.ravel(), ladder.n_rows)
        level = f1.reshape(n_columns, n_levels).argmax(1)
        chosen = np.arange(n_columns) * n_levels + level
        ends = np.searchsorted(detector, [chosen, chosen + 1])
        for bar, start, stop in zip(f1[chosen], *ends, strict=True):
            here = slice(start, stop)
            inside = (2 * hits[here] > (bar - TOLERANCE) * totals[value[here]]) & (bar > 0)
            order = np.argsort(-hits[here][inside], kind="stable")
            members.append(value[here][inside][order])
        thresholds.append(ladder.thresholds[columns][np.arange(n_columns), level])
        scores.append(f1[chosen])
    return SetChoice(members, np.concatenate(thresholds), np.concatenate(scores))


def best_column_for_sets(
    ladder: Ladder, values: Int[np.ndarray, " rows"], n_values: int, sets: list[np.ndarray]
) -> tuple[Int[np.ndarray, " sets"], Float[np.ndarray, " sets"], Float[np.ndarray, " sets"]]:
    """For each set of values the column of the highest F1: columns, thresholds and F1."""
    inside = np.zeros((n_values, len(sets)), np.float32)
    for i, members in enumerate(sets):
        inside[members, i] = 1
    positives = np.bincount(values[values >= 0], minlength=n_values) @ inside
    best = np.full(len(sets), -1.0, np.float32)
    column, threshold = np.zeros(len(sets), np.int64), np.zeros(len(sets), np.float32)
    for columns, counts in _count_values(ladder, values, n_values):
        fired, thresholds = ladder.fired[columns], ladder.thresholds[columns].ravel()
        tp = counts.reshape(-1, n_values).astype(np.float32) @ inside
        f1 = f1_from_counts(tp, fired.reshape(-1, 1), positives)
        place = f1.argmax(0)
        score = f1[place, np.arange(len(sets))]
        better = score > best
        best[better] = score[better]
        column[better] = columns.start + place[better] // fired.shape[1]
        threshold[better] = thresholds[place[better]]
    return column, threshold, best


def _count_values(
    ladder: Ladder, values: np.ndarray, n_values: int
) -> Iterator[tuple[slice, Int[np.ndarray, "columns levels values"]]]:
    """How often each column fires on each value at each level, some columns at a time."""
    n_columns, n_levels = ladder.fired.shape
    size = max(1, CELLS // (n_levels * n_values))
    ends = np.append(ladder.starts, len(ladder.rows))
    bands = np.append(ladder.bands, len(ladder.rows))
    for start in range(0, n_columns, size):
        columns = slice(start, min(start + size, n_columns))
        n_bands = (columns.stop - columns.start) * n_levels
        lengths = np.diff(bands[columns.start * n_levels : columns.stop * n_levels + 1])
        found = values[ladder.rows[ends[columns.start] : ends[columns.stop]]]
        keys = np.repeat(np.arange(n_bands) * n_values, lengths) + found
        counts = np.bincount(keys[found >= 0], minlength=n_bands * n_values)
        yield columns, counts.reshape(-1, n_levels, n_values).cumsum(axis=1)


def _dinkelbach(
    detector: Int[np.ndarray, " cells"],
    hits: Int[np.ndarray, " cells"],
    totals: Int[np.ndarray, " cells"],
    fired: Int[np.ndarray, " detectors"],
    n_rows: int,
) -> Float[np.ndarray, " detectors"]:
    """The highest F1 of any set of values, for each detector, from its cells (detector, value); 0 without lift."""
    n = len(fired)
    f1 = np.zeros(n)
    while True:
        inside = 2 * hits > f1[detector] * totals
        tp = np.bincount(detector, weights=hits * inside, minlength=n)
        held = np.bincount(detector, weights=totals * inside, minlength=n)
        better = 2 * tp / np.maximum(1, fired + held)
        if (better <= f1 + TOLERANCE).all():
            return np.where(has_lift(tp, fired, held, n_rows), np.maximum(f1, better), 0)
        f1 = np.maximum(f1, better)
