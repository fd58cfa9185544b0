"""Dictionaries that learn nothing sparse: what a trained one must be held against.

Each is an ordinary TopK SAE with the same k, so that every metric, the feature index and the naming run on it
as they are. Over an orthonormal basis the k largest projections, signs taken apart, are the best k-sparse
reconstruction that the basis allows (Parseval): no control is weakened by how it chooses its latents.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.architectures import TopK
from workbench.sae.config import SAEConfig

# Added to a dictionary's seed for its random control.
SEED_APART = 1_000_003


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of rows, in float64.

    Attributes:
        mean: E x.
        covariance: E (x − E x)(x − E x)ᵀ, divided by n.
        n: rows seen.
    """

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    n: int

    @classmethod
    def of(cls, batches: Iterable[Float[Tensor, "_ d"]], max_rows: int | None = None) -> "Moments":
        """The moments of all rows, or of the first `max_rows`. Raises `ValueError` where there are none.

        Batches are centred on the first one's mean before they are summed, so that a mean far from zero costs
        no digits; products are taken in float32 batch by batch and added in float64.
        """
        n, sums = 0, None
        for batch in batches:
            rows = batch if max_rows is None else batch[: max_rows - n]
            d = rows.shape[1]
            if sums is None:
                origin = rows.mean(0)
                sums = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
            centred = rows - origin
            n += len(rows)
            sums[0].add_(centred.double().sum(0).cpu())
            sums[1].add_((centred.T @ centred).cpu())
            if n == max_rows:
                break
        if sums is None:
            raise ValueError("there are no rows to take a mean and a covariance of.")
        total, products = sums
        shift = total / n
        return cls(origin.double().cpu() + shift, products / n - torch.outer(shift, shift), n)


def pca_dictionary(cfg: SAEConfig, moments: Moments) -> TopK:
    """The principal directions, each with its opposite: 2·d_in latents, of which the k largest are kept.

    The dictionary has its own size, whatever `cfg.d_sae` is; k and the hook are those of `cfg`.
    """
    _, vectors = torch.linalg.eigh(moments.covariance)
    return _signed_basis(cfg, vectors.flip(1).T, moments.mean)


def neuron_dictionary(cfg: SAEConfig, moments: Moments) -> TopK:
    """The neurons themselves: the k that are furthest from their means, up or down, are kept as they are."""
    return _signed_basis(cfg, torch.eye(cfg.d_in, dtype=torch.float64), moments.mean)


def random_dictionary(cfg: SAEConfig, moments: Moments, batches: Iterable[Float[Tensor, "_ d"]]) -> TopK:
    """`cfg.d_sae` random unit directions with the encoder their transpose, from a seed that follows from `cfg.seed`.

    It is not `cfg.seed` itself: the directions from which a dictionary of that seed set out are no control for it.

    Neighbouring directions overlap, so the k largest projections add up to too much or too little: one factor
    for all, `E[(x − μ)·(x̂ − μ)] / E‖x̂ − μ‖²`, is fitted on the batches by least squares.
    """
    sae = TopK(replace(cfg, architecture="topk", seed=cfg.seed + SEED_APART)).requires_grad_(False).eval()
    sae.b_dec.copy_(moments.mean)
    product = square = 0.0
    for batch in batches:
        added = (sae(batch) - sae.b_dec).double()
        product += torch.linalg.vecdot((batch - sae.b_dec).double(), added).sum().item()
        square += added.square().sum().item()
    if square == 0:
        raise ValueError("there are no rows on which a random dictionary fires: its scale cannot be fitted.")
    sae.W_enc.mul_(product / square)
    return sae


def _signed_basis(cfg: SAEConfig, basis: Float[Tensor, "d d"], mean: Float[Tensor, " d"]) -> TopK:
    rows = torch.cat([basis, -basis])
    cfg = replace(cfg, architecture="topk", d_sae=len(rows))
    weights = {"W_enc": rows.T, "b_enc": torch.zeros(len(rows)), "W_dec": rows, "b_dec": mean}
    return TopK.from_weights(cfg, weights).requires_grad_(False).eval()
