"""QK and OV: what a head's weights attend to and what they move, kept as two thin factors."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix

from workbench.attention.weights import Heads, HeadWeights, weights_of

Ends = Literal["stream", "tokens", "positions"]


class Head(NamedTuple):
    """A head by its place."""

    layer: int
    head: int


@torch.no_grad()
def qk_circuit(
    model: Heads,
    layer: int,
    head: int,
    *,
    ends: Ends = "stream",
    distance: int = 0,
    biases: bool = True,
    query_through: tuple[int, int] | None = None,
    key_through: tuple[int, int] | None = None,
) -> FactoredMatrix:
    """`W_Q W_Kᵀ` of a head as its factors, queries on the left (Elhage et al. 2021).

    An attention score is this over √d_head. The folded model's weights are used (`weights_of`), and the norm's division
    by the stream's length is left out.

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one, which saves folding it again.
        layer, head: which.
        ends: `stream`: `[d_model, d_model]`. `tokens`: the full circuit `[d_vocab, d_vocab]`, of embeddings.
            `positions`: `[n_ctx, n_ctx]`, of learned positions.
        distance: how many positions the key is before the query, where positions are rotary.
        biases: of queries and keys, where the ends are tokens or positions.
        query_through, key_through: an earlier head, `(layer, head)`, whose output is read in place of the stream
            itself: the full circuit then is a term of Q- or K-composition.

    Raises:
        ValueError: a head or position is not there, or one to go through is not earlier.
    """
    weights = weights_of(model)
    layer, head = weights.checked(layer, head)
    q = _read(weights, weights.W_Q[layer, head], ends, _through(weights, query_through, layer))
    k = _read(weights, weights.W_K[layer, head], ends, _through(weights, key_through, layer))
    if biases and ends != "stream":
        q, k = q + weights.b_Q[layer, head].double(), k + weights.b_K[layer, head].double()
    return FactoredMatrix(_turned(weights, q, distance), k.mT)


@torch.no_grad()
def ov_circuit(
    model: Heads, layer: int, head: int, *, ends: Ends = "stream", through: tuple[int, int] | None = None
) -> FactoredMatrix:
    """`W_V W_O` of a head as its factors, what is read on the left (Elhage et al. 2021).

    Args:
        model: a `Transformer`, a `HubModel`, or `weights_of` one; the folded model's weights are used.
        layer, head: which.
        ends: `stream`: `[d_model, d_model]`. `tokens`: the full circuit `[d_vocab, d_vocab]`, from embeddings to
            logits, which are centred over the vocabulary. `positions`: `[n_ctx, d_vocab]`.
        through: an earlier head, `(layer, head)`, whose output is read: the two make a virtual head.

    Raises:
        ValueError: a head is not there, or the one to go through is not earlier.
    """
    weights = weights_of(model)
    layer, head = weights.checked(layer, head)
    v = _read(weights, weights.W_V[layer, head], ends, _through(weights, through, layer))
    W_O = weights.W_O[layer, head].double()
    return FactoredMatrix(v, W_O if ends == "stream" else (W_O.float() @ weights.W_U).double())


def _through(weights: HeadWeights, earlier: tuple[int, int] | None, layer: int) -> Head | None:
    if earlier is None:
        return None
    found = Head(*weights.checked(*earlier))
    if found.layer >= layer:
        raise ValueError(f"layer {layer} cannot read a head of layer {found.layer}: it must be of an earlier one.")
    return found


def _read(
    weights: HeadWeights, W: Float[Tensor, "d_model d_head"], ends: Ends, through: Head | None
) -> Float[Tensor, "end d_head"]:
    """What a head reads of each end: of embeddings in single precision, which is what weights are kept in."""
    if through is not None:
        W = weights.W_V[*through] @ (weights.W_O[*through] @ W)
    if ends == "stream":
        return W.double()
    if ends == "tokens":
        return (weights.W_E @ W).double()
    if ends != "positions":
        raise ValueError(f"ends is {ends!r}: it must be 'stream', 'tokens' or 'positions'.")
    if weights.W_pos is None:
        raise ValueError("this model adds no positions to its embedding: it has no circuit between positions.")
    return (weights.W_pos @ W).double()


def _turned(weights: HeadWeights, q: Float[Tensor, "end d_head"], distance: int) -> Float[Tensor, "end d_head"]:
    """Queries as a key sees them that is this many positions before: only what lies between two positions counts."""
    if distance == 0:
        return q
    if weights.rotary is None:
        raise ValueError("distance is for rotary positions, and this model's are not, or are not known here.")
    if not 0 <= distance < (n_ctx := len(weights.rotary.cos)):
        raise ValueError(f"distance is {distance}: it must be from 0 to {n_ctx - 1}.")
    return weights.rotary(q[None, None], torch.tensor([distance]))[0, 0]
