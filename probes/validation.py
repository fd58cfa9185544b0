"""Which rows are held out, and what labels may hide."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from probes.series import stretches

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


def blocked_splits(
    n: int,
    n_blocks: int = 5,
    *,
    gap: int = 0,
    groups: Shaped[np.ndarray, " n"] | None = None,
    by_group: bool = False,
) -> Iterator[tuple[Int[np.ndarray, " fit"], Int[np.ndarray, " held_out"]]]:
    """Row numbers to fit on and to hold out, of rows in the order of time: each block of time is held out once.

    Neighbouring bins are alike, so that bins held out at random are hardly held out. What is left of a group around a
    held-out block does not follow one another in time: `stretch_numbers` tells the parts apart for a decoder.

    Args:
        n: rows.
        n_blocks: how many times rows are held out.
        gap: rows on both sides of a held-out block, within its group, that are in neither part.
        groups: of each row; each group's rows stand together.
        by_group: whether groups are held out whole. There is then no gap: one group says nothing about the time
            before or after another.

    Raises:
        ValueError: fewer than two blocks, more blocks than rows or groups, groups that come back, a gap that leaves
            nothing to fit on.
    """
    edges = np.array([0, *(part.stop for part in stretches(groups, n))])
    pieces = len(edges) - 1 if by_group else n
    if int(n_blocks) != n_blocks or not 2 <= n_blocks <= pieces:
        kind = "groups" if by_group else "rows"
        raise ValueError(f"n_blocks is {n_blocks}: it must lie between 2 and the {pieces} {kind}, a whole number.")
    if int(gap) != gap or gap < 0:
        raise ValueError(f"gap is {gap}: it is a whole number of rows, not below zero.")
    cuts = np.linspace(0, n, n_blocks + 1).round().astype(int)
    if by_group:  # the groups' edges nearest to even cuts, at least one group between two
        chosen = np.abs(edges[:, None] - cuts).argmin(0)
        for i in range(1, n_blocks):
            chosen[i] = np.clip(chosen[i], chosen[i - 1] + 1, pieces - (n_blocks - i))
        cuts = edges[chosen]
    row = np.arange(n)
    start_of, stop_of = (edges[np.searchsorted(edges, row, "right") - 1 + after] for after in (0, 1))
    for start, stop in pairwise(cuts):
        # Only rows of the group that a block begins or ends in are its neighbours.
        low = max(start - gap, start_of[start])
        high = min(stop + gap, stop_of[stop - 1])
        fit = np.r_[0:low, high:n]
        if not len(fit):
            raise ValueError(f"a gap of {gap} rows leaves nothing of {n} rows to fit on: give a smaller one.")
        yield fit, row[start:stop]


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
