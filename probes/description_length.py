"""Description length: how many bits labels take when a probe may be used to send them."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from probes.base import Array, as_numpy, taken
from probes.together import fit_labels

# The parts of the rows that are known before each block is sent.
FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
MAX_ROWS = 20_000


class DescriptionLength(NamedTuple):
    """Of one target, or of several."""

    bits: Float[np.ndarray, " t"]
    """The online code's length."""
    uniform_bits: Float[np.ndarray, " t"]
    """N log₂ K: without any model."""
    n_rows: int
    """N: how many rows were sent."""

    @property
    def compression(self) -> Float[np.ndarray, " t"]:
        """How many times as long it is without the probe."""
        return self.uniform_bits / self.bits


def description_length(
    probe: Any, X: Array, y: Any, *, groups: Any = None, max_rows: int = MAX_ROWS, seed: int = 0
) -> DescriptionLength:
    """The online (prequential) code of labels, given rows.

    The first block is sent by a uniform code, each next one by a probe that was fitted to all before it:
    `L = t₁ log₂ K + Σᵢ −log₂ p(yᵢ | earlier)`. (Voita and Titov, "Information-theoretic probing with minimum
    description length", 2020, arXiv:2003.12298.) It tells a label that is easy to read from one that
    takes many examples, where accuracies are equal.

    Args:
        probe: a classifier with `predict_proba`; it is cloned for every block.
        X: rows [n, d], in any order.
        y: labels [n], or [n, t]; the probe's one fit serves all that it can solve together.
        groups: the document (session, subject) of each row [n], sent whole: a probe that had seen half of one would
            tell the other half by the document. Every row its own where None.
        max_rows: of more rows so many are sent.
        seed: of their order.
    """
    labels = as_numpy(y)
    columns = labels.reshape(len(labels), -1)
    of = np.arange(len(columns)) if groups is None else np.unique(as_numpy(groups), return_inverse=True)[1]
    order = np.argsort(np.random.default_rng(seed).permutation(of.max() + 1)[of], kind="stable")[:max_rows]
    classes = [np.unique(column) for column in columns.T]
    codes = np.stack([np.searchsorted(c, column) for c, column in zip(classes, columns[order].T, strict=True)], 1)
    n, n_classes = len(order), np.array([len(known) for known in classes])
    whole = np.append(np.flatnonzero(np.diff(of[order])) + 1, n)  # where a document ends
    ends = np.unique([whole[np.searchsorted(whole, max(1, round(share * n)))] for share in FRACTIONS])
    bits = ends[0] * np.log2(n_classes)
    for start, stop in pairwise(ends):
        bits = bits + _sent(probe, X, order, codes, n_classes, int(start), int(stop))
    return DescriptionLength(bits, n * np.log2(n_classes), n)


def _sent(
    probe: Any,
    X: Array,
    order: Int[np.ndarray, " n"],
    codes: Int[np.ndarray, "n t"],
    n_classes: Int[np.ndarray, " t"],
    start: int,
    stop: int,
) -> Float[np.ndarray, " t"]:
    """The bits of one block, sent by what was learned from all rows before it."""
    before, block = codes[:start], codes[start:stop]
    counts = [np.bincount(column, minlength=k) for column, k in zip(before.T, n_classes, strict=True)]
    bits = np.zeros(codes.shape[1])
    told = {}
    for target, of_classes in enumerate(counts):
        if (of_classes > 0).sum() > 1:
            told[target] = before[:, target]
        else:  # nothing to fit to: frequencies, one more counted for each class
            bits[target] = -np.log2((of_classes[block[:, target]] + 1) / (start + n_classes[target])).sum()
    if not told:
        return bits
    fitted = fit_labels(probe, taken(X, order[:start]), told)
    for target, p in fitted.probabilities(taken(X, order[start:stop])).items():
        # A class that no row had yet is as likely as frequencies have it, and the others share the rest.
        unseen = counts[target] == 0
        every = np.full((len(block), len(unseen)), 1 / (start + len(unseen)))
        every[:, ~unseen] = p * (1 - unseen.sum() / (start + len(unseen)))
        bits[target] = -_log2(every[np.arange(len(block)), block[:, target]]).sum()
    return bits


def _log2(p: Shaped[np.ndarray, "*any"]) -> Shaped[np.ndarray, "*any"]:
    """Of probabilities, none below what single precision tells from zero: a sure and wrong probe costs 24 bits."""
    return np.log2(np.clip(p.astype(np.float64), 2.0**-24, 1.0))
