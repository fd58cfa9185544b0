"""How much each attention head of a hook writes, as columns that fire where it writes most."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models.hub import HubModel
from workbench.activations import ActivationStore
from workbench.features.columns.base import HEADS, Columns, training_rows
from workbench.features.columns.directions import controls_of, jumprelu_config
from workbench.features.columns.head_norms import HeadNorms, factors_of, lengths
from workbench.features.columns.thresholds import thresholds_of

# A head fires on this share of the training rows: as often as a unit does on both its sides.
SHARE = 0.05
HOOK = "hook_z"


@torch.no_grad()
def head_columns(store: ActivationStore, hook: str, model: Any, *, share: float = SHARE, seed: int = 0) -> Columns:
    """A column a head: the length of what it writes to the stream, `‖z W_O‖`, where that is unusually much.

    Args:
        store: a recording of the hook.
        hook: of what heads hand on, `….hook_z`.
        model: the subject, for W_O.
        share: of the training rows on which a head fires.
        seed: of the random directions beside them.

    Raises:
        ValueError: the hook is not of heads that have a W_O, it was not recorded, the recording has no training
            documents, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a head cannot fire on {share:g} of the rows: choose a share between 0 and 1.")
    factor = factors_of(_written_by(model, hook))
    rows = training_rows(store, hook)
    n_heads, d_in = len(factor), rows.shape[1]
    shares = torch.full((n_heads,), share)
    threshold = thresholds_of(lengths(rows, factor), shares)
    return Columns(
        kind=HEADS,
        dictionary=HeadNorms(jumprelu_config(hook, d_in, n_heads), factor, threshold),
        titles=[f"head {head}" for head in range(n_heads)],
        about=(
            f"A head fires on the {share:.1%} of the training rows where the vector that it writes is longest; values "
            "are that length."
        ),
        controls=controls_of(rows, shares, hook, seed),
        tensors={"factor": factor, "threshold": threshold},
        settings={"share": share},
    )


def heads_again(hook: str, factor: Float[Tensor, "head d_head r"], threshold: Float[Tensor, " head"]) -> HeadNorms:
    """The columns of heads whose factors and thresholds are known."""
    n_heads, d_head, _ = factor.shape
    return HeadNorms(jumprelu_config(hook, n_heads * d_head, n_heads), factor, threshold)


def _written_by(model: Any, hook: str) -> Float[Tensor, "head d_head d_model"]:
    """W_O of the attention that a hook is of."""
    where, _, name = hook.rpartition(".")
    W_O = None
    if name == HOOK and hook in model.hook_dict:
        attention = model.folded().blocks[int(where.split(".")[1])].attn if isinstance(model, HubModel) else None
        W_O = getattr(attention or model.mod_dict[where], "W_O", None)
    if W_O is None:
        known = [name for name in model.hook_dict if name.endswith("." + HOOK)]
        there = f"heads write at {', '.join(known)}" if known else "this model has none"
        raise ValueError(f"{hook} is not of attention heads that write through a W_O: {there}.")
    return W_O.detach().float().cpu()
