"""Where a head may be expected to look, as Boolean matrices [batch, query, key], and how much it does.

A detection is a function of the tokens and of what is known of them: `detection(tokens, labels)`, where `labels` gives
grids [batch, pos] by name (`LabelGrids`). It says for each query which keys it should look at; a query that has none is
not counted.
"""

from collections.abc import Callable, Mapping
from typing import Any

import einops
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pattern = Float[Tensor, "batch head query key"]
Keys = Bool[Tensor, "batch query key"]
Tokens = Int[Tensor, "batch query"]
Detection = Callable[[Tensor, Mapping[str, Any]], Tensor]
"""`detection(tokens [batch, pos], labels) → Bool [batch, query, key]`."""

# Below this nothing is added to an entropy: x log x of it is less than a float's last digit of 1.
_TINY = 1e-30
# Queries whose entropies are worked out together: those before the block's end see no key beyond it.
_BLOCK = 64


def previous_token(tokens: Tokens, labels: Mapping[str, Any] | None = None) -> Keys:
    """The position before."""
    return _offset(tokens, 1)


def current_token(tokens: Tokens, labels: Mapping[str, Any] | None = None) -> Keys:
    """The query's own position."""
    return _offset(tokens, 0)


def first_token(tokens: Tokens, labels: Mapping[str, Any] | None = None) -> Keys:
    """The first position, which is BOS in a token subject."""
    batch, length = tokens.shape
    keys = torch.zeros(batch, length, length, dtype=torch.bool, device=tokens.device)
    keys[:, :, 0] = True
    return keys


def duplicate_token(tokens: Tokens, labels: Mapping[str, Any] | None = None) -> Keys:
    """Earlier occurrences of the query's token."""
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1)


def induction(tokens: Tokens, labels: Mapping[str, Any] | None = None) -> Keys:
    """The tokens that came after earlier occurrences of the query's (Olsson et al. 2022, prefix matching).

    On N tokens repeated, key = query − N + 1: the stripe at 1 − N.
    """
    return torch.nn.functional.pad(duplicate_token(tokens)[:, :, :-1], (1, 0))


def local(window: int) -> Detection:
    """The query's own position and the `window` before it; what is left of a head's attention is global."""

    def near(tokens: Tokens, labels: Mapping[str, Any] | None = None) -> Keys:
        batch, length = tokens.shape
        keys = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril().triu(-window)
        return keys.expand(batch, -1, -1)

    return near


def in_single(pattern: Pattern) -> Pattern:
    """What is in half precision in single: sums of it have too few digits, and half ones have no distance above 256."""
    return pattern.to(torch.promote_types(pattern.dtype, torch.float32))


def attention_to(pattern: Pattern, keys: Keys) -> Float[Tensor, " head"]:
    """The mean attention to the marked keys together, over the queries that have any: Σ(A∘D) / ΣA.

    Raises:
        ValueError: no query has one.
    """
    has = _queries_of(keys)
    pattern = in_single(pattern)
    given = einops.einsum(pattern, keys.to(pattern.dtype), "batch head query key, batch query key -> batch query head")
    return given[has].mean(0)


def agreement(pattern: Pattern, keys: Keys) -> Float[Tensor, " head"]:
    """How near a head is to looking at the marked keys and nowhere else: 1 − Σ|A − D| / n, over the n queries with any.

    1 where they agree. A query with one marked key that looks elsewhere counts −1.

    Raises:
        ValueError: no query has a key.
    """
    has = _queries_of(keys)
    pattern = in_single(pattern)
    apart = (pattern - keys[:, None].to(pattern.dtype)).abs().sum(-1)
    return 1 - einops.rearrange(apart, "batch head query -> batch query head")[has].mean(0)


def entropy(pattern: Pattern, causal: bool = False) -> Float[Tensor, "batch head query"]:
    """−Σ A log₂ A over the keys, in bits: 0 where a query looks at one key, log₂ n where at n alike.

    Args:
        pattern: the attention.
        causal: whether no query looks at a later key, so that these need not be read.
    """
    pattern = in_single(pattern)
    batch, head, length, n_keys = pattern.shape
    found = pattern.new_empty(batch, head, length)
    for seq in range(batch):  # what is worked on at once stays in the processor's cache
        for start in range(0, length, _BLOCK):
            seen = start + _BLOCK if causal else n_keys
            part = pattern[seq, :, start : start + _BLOCK, :seen]
            found[seq, :, start : start + _BLOCK] = -(part.clamp_min(_TINY).log2() * part).sum(-1)
    return found


def distance(pattern: Pattern) -> Float[Tensor, "batch head query"]:
    """How far back a query looks in the mean, in positions: Σ A |query − key|."""
    pattern = in_single(pattern)
    return einops.einsum(pattern, distances(pattern), "batch head query key, query key -> batch head query")


def distances(pattern: Pattern) -> Float[Tensor, "query key"]:
    """|query − key|."""
    n_queries, n_keys = pattern.shape[-2:]
    query, key = (torch.arange(n, device=pattern.device, dtype=pattern.dtype) for n in (n_queries, n_keys))
    return (query[:, None] - key).abs()


def _offset(tokens: Tokens, back: int) -> Keys:
    batch, length = tokens.shape
    keys = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril(-back).triu(-back)
    return keys.expand(batch, -1, -1)


def _queries_of(keys: Keys) -> Bool[Tensor, "batch query"]:
    has = keys.any(-1)
    if not has.any():
        raise ValueError("no query has a position that it should look at.")
    return has
