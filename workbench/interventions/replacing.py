"""`replacing`: a hook that puts other rows where some stand, at any subject's positions or steps."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.step_hooks import HookFunction, pos_dim_of, positions_seen
from workbench.interventions.positions import Place

Replacement = Callable[[Float[Tensor, "n d"], Place], Float[Tensor, "n d"]]


def replacing(
    where: Bool[Tensor, "seq pos"], replace: Replacement, new: Bool[Tensor, "seq pos"] | None = None
) -> HookFunction:
    """A hook that replaces the rows at some positions, heads flattened; every other value stays as it is.

    In a recurrence the rows of a step are replaced in that step, and later ones go on from what was put there. As the
    subject is run, `ValueError` where a row of numbers becomes NaN or infinite, or there are other sequences.

    Args:
        where: the positions.
        replace: of the rows that stand there, in the order of sequences and positions, gives others.
        new: where a sequence has ended, and a subject that goes on from it (`generate`) puts what it says: rows are
            replaced there too as it does, and at all positions after these. None leaves what it says alone.
    """

    def edit(value: Tensor, hook: Any) -> Tensor | None:
        axis, seen = pos_dim_of(hook), positions_seen(value, hook)
        if len(value) != len(where):
            raise ValueError(f"the edit was made for {len(where)} sequences, but the model is run on {len(value)}.")
        beyond = max(0, seen.stop - where.shape[1])
        said = new if "offset" in hook.ctx else None
        chosen = where if said is None else where | said
        here = torch.nn.functional.pad(chosen, (0, beyond), value=said is not None)[:, seen]
        seq, pos = here.to(value.device).nonzero(as_tuple=True)
        if not len(seq):
            return None
        rows = value.movedim(axis, 1)[seq, pos]
        put = replace(rows.flatten(1), Place(seq, pos + seen.start)).to(value.dtype).view_as(rows)
        if (rows.isfinite().flatten(1).all(1) & ~put.isfinite().flatten(1).all(1)).any():
            raise ValueError(f"an edit made NaN or infinite values at {hook.name}: give a smaller one.")
        edited = value.clone()
        edited.movedim(axis, 1)[seq, pos] = put  # a view: what is written there is written to the copy
        return edited

    return edit
