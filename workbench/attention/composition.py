"""Composition: how much of what an earlier head writes a later one reads, as query, key or value."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix

from models.checked_input import whole_number
from workbench.attention.weights import Heads, HeadWeights, percentile_of, random_weights, weights_of, with_percentiles

KINDS = ("Q", "K", "V")


def composition(writes: FactoredMatrix, reads: FactoredMatrix) -> Float[Tensor, "*lead"]:
    """‖LR‖ / (‖L‖ ‖R‖), Frobenius norms, of factored matrices: between 0, nothing read, and 1.

    Elhage et al. 2021. Every product of it is as thin as the factors: ‖A M B‖² = tr(AᵀA M BBᵀ Mᵀ).
    """
    middle = writes.B.double() @ reads.A.double()
    return _norm(writes.A, middle, reads.B) / (_norm(writes.A, None, writes.B) * _norm(reads.A, None, reads.B))


@torch.no_grad()
def composition_scores(
    model: Heads,
    kinds: Sequence[str] = KINDS,
    *,
    untrained: Heads | None = None,
    n_random: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Q-, K- and V-composition of every head with every head of later layers.

    ‖W_OV R‖ / (‖W_OV‖ ‖R‖), R being W_QK, W_QKᵀ or the later W_OV, of the folded model (Elhage et al. 2021). Only what
    is written to the stream and read off it is seen: not what MLPs between make of it, nor what norms divide by.

    A score means nothing but beside others. Random matrices compose by 1/√d_model on the root of the mean square,
    whatever their spectra; heads that share a subspace with many, as all trained ones do, compose more than that. So
    the untrained subject, and the other pairs of the same kind in the table, are to be looked at as well.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one.
        kinds: which of `Q`, `K`, `V`.
        untrained: the same before training; each pair's score before stands beside.
        n_random: pairs of random matrices, products of Gaussian factors of a head's shape.
        seed: of their draw.

    Returns:
        `kind, from_layer, from_head, to_layer, to_head, value, random_mean, random_high` (99th percentile),
        `percentile` (of 100); with an untrained subject also `untrained` (the same pair), `untrained_percentile` (of
        this value among all its pairs of the kind).

    Raises:
        ValueError: a kind is unknown, the subject's heads are not known, it has one layer, or the untrained one is of
            another shape.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"kinds are {', '.join(map(repr, kinds)) or 'none'}: there are 'Q', 'K' and 'V'.")
    whole_number(n_random, "n_random", least=1)
    weights = weights_of(model)
    if weights.n_layers < 2:
        raise ValueError("this subject has one layer: no head comes after another.")
    if untrained is not None:
        before = weights_of(untrained)
        if before.W_Q.shape != weights.W_Q.shape:
            raise ValueError("the untrained subject has other layers or heads: give the same one before training.")
    drawn = random_composition(weights.d_model, weights.d_head, n_random, seed, weights.centred)
    table = with_percentiles(_scores(weights, kinds), drawn)
    if untrained is None:
        return table
    was = _scores(before, kinds)
    table["untrained"] = was["value"]
    by_kind = {kind: torch.tensor(was.loc[was["kind"] == kind, "value"].to_numpy()) for kind in kinds}
    table["untrained_percentile"] = [
        percentile_of(value, by_kind[kind]) for value, kind in zip(table["value"], table["kind"], strict=True)
    ]
    return table


def random_composition(
    d_model: int, d_head: int, n: int = 1000, seed: int = 0, centred: bool = False
) -> Float[Tensor, " n"]:
    """`composition` of pairs of random matrices of a head's shape and rank: products of Gaussian factors.

    Args:
        d_model, d_head: the matrices are `[d_model, d_model]`, of rank `d_head`.
        n: how many pairs.
        seed: of their draw.
        centred: the matrices have no mean over `d_model`, as LayerNorm makes it of heads.

    Raises:
        ValueError: n is not at least 1.
    """
    whole_number(n, "n", least=1)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for start in range(0, n, 100):
        a, b, c, d = (random_weights(d_model, d_head, min(100, n - start), generator, centred) for _ in range(4))
        found.append(composition(FactoredMatrix(a, b.mT), FactoredMatrix(c, d.mT)))
    return torch.cat(found)


def _scores(weights: HeadWeights, kinds: Sequence[str]) -> pd.DataFrame:
    writes = FactoredMatrix(weights.W_V, weights.W_O)
    readers = {
        "Q": FactoredMatrix(weights.W_Q, weights.W_K.mT),
        "K": FactoredMatrix(weights.W_K, weights.W_Q.mT),
        "V": writes,
    }
    parts = []
    heads = torch.arange(weights.n_heads)
    for kind in kinds:
        for later in range(1, weights.n_layers):
            reads = readers[kind][later]
            for earlier in range(later):
                value = composition(writes[earlier].unsqueeze(1), reads.unsqueeze(0))
                parts.append(
                    pd.DataFrame(
                        {
                            "kind": kind,
                            "from_layer": earlier,
                            "from_head": heads.repeat_interleave(weights.n_heads).numpy(),
                            "to_layer": later,
                            "to_head": heads.repeat(weights.n_heads).numpy(),
                            "value": value.flatten().numpy(),
                        }
                    )
                )
    places = ["kind", "from_layer", "from_head", "to_layer", "to_head"]
    order = {kind: number for number, kind in enumerate(kinds)}
    return (
        pd.concat(parts)
        .sort_values(places, key=lambda c: c.map(order) if c.name == "kind" else c)
        .reset_index(drop=True)
    )


def _norm(A: Tensor, middle: Tensor | None, B: Tensor) -> Float[Tensor, "*lead"]:
    A, B = A.double(), B.double()
    left, right = A.mT @ A, B @ B.mT
    if middle is not None:
        right = middle @ right @ middle.mT
    return (left * right).sum((-2, -1)).clamp(min=0).sqrt()
