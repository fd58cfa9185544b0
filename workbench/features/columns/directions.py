"""Directions that fire where a row lies unusually far along them: units are those of the axes."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.features.columns.thresholds import thresholds_of
from workbench.sae import SAE, SAEConfig
from workbench.sae.architectures import JumpReLU
from workbench.sae.controls import SEED_APART, Moments

PCA, RANDOM = "PCA", "random"
# So many directions at a time are looked at on all sampled rows.
BLOCK = 256


@torch.no_grad()
def far_along(
    directions: Float[Tensor, "m d"], rows: Float[Tensor, "n d"], shares: Float[Tensor, " m"], hook: str
) -> JumpReLU:
    """A dictionary that reads how far a row lies along each direction, in deviations from the mean.

    Column j is `z = (x − μ) · w_j / σ_j` where z is above its threshold, which a share `shares[j]` of the rows exceeds,
    but never less than 0; it writes `σ_j w_j`. A direction along which rows do not differ never fires.

    Args:
        directions: of unit length.
        rows: on which means, deviations and thresholds are fitted.
        shares: of the rows on which each direction fires.
        hook: that the rows are of.
    """
    mean = rows.double().mean(0).float()
    deviation, threshold = [], []
    for block, share in zip(directions.split(BLOCK), shares.split(BLOCK), strict=True):
        along = (rows - mean) @ block.T
        sigma = along.double().square().mean(0).sqrt().float()
        deviation.append(sigma)
        threshold.append(thresholds_of(along * _inverse(sigma), share))
    return of_parts(hook, directions, mean, torch.cat(deviation), torch.cat(threshold))


def of_parts(
    hook: str,
    directions: Float[Tensor, "m d"],
    mean: Float[Tensor, " d"],
    deviation: Float[Tensor, " m"],
    threshold: Float[Tensor, " m"],
) -> JumpReLU:
    """The dictionary of what was fitted."""
    m, d = directions.shape
    weights = {
        "W_enc": (directions * _inverse(deviation)[:, None]).T.contiguous(),
        "b_enc": torch.zeros(m),
        "W_dec": directions * deviation[:, None],
        "b_dec": mean,
        "threshold": threshold,
    }
    return JumpReLU.from_weights(jumprelu_config(hook, d, m), weights).requires_grad_(False).eval()


def jumprelu_config(hook: str, d: int, n_columns: int) -> SAEConfig:
    """The config of a dictionary of a hook whose columns have each a threshold of their own."""
    return SAEConfig(d_in=d, d_sae=n_columns, architecture="jumprelu", hook_name=hook)


@torch.no_grad()
def controls_of(rows: Float[Tensor, "n d"], shares: Float[Tensor, " m"], hook: str, seed: int) -> dict[str, SAE]:
    """What columns of a hook are held against: directions of the same rows, chosen without looking at the columns.

    As many random directions as there are columns, each firing as often as its column; and the principal directions,
    either sign, each firing as often as the columns do on average.
    """
    m, d = len(shares), rows.shape[1]
    generator = torch.Generator().manual_seed(seed + SEED_APART)
    drawn = torch.randn(m, d, generator=generator)
    _, vectors = torch.linalg.eigh(Moments.of([rows]).covariance)
    principal = vectors.flip(1).T.float()
    both = torch.cat([principal, -principal])
    return {
        PCA: far_along(both, rows, shares.mean().expand(len(both)), hook),
        RANDOM: far_along(drawn / drawn.norm(dim=1, keepdim=True), rows, shares, hook),
    }


def _inverse(deviation: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """One over each deviation; zero where there is none."""
    return torch.where(deviation > 0, 1 / deviation, 0.0)
