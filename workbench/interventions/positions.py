"""Which positions of which sequences an edit is for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.dataset import Dataset
from workbench.activations.recorder import axis_of

Positions = int | Sequence[int] | Int[Tensor, " some"] | Bool[Tensor, "*seq_and_pos"] | np.ndarray


class Place(NamedTuple):
    """Where some rows stand, in the order of sequences and positions."""

    seq: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    """Counted from the sequence's first position, whatever part of it a hook sees."""


def editable(
    model: Any, dataset: Dataset, hook_name: str, at: Positions | None = None, *, bos: bool = False
) -> Bool[Tensor, "seq hook_pos"]:
    """The positions of a hook that may be edited, or those chosen of them: BOS and padding are not among them.

    Args:
        model: the subject.
        dataset: what it is run on.
        hook_name: whose positions: the target's, the source's, or one a sequence.
        at: the positions that are chosen, one or several by number, or a mask [pos] or [batch, pos]; all where None.
        bos: whether BOS may be edited too.

    Raises:
        ValueError: no hook has that name, a position is not there, or there is nothing to edit at those chosen.
    """
    (hook,) = model.match_hooks(hook_name)
    seen = dataset.on_axis(axis_of(model, hook))
    able = seen.mask if bos else seen.counted
    if at is None:
        return able
    chosen = able & mask_of(at, able)
    if not chosen.any():
        hint = "" if bos or not (seen.mask & mask_of(at, able)).any() else " (bos=True edits BOS too)"
        raise ValueError(f"there is nothing but BOS and padding at the positions that were chosen{hint}.")
    return chosen


def mask_of(at: Positions, where: Bool[Tensor, "seq pos"]) -> Bool[Tensor, "*seq_and_pos"]:
    """One position, or some, as a mask that fits `where`. `ValueError` where they are not there."""
    at = _read(at)
    if at.dtype != torch.bool:
        if strange := [number for number in at.tolist() if not 0 <= number < where.shape[1]]:
            raise ValueError(f"there is no position {strange[0]}: they are numbered 0 to {where.shape[1] - 1}.")
        return torch.isin(torch.arange(where.shape[1]), at)
    if tuple(at.shape) not in (tuple(where.shape), tuple(where.shape[1:])):
        raise ValueError(
            f"a mask of shape {tuple(at.shape)} does not fit {where.shape[0]} sequences of {where.shape[1]} positions."
        )
    return at


def are_chosen(at: Positions, place: Place) -> Bool[Tensor, " n"]:
    """Which of some rows are at those positions; none that came after the positions a mask tells of."""
    mask = _read(at).to(place.pos.device)
    if mask.dtype != torch.bool:
        return torch.isin(place.pos, mask)
    known = place.pos < mask.shape[-1]
    pos = place.pos.clamp(max=mask.shape[-1] - 1)
    return known & (mask[pos] if mask.ndim == 1 else mask[place.seq, pos])


def _read(at: Positions) -> Int[Tensor, " some"] | Bool[Tensor, "*seq_and_pos"]:
    """Numbers of positions, or a mask. `ValueError` where it is neither, or nothing is chosen."""
    wanted = f"positions are {at!r}: give whole numbers, or a mask of True and False."
    try:
        read = torch.as_tensor(list(at) if isinstance(at, range) else at).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(wanted) from None
    if read.ndim and not read.numel():
        raise ValueError("no position was chosen: choose at least one, or leave positions out for all.")
    if read.dtype == torch.bool and read.ndim:
        return read
    if read.is_floating_point() or read.is_complex() or read.dtype == torch.bool or read.ndim > 1:
        raise ValueError(wanted)
    return read.reshape(-1)
