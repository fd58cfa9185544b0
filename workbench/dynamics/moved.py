"""The control of a label that changes slowly: the labels of other documents, in their order."""

import numpy as np
from jaxtyping import Shaped


def moved_labels(
    label: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], rng: np.random.Generator
) -> Shaped[np.ndarray, " n"]:
    """Each group's rows with the labels of another group, read on from a place drawn at random, round its end.

    What holds for long within a document does so then too, but tells nothing of the rows. Of a single group the labels
    are moved along, round its end, by a quarter of it at least.

    Raises:
        ValueError: there is one row alone.
    """
    if len(label) == 1:
        raise ValueError("there is one row alone: no other label can be put in its place.")
    known, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(of, kind="stable")
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(label)) - np.repeat(starts, sizes)
    turn = rng.permutation(len(known))
    other = np.empty(len(known), np.int64)
    other[turn] = np.roll(turn, 1)
    if len(known) == 1:
        quarter = -(-len(label) // 4)
        by = rng.integers(quarter, len(label) - quarter + 1, 1)
    else:
        by = rng.integers(0, sizes[other])
    taken = np.repeat(starts[other], sizes) + (place + np.repeat(by, sizes)) % np.repeat(sizes[other], sizes)
    found = np.empty_like(label)
    found[order] = label[order][taken]
    return found
