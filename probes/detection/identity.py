"""How well a categorical variable alone tells labels: the part that a detector of labels need not know anything for."""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from probes.detection.labels import LABEL_BLOCK
from probes.detection.scores import f1_from_counts


def f1_of_values(
    fit_values: Int[np.ndarray, " fit"],
    fit_labels: UInt8[np.ndarray, "fit labels"],
    held_out_values: Int[np.ndarray, " held_out"],
    held_out_labels: UInt8[np.ndarray, "held_out labels"],
    n_values: int,
) -> Float[np.ndarray, " labels"]:
    """F1 on held-out rows of the best set of values for each label, such as the tokens that stand for a keyword.

    The set is chosen on the fitting rows. Sorted by the share of a value's rows where the label holds, the best set is
    a prefix (see `probes.detection.sets`), so that all prefixes are tried.
    """
    tp, rows = _count(fit_values, fit_labels, n_values)
    order = np.argsort(-tp / np.maximum(1, rows)[:, None], axis=0, kind="stable")
    hits = np.take_along_axis(tp, order, axis=0).cumsum(axis=0)
    size = rows[order].cumsum(axis=0)
    best = f1_from_counts(hits, size, tp.sum(0)).argmax(0)
    inside = np.empty(tp.shape, bool)
    np.put_along_axis(inside, order, np.arange(n_values)[:, None] <= best, axis=0)

    tp, rows = _count(held_out_values, held_out_labels, n_values)
    return f1_from_counts((tp * inside).sum(0), rows @ inside, tp.sum(0))


def _count(
    values: Int[np.ndarray, " rows"], labels: UInt8[np.ndarray, "rows labels"], n_values: int
) -> tuple[Int[np.ndarray, "values labels"], Int[np.ndarray, " values"]]:
    """How often each label holds on each value, and how often each value stands at all."""
    index = torch.from_numpy(values.astype(np.int64))
    counts = np.empty((n_values, labels.shape[1]), np.int64)
    for start in range(0, labels.shape[1], LABEL_BLOCK):
        part = torch.from_numpy(labels[:, start : start + LABEL_BLOCK]).float()
        sums = torch.zeros(n_values, part.shape[1]).index_add_(0, index, part)
        counts[:, start : start + LABEL_BLOCK] = sums.long().numpy()
    return counts, np.bincount(values, minlength=n_values)
