"""Clean and corrupt sequences, aligned position by position."""

from typing import Any

from torch import Tensor

from models.dataset import Dataset
from models.evaluation import Batch, accepted

Given = Dataset | Tensor


def as_dataset(given: Given) -> Dataset:
    """Sequences, or tokens (vectors) of which all are real."""
    return given if isinstance(given, Dataset) else Dataset(tokens=given)


def aligned(clean: Given, corrupt: Given) -> tuple[Dataset, Dataset]:
    """Both as datasets.

    Raises:
        ValueError: they are not of the same number and length, or a position is real in one alone.
    """
    pair = as_dataset(clean), as_dataset(corrupt)
    (n, *_), (m, *_) = (data.tokens.shape for data in pair)
    if n != m:
        raise ValueError(f"there are {n} clean sequences and {m} corrupt ones: each needs its own.")
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


def batch_of(data: Dataset, seq: Tensor) -> Batch:
    """Some sequences as a subject and a metric are given them, with their numbers as `seq`."""
    return data.batch(seq) | {"seq": seq}


def run(model: Any, batch: Batch) -> Tensor:
    """A subject's output on a batch."""
    output: Tensor = model(**accepted(model, batch))
    return output
