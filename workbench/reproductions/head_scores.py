"""What an attention head does, as numbers: where it looks, what it copies, and which head it reads."""

import einops
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.transformer import Transformer

Pattern = Float[Tensor, "batch head query key"]


def attention_to(pattern: Pattern, keys: Bool[Tensor, "batch query key"]) -> Float[Tensor, " head"]:
    """The mean attention to the marked keys together, over the queries that have any.

    Raises:
        ValueError: no query has one.
    """
    has = keys.any(-1)
    if not has.any():
        raise ValueError("no query has a position that it should look at.")
    given = einops.einsum(pattern, keys.to(pattern.dtype), "batch head query key, batch query key -> batch query head")
    return given[has].mean(0)


def previous_token_scores(pattern: Pattern) -> Float[Tensor, " head"]:
    """The mean attention to the token before, over all positions but the first."""
    batch, _, length, _ = pattern.shape
    before = torch.ones(length, length, dtype=torch.bool, device=pattern.device).tril(-1).triu(-1)
    return attention_to(pattern, before.expand(batch, -1, -1))


def prefix_matching_scores(pattern: Pattern, tokens: Int[Tensor, "batch query"]) -> Float[Tensor, " head"]:
    """The mean attention to the tokens that came after earlier occurrences of the current one (Olsson et al. 2022).

    Over the positions whose token has come before.
    """
    return attention_to(pattern, after_earlier_occurrences(tokens))


def after_earlier_occurrences(tokens: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Where the token before the key is the query's own, and earlier than it."""
    same = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    return torch.nn.functional.pad(same[:, :, :-1], (1, 0))


@torch.no_grad()
def copying_scores(model: Transformer) -> Float[Tensor, "layer head"]:
    """Σ Re λ / Σ |λ| over the eigenvalues of each head's W_E W_V W_O W_U: 1 where every token raises its own logit.

    Elhage et al. 2021. The eigenvalues that are not zero are those of W_O W_U W_E W_V, a small matrix. Where there are
    norms, give `model.folded()`, which has their gains in the weights.
    """
    through = model.W_U.double() @ model.W_E.double()
    small = model.W_O.double() @ through @ model.W_V.double()
    eigenvalues = torch.linalg.eigvals(small)
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)


@torch.no_grad()
def k_composition(model: Transformer, from_layer: int, to_layer: int) -> Float[Tensor, "from_head to_head"]:
    """How much each head's keys read what an earlier head writes: ‖W_OV W_QKᵀ‖ / (‖W_OV‖ ‖W_QK‖), Frobenius norms.

    Elhage et al. 2021. It means nothing but beside `random_composition`. Where there are norms, give
    `model.folded()`.
    """
    W_OV = (model.W_V[from_layer] @ model.W_O[from_layer]).double()
    W_KQ = (model.W_K[to_layer] @ model.W_Q[to_layer].mT).double()
    return composition(W_OV[:, None], W_KQ[None])


def composition(writes: Float[Tensor, "*#lead d d"], reads: Float[Tensor, "*#lead d d"]) -> Float[Tensor, "*lead"]:
    """‖LR‖ / (‖L‖ ‖R‖), Frobenius norms: between 0, nothing read, and 1."""
    norm = torch.linalg.matrix_norm
    return norm(writes @ reads) / (norm(writes) * norm(reads))


def random_composition(d_model: int, d_head: int, n: int = 1000, seed: int = 0) -> Float[Tensor, " n"]:
    """`composition` of pairs of random matrices of a head's shape and rank: products of Gaussian factors."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        a, b = (torch.randn(d_model, d_head, generator=generator, dtype=torch.float64) for _ in range(2))
        return a @ b.T

    return torch.stack([composition(draw(), draw()) for _ in range(n)])
