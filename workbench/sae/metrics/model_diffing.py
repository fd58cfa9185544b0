"""Whose a crosscoder's latents are: of the one subject, of the other, or of both."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE


def relative_norm(sae: SAE, scale: Float[Tensor, " 2"]) -> Float[np.ndarray, " latent"]:
    """‖d_after‖ / (‖d_before‖ + ‖d_after‖) of each latent's decoder rows, each in units of its own subject's rows.

    1 for a latent of the second subject alone, 0 for one of the first alone (Lindsey et al., "Sparse crosscoders for
    cross-layer features and model diffing", 2024).

    Args:
        sae: a crosscoder of two subjects.
        scale: how long the rows of each are: the mean distance from their centre.

    Raises:
        ValueError: it does not read two layers.
    """
    if sae.cfg.n_layers != 2:
        raise ValueError("whose a latent is can be asked of a crosscoder of two subjects: this SAE does not read two.")
    norms = sae.W_dec.detach().unflatten(1, (2, sae.cfg.d_in)).norm(dim=2) / scale
    return (norms[:, 1] / norms.sum(1)).numpy()
