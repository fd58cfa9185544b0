"""Dictionaries that learn nothing sparse: what a trained one must be held against.

Each is an ordinary TopK SAE with the same k, so that every metric, the feature index and the naming run on it
as they are. Over an orthonormal basis the k largest projections, signs taken apart, are the best k-sparse
reconstruction that the basis allows (Parseval): no control is weakened by how it chooses its latents.

A transcoder's controls are these same dictionaries of what the best linear map, by least squares, makes of the rows
that are read; and that map by itself, without any sparsity. PCA is then reduced-rank regression: the principal
directions of the linear prediction. A crosscoder's are those of its layers side by side.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.architectures import TopK
from workbench.sae.base import SAE
from workbench.sae.config import SAEConfig
from workbench.sae.stream import pairs_of

# Added to a dictionary's seed for its random control.
SEED_APART = 1_000_003
# Directions in which rows vary less than this share of the most are rounding: the linear map leaves them out.
LEAST_VARIANCE = 1e-6


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
        no digits; products are taken in float32 at least, batch by batch, and added in float64.
        """
        n, sums = 0, None
        for batch in batches:
            rows = batch if max_rows is None else batch[: max_rows - n]
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
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


def control_config(cfg: SAEConfig, k: int) -> SAEConfig:
    """The config of a TopK dictionary of the same hooks and kind that has k active latents, at least one."""
    k = max(1, min(k, cfg.d_sae))
    return replace(cfg, architecture="topk", k=k, skip=False, matryoshka_widths=())


@torch.no_grad()
def mean_l0(sae: SAE, batches: Iterable[Any]) -> float:
    """How many latents are active in a row, over batches such as the dictionary is trained on."""
    active = n = 0
    for x, _ in pairs_of(sae.cfg, batches):
        active += int(sae.encode_rows(x.to(sae.W_enc.dtype)).l0().sum())
        n += len(x)
    if n == 0:
        raise ValueError("there are no rows to count active latents on.")
    return active / n


def moment_rows(cfg: SAEConfig, batches: Iterable[Any]) -> Iterable[Float[Tensor, "_ d"]]:
    """The rows whose moments the controls of this dictionary need: a transcoder's read and written, side by side."""
    return (x if y is x else torch.cat([x, y], 1) for x, y in pairs_of(cfg, batches))


def pca_dictionary(cfg: SAEConfig, moments: Moments) -> TopK:
    """The principal directions, each with its opposite, of which the k largest are kept.

    The dictionary has its own size, two latents a dimension, whatever `cfg.d_sae` is; k and the hooks are those of
    `cfg`. `moments` are those of `moment_rows`.
    """
    path = _Path.of(cfg, moments)
    _, vectors = torch.linalg.eigh(path.covariance)
    n = min(cfg.width_in, cfg.width_out)  # what is predicted from fewer dimensions has no more
    return _signed_basis(cfg, path, vectors.flip(1).T[:n])


def neuron_dictionary(cfg: SAEConfig, moments: Moments) -> TopK:
    """The neurons themselves: the k that are furthest from their means, up or down, are kept as they are.

    Of a transcoder, those that it writes, as the linear map predicts them.
    """
    return _signed_basis(cfg, _Path.of(cfg, moments), torch.eye(cfg.width_out, dtype=torch.float64))


def random_dictionary(cfg: SAEConfig, moments: Moments, batches: Iterable[Any]) -> TopK:
    """`cfg.d_sae` random unit directions with the encoder their transpose, from a seed that follows from `cfg.seed`.

    It is not `cfg.seed` itself: the directions from which a dictionary of that seed set out are no control for it.

    Neighbouring directions overlap, so the k largest projections add up to too much or too little: one factor
    for all, `E[(y − μ)·(ŷ − μ)] / E‖ŷ − μ‖²`, is fitted on the batches by least squares.
    """
    cfg = control_config(cfg, cfg.k or 1)
    path = _Path.of(cfg, moments)
    sae = TopK(replace(cfg, seed=cfg.seed + SEED_APART)).requires_grad_(False).eval()
    sae.load_state_dict(path.weights(sae.W_dec.double()))
    product = square = 0.0
    for x, y in pairs_of(cfg, batches):
        added = (sae.decode_rows(sae.encode_rows(x.to(sae.W_enc.dtype))) - sae.b_dec).double()
        product += torch.linalg.vecdot((y - sae.b_dec).double(), added).sum().item()
        square += added.square().sum().item()
    if square == 0:
        raise ValueError("there are no rows on which a random dictionary fires: its scale cannot be fitted.")
    sae.scale_latents(torch.full_like(sae.b_enc, product / square))
    return sae


def linear_dictionary(cfg: SAEConfig, moments: Moments) -> TopK:
    """A transcoder's best linear map [d_out, d_in], by least squares: what is explained before any latent is active.

    Its one latent never fires.
    """
    path = _Path.of(cfg, moments)
    if path.map is None:
        raise ValueError("a linear map is what a transcoder is held against: an SAE's is the identity.")
    cfg = replace(control_config(cfg, 1), d_sae=1, k=1, skip=True)
    weights = path.weights(torch.zeros(1, cfg.width_out, dtype=torch.float64))
    rest = path.mean_out - path.mean_in @ path.map
    return TopK.from_weights(cfg, weights | {"b_dec": rest, "W_skip": path.map.T}).requires_grad_(False).eval()


@dataclass(frozen=True)
class _Path:
    """How what is written is foretold linearly from what is read: for all but a transcoder they are the same."""

    mean_in: Float[Tensor, " width_in"]
    mean_out: Float[Tensor, " width_out"]
    covariance: Float[Tensor, "width_out width_out"]
    """Of what is foretold."""
    map: Float[Tensor, "width_in width_out"] | None = None
    """None for the identity. A transcoder's encoder reads rows from which no mean is taken: its bias does that."""

    @classmethod
    def of(cls, cfg: SAEConfig, moments: Moments) -> "_Path":
        d = cfg.width_in
        mean, covariance = moments.mean, moments.covariance
        if cfg.kind != "transcoder":
            return cls(mean, mean, covariance)
        read, both = covariance[:d, :d], covariance[:d, d:]
        best = torch.linalg.pinv(read, rtol=LEAST_VARIANCE, hermitian=True) @ both
        return cls(mean[:d], mean[d:], best.T @ read @ best, best)

    def weights(self, directions: Float[Tensor, "latent width_out"]) -> dict[str, Tensor]:
        """A dictionary whose latents are the projections of what is foretold, about its mean, on unit directions."""
        W_enc = directions.T if self.map is None else self.map @ directions.T
        b_enc = W_enc.new_zeros(len(directions)) if self.map is None else -(self.mean_in @ W_enc)
        return {"W_enc": W_enc, "b_enc": b_enc, "W_dec": directions, "b_dec": self.mean_out}


def _signed_basis(cfg: SAEConfig, path: _Path, basis: Float[Tensor, "n width_out"]) -> TopK:
    rows = torch.cat([basis, -basis])
    k = None if cfg.k is None else min(cfg.k, len(rows))
    cfg = replace(cfg, architecture="topk", d_sae=len(rows), k=k, skip=False, matryoshka_widths=())
    return TopK.from_weights(cfg, path.weights(rows)).requires_grad_(False).eval()
