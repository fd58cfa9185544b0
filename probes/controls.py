"""Labels and predictors that a probe is held against."""

import numpy as np
from jaxtyping import Int, Shaped


def control_task(
    types: Shaped[np.ndarray, " n"], y: Shaped[np.ndarray, " row *target"], *, seed: int = 0
) -> Shaped[np.ndarray, " row *target"]:
    """Labels that say nothing but which type (which word) a row is of.

    Each type gets one label, drawn as often as the label stands among the rows; a probe that learns them has memorised
    the types. (Hewitt and Liang, "Designing and interpreting probes with control tasks", 2019, arXiv:1909.03368.)

    Args:
        types: of each row.
        y: the labels whose frequencies are kept, of one target or of several.
        seed: of the draws; targets are drawn apart.
    """
    known, of = np.unique(types, return_inverse=True)
    rng = np.random.default_rng(seed)
    columns = y.reshape(len(y), -1)
    drawn = np.stack([column[rng.integers(len(column), size=len(known))] for column in columns.T], axis=1)
    return drawn[of].reshape(y.shape)


def shuffled(y: Shaped[np.ndarray, " row *target"], *, seed: int = 0) -> Shaped[np.ndarray, " row *target"]:
    """The labels dealt out to other rows, all targets of a row together."""
    return y[np.random.default_rng(seed).permutation(len(y))]


def identity_predictions(
    fit_types: Shaped[np.ndarray, " fit"],
    fit_y: Shaped[np.ndarray, " fit"],
    types: Shaped[np.ndarray, " n"],
) -> Shaped[np.ndarray, " n"]:
    """Each type's most frequent label among the fitting rows; the most frequent of all for types that are not there.

    What knowing the word alone gives: a probe that does no better has found the word.
    """
    classes, codes = np.unique(fit_y, return_inverse=True)
    known, of = np.unique(fit_types, return_inverse=True)
    counts = _counts(of, codes, len(known), len(classes))
    best, overall = counts.argmax(1), int(np.bincount(codes).argmax())
    place = np.searchsorted(known, types).clip(max=len(known) - 1)
    return classes[np.where(known[place] == types, best[place], overall)]


def _counts(
    of: Int[np.ndarray, " n"], codes: Int[np.ndarray, " n"], n_types: int, n_classes: int
) -> Int[np.ndarray, "types classes"]:
    flat = np.bincount(of * n_classes + codes, minlength=n_types * n_classes)
    return flat.reshape(n_types, n_classes)
