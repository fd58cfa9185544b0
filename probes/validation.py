"""Which rows are held out, and what labels may hide."""

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

HELD_OUT_SHARE = 0.25


def split_by_group(
    groups: Shaped[np.ndarray, " n"], *, held_out_share: float = HELD_OUT_SHARE, seed: int = 0
) -> tuple[Int[np.ndarray, " fit"], Int[np.ndarray, " held_out"]]:
    """Row numbers to fit on and to hold out; no group (a document, a session) has rows in both.

    Of the groups the given share, rounded, but at least two (an interval needs them), is held out, and at least one is
    not. `ValueError` for
    fewer than two groups, or a share that is not between 0 and 1.
    """
    if not 0 < held_out_share < 1:
        raise ValueError(f"held_out_share is {held_out_share}: it must be above 0 and below 1.")
    known = np.unique(groups)
    if len(known) < 2:
        raise ValueError("rows are held out by group (a document, say), which needs at least two groups.")
    size = min(max(2, round(held_out_share * len(known))), len(known) - 1)
    chosen = np.random.default_rng(seed).choice(known, size, replace=False)
    held_out = np.isin(groups, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def follows_from_group(y: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> bool:
    """Whether a label is the same on all rows of each group: then rows of a group say nothing beyond one of them."""
    order = np.argsort(groups, kind="stable")
    groups, y = groups[order], y[order]
    same_group = groups[1:] == groups[:-1]
    return bool((y[1:] == y[:-1])[same_group].all()) and bool(same_group.any())


def majority(y: Shaped[np.ndarray, " n"]) -> Any:
    """The most frequent label; of equally frequent ones the first in order."""
    values, counts = np.unique(y, return_counts=True)
    return values[counts.argmax()]
