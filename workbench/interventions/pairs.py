"""Clean and corrupt sequences, aligned position by position."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from models.dataset import Dataset
from models.evaluation import Batch, accepted

Given = Dataset | Tensor


def as_dataset(given: Given) -> Dataset:
    """Sequences, or tokens (vectors) of which all are real.

    Raises:
        ValueError: it is neither, or there are no sequences.
    """
    if not isinstance(given, Dataset | Tensor):
        raise ValueError(f"sequences are a Dataset, or a tensor [seq, pos] of tokens, not a {type(given).__name__}.")
    if isinstance(given, Tensor) and given.ndim != 2 + given.is_floating_point():
        raise ValueError(f"sequences are tokens [seq, pos] or vectors [seq, pos, d], not {list(given.shape)}.")
    if not len(given):
        raise ValueError("there are no sequences: give at least one.")
    return given if isinstance(given, Dataset) else Dataset(tokens=given)


def aligned(clean: Given, corrupt: Given) -> tuple[Dataset, Dataset]:
    """Both as datasets, as wide as their longest sequence where one has more padding than the other.

    Raises:
        ValueError: they are not of the same number and length, or a position is real in one alone.
    """
    pair = as_dataset(clean), as_dataset(corrupt)
    n, m = (len(data) for data in pair)
    if n != m:
        raise ValueError(f"there are {n} clean sequences and {m} corrupt ones: each needs its own.")
    pair = _as_wide(*pair)
    for name in ("mask", "source_mask"):
        ours, theirs = (getattr(data, name) for data in pair)
        if (ours is None) != (theirs is None):
            raise ValueError(f"the {'clean' if theirs is None else 'corrupt'} sequences alone have a source.")
        if ours is None:
            continue
        if ours.shape != theirs.shape or not ours.equal(theirs):
            lengths = " and ".join(str(sorted(set(mask.sum(1).tolist()))) for mask in (ours, theirs))
            raise ValueError(
                f"clean and corrupt sequences have {lengths} positions, not the same in each pair: patching puts one's "
                "values at the other's positions. Choose prompts of the same number of tokens."
            )
    return pair


def _as_wide(*pair: Dataset) -> tuple[Dataset, Dataset]:
    """Without the padding that all sequences have, where the two are not padded alike."""
    for mask, others in (("mask", ("tokens", "targets")), ("source_mask", ("source",))):
        masks = [found for data in pair if (found := getattr(data, mask)) is not None]
        if len({found.shape[1] for found in masks}) > 1:
            pair = tuple(_trimmed(data, mask, others) for data in pair)
    first, second = pair
    return first, second


def _trimmed(data: Dataset, mask: str, others: tuple[str, ...]) -> Dataset:
    if (real := getattr(data, mask)) is None:
        return data
    kept = {name: value for name in (mask, *others) if (value := getattr(data, name)) is not None}
    longest = int(real.sum(1).max())
    return replace(data, **{name: value[:, :longest] for name, value in kept.items()})


def batch_of(data: Dataset, seq: Tensor) -> Batch:
    """Some sequences as a subject and a metric are given them, with their numbers as `seq`."""
    return data.batch(seq) | {"seq": seq}


def run(model: Any, batch: Batch) -> Tensor:
    """A subject's output on a batch."""
    output: Tensor = model(**accepted(model, batch))
    return output
