"""The directions of fitted probes as a dictionary: each fires where its probe says yes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.activations import ActivationStore
from workbench.features.columns.base import PROBES, Columns, training_rows
from workbench.features.columns.directions import controls_of, jumprelu_config
from workbench.sae.architectures import JumpReLU


@dataclass(frozen=True)
class ProbeDirection:
    """What a linear probe reads, `x · read + intercept`, and what a unit of it adds to a row.

    Attributes:
        name: what it tells: a label, or `LABEL=CLASS`.
        read: its coefficients.
        intercept: its decision is yes where the read-out is above 0.
        write: along which rows are moved.
    """

    name: str
    read: Float[Tensor, " d"]
    intercept: float
    write: Float[Tensor, " d"]


@torch.no_grad()
def probe_columns(store: ActivationStore, hook: str, directions: Sequence[ProbeDirection], *, seed: int = 0) -> Columns:
    """A column a probe: its read-out where that is above 0, which is where the probe says yes.

    Args:
        store: a recording of the hook.
        hook: that the probes read.
        directions: theirs.
        seed: of the random directions beside them.

    Raises:
        ValueError: there are none, they do not fit the hook, it was not recorded, or the recording has no training
            documents.
    """
    if not directions:
        raise ValueError(f"there are no probe directions at {hook}: an index needs one at least.")
    rows = training_rows(store, hook)
    if wrong := next((one for one in directions if len(one.read) != rows.shape[1]), None):
        raise ValueError(
            f"the probe of {wrong.name} reads rows of {len(wrong.read)} numbers, {hook} has {rows.shape[1]}."
        )
    tensors = {
        "read": torch.stack([one.read.float() for one in directions]),
        "intercept": torch.tensor([one.intercept for one in directions]).float(),
        "write": torch.stack([one.write.float() for one in directions]),
    }
    dictionary = probes_again(hook, **tensors)
    shares = (dictionary.pre_activations(rows) > 0).float().mean(0)
    return Columns(
        kind=PROBES,
        dictionary=dictionary,
        titles=[one.name for one in directions],
        about="A probe fires where its read-out is above 0, which is where it says yes; values are the read-out.",
        controls=controls_of(rows, shares, hook, seed),
        tensors=tensors,
    )


def probes_again(
    hook: str, read: Float[Tensor, "m d"], intercept: Float[Tensor, " m"], write: Float[Tensor, "m d"]
) -> JumpReLU:
    """The dictionary of probes whose directions are known."""
    m, d = read.shape
    weights = {
        "W_enc": read.T.contiguous(),
        "b_enc": intercept,
        "W_dec": write,
        "b_dec": torch.zeros(d),
        "threshold": torch.zeros(m),
    }
    return JumpReLU.from_weights(jumprelu_config(hook, d, m), weights).requires_grad_(False).eval()
