"""The units of a hook as a dictionary: neurons, hidden units, gates, spiking cells, whatever a row has numbers of."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.activations import ActivationStore
from workbench.features.columns.base import UNITS, Columns, training_rows
from workbench.features.columns.directions import controls_of, far_along, of_parts
from workbench.sae.architectures import JumpReLU

# A unit fires, high or low, where it is among this share of the rows that are furthest from its mean on that side.
SHARE = 0.025


def unit_columns(store: ActivationStore, hook: str, *, share: float = SHARE, seed: int = 0) -> Columns:
    """Two columns a unit: how far it is above its mean, and how far below, where it is unusually far.

    Of d units column u is unit u high, and column d + u the same unit low. A value is in the unit's own standard
    deviations from its mean; thresholds, means and deviations are of training rows.

    Args:
        store: a recording of the hook, step hooks and encoders' hooks included.
        hook: which.
        share: of the rows on which a unit fires, on either side.
        seed: of the random directions beside them.

    Raises:
        ValueError: the hook was not recorded, the recording has no training documents, or the share is not between 0
            and one half.
    """
    if not 0 < share < 0.5:
        raise ValueError(
            f"a unit cannot fire on {share:g} of the rows on either side: choose a share between 0 and 0.5."
        )
    rows = training_rows(store, hook)
    d = rows.shape[1]
    shares = torch.full((2 * d,), share)
    dictionary = far_along(_axes(d), rows, shares, hook)
    words = [str(u) if len(store.shape(hook)) == 1 else _place(u, store.shape(hook)) for u in range(d)]
    return Columns(
        kind=UNITS,
        dictionary=dictionary,
        titles=[*(f"unit {word} high" for word in words), *(f"unit {word} low" for word in words)],
        about=(
            f"A unit fires high on the {share:.1%} of the training rows where it is furthest above its mean, and low "
            "where it is furthest below (rows of one and the same value together); values are in its own standard "
            "deviations."
        ),
        # A saturated unit fires more often than its share: what it is held against does so too.
        controls=controls_of(rows, dictionary.encode_sparse(rows).fire_counts(2 * d) / len(rows), hook, seed),
        tensors={
            "mean": dictionary.b_dec.detach(),
            "deviation": dictionary.W_dec.detach()[:d].diagonal().contiguous(),
            "threshold": dictionary.threshold.detach(),
        },
        settings={"share": share},
    )


def units_again(
    hook: str, mean: Float[Tensor, " d"], deviation: Float[Tensor, " d"], threshold: Float[Tensor, " columns"]
) -> JumpReLU:
    """The dictionary of units whose means, deviations and thresholds are known."""
    return of_parts(hook, _axes(len(mean)), mean, deviation.repeat(2), threshold)


def _axes(d: int) -> Float[Tensor, "columns d"]:
    return torch.cat([torch.eye(d), -torch.eye(d)])


def _place(unit: int, shape: tuple[int, ...]) -> str:
    """The place of a unit in a row of several axes, such as head and number in it."""
    return ".".join(str(int(i)) for i in np.unravel_index(unit, shape))
