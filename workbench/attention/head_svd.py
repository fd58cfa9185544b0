"""A head's singular directions, each end read in the vocabulary."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix

from models.checked_input import whole_number
from workbench.attention.head_circuits import ov_circuit, qk_circuit
from workbench.attention.token_pairs import QKOrOV
from workbench.attention.weights import Heads, HeadWeights, random_weights, weights_of
from workbench.features.vocabulary import token_strings

N_DIRECTIONS = 200  # random ones


@torch.no_grad()
def singular_values(
    model: Heads, layer: int, head: int, circuit: QKOrOV = "OV", *, n_random: int = 50, seed: int = 0
) -> pd.DataFrame:
    """The singular values of a head's W_V W_O or W_Q W_Kᵀ, beside those of random matrices of the same rank and norm.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one; the folded model's weights are used.
        layer, head: which.
        circuit: `OV` or `QK`.
        n_random: products of Gaussian factors of the head's shape, brought to its Frobenius norm.
        seed: of their draw.

    Returns:
        `layer, head, circuit, direction, value, share` (of the sum of squares), `random_mean, random_high` (99th
        percentile of the same direction's value).

    Raises:
        ValueError: the head is not there, or the circuit is neither.
    """
    whole_number(n_random, "n_random", least=1)
    weights = weights_of(model)
    found = _circuit(weights, layer, head, circuit).S
    generator = torch.Generator().manual_seed(seed)
    a, b = (random_weights(weights.d_model, weights.d_head, n_random, generator, weights.centred) for _ in range(2))
    random = FactoredMatrix(a, b.mT).S
    random = random * found.norm() / random.norm(dim=-1, keepdim=True)
    return pd.DataFrame(
        {
            "layer": layer,
            "head": head,
            "circuit": circuit,
            "direction": range(len(found)),
            "value": found.numpy(),
            "share": (found.square() / found.square().sum()).numpy(),
            "random_mean": random.mean(0).numpy(),
            "random_high": random.quantile(0.99, dim=0).numpy(),
        }
    )


@torch.no_grad()
def head_svd(
    model: Heads,
    layer: int,
    head: int,
    circuit: QKOrOV = "OV",
    *,
    n_directions: int = 3,
    k: int = 8,
    seed: int = 0,
) -> pd.DataFrame:
    """The tokens at both ends of a head's largest singular directions (Millidge & Black 2022).

    A head's W_V W_O = Σ σ u vᵀ reads the stream along u and writes along v; its W_Q W_Kᵀ lets queries along u look at
    keys along v. What is read is told by embeddings, `W_E u`, and what is written by logits, `v W_U`, of the folded
    model. Both signs of u go with the same sign of v: tokens of `+` go with tokens of `+`. The sign is such that the
    largest entry of v in the vocabulary is positive.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one.
        layer, head: which.
        circuit: `OV` or `QK`.
        n_directions: of the largest singular values.
        k: tokens at each end and sign.
        seed: of the random directions that stand beside.

    Returns:
        `layer, head, circuit, direction, singular_value, side` (`read` and `written`, or `query` and `key`), `sign`,
        `rank, token, text, value` (the token's component along the direction of that sign), `random_high` (99th
        percentile of the largest component that a random direction has with any token).

    Raises:
        ValueError: the head is not there, or the circuit is neither.
    """
    weights = weights_of(model)
    found = _circuit(weights, layer, head, circuit)
    if not 1 <= whole_number(n_directions, "n_directions") <= weights.d_head:
        raise ValueError(f"n_directions is {n_directions}: a head of width {weights.d_head} has 1 to as many.")
    k = min(whole_number(k, "k", least=1), weights.W_E.shape[0])
    U, S, V = found.svd()
    sides = {"read": U, "written": V} if circuit == "OV" else {"query": U, "key": V}
    ends = {side: weights.W_U.mT if side == "written" else weights.W_E for side in sides}
    generator = torch.Generator().manual_seed(seed)
    random = random_weights(weights.d_model, N_DIRECTIONS, 1, generator, weights.centred)[0]
    random = (random / random.norm(dim=0)).float()
    chance = {side: float((end @ random).amax(0).double().quantile(0.99)) for side, end in ends.items()}
    components = {side: (ends[side] @ sides[side][:, :n_directions].float()) for side in sides}
    last = components["written" if circuit == "OV" else "key"]
    largest = last.gather(0, last.abs().argmax(0, keepdim=True)).sign()
    parts = []
    for number in range(n_directions):
        place = {"layer": layer, "head": head, "circuit": circuit, "direction": number}
        for side in sides:
            value = components[side][:, number] * largest[0, number]
            for sign, signed in (("+", value), ("−", -value)):
                lines = _tokens(weights, signed, k)
                parts.append(
                    lines.assign(
                        **place, singular_value=float(S[number]), side=side, sign=sign, random_high=chance[side]
                    )
                )
    columns = [*place, "singular_value", "side", "sign", "rank", "token", "text", "value", "random_high"]
    return pd.concat(parts, ignore_index=True)[columns]


def _circuit(weights: HeadWeights, layer: int, head: int, circuit: QKOrOV) -> FactoredMatrix:
    if circuit not in ("QK", "OV"):
        raise ValueError(f"circuit is {circuit!r}: it must be 'QK' or 'OV'.")
    return (qk_circuit if circuit == "QK" else ov_circuit)(weights, layer, head)


def _tokens(weights: HeadWeights, component: Float[Tensor, " token"], k: int) -> pd.DataFrame:
    value, token = component.topk(k)
    text = token_strings(weights.tokenizer, token.tolist())
    return pd.DataFrame({"rank": range(1, k + 1), "token": token.numpy(), "text": text, "value": value.numpy()})
