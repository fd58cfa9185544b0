"""Attention through the layers (rollout), and attention weighted by what it moves (value-weighted patterns)."""

from collections.abc import Callable
from typing import Any

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from models.hub import HubModel
from workbench.attention.streaming import PATTERN, PatternHook, pattern_hooks, stream_patterns
from workbench.interventions.pairs import Given, as_dataset

HEADS = ("mean", "max", "min")
WEIGHTS = ("attention", "value")


def rollout(
    model: Any,
    data: Given,
    *,
    residual: float = 0.5,
    heads: str = "mean",
    weights: str = "attention",
    axis: str = "target",
    batch_size: int = 16,
) -> Float[Tensor, "seq query key"]:
    """How much of each position at the last layer comes from each at the first, if attention were all there is.

    Abnar & Zuidema 2020 (arXiv 2005.00928): the product over layers, the last on the left, of (1 − r) A + r I, A one
    matrix made of a layer's heads and r the residual stream's share. It knows nothing of values, MLPs and signs. An
    array, no table, and without its control: hold it against the same of the untrained subject, `run.model(step=0)`, or
    of `random_heads.with_random_weights(model, seed)`.

    Args:
        model: a subject with self-attention.
        data: the sequences.
        residual: r: 0.5 in the paper (attention and stream alike); 0 leaves the stream out (the paper's raw products).
        heads: how a layer's heads are made one: `mean` as in the paper, or `max` or `min`, whose rows are then made to
            sum to 1 again.
        weights: `attention` as in the paper, or `value`: `value_weighted` patterns, each head's share of what is
            moved; their heads are added up (`mean`).
        axis: whose self-attention: of an encoder–decoder's `target` or `source`.
        batch_size: sequences a pass.

    Returns:
        For each sequence a matrix whose rows, the padding's too, sum to 1.

    Raises:
        ValueError: there is no such self-attention, or an argument is none of those.
    """
    data = as_dataset(data)
    if not 0 <= residual < 1:
        raise ValueError(f"residual is {residual}: it is a share, at least 0 and below 1.")
    if heads not in HEADS or weights not in WEIGHTS or (weights == "value" and heads != "mean"):
        raise ValueError(
            f"heads is {heads!r} and weights {weights!r}: heads must be {', '.join(HEADS)} and weights "
            f"{' or '.join(WEIGHTS)}; what values weigh is added up (mean)."
        )
    hooks = [hook for hook in pattern_hooks(model) if hook.queries == hook.keys == axis]
    if not hooks:
        raise ValueError(f"this subject has no self-attention of its {axis}.")
    found: dict[int, Tensor] = {}

    def pass_on(hook: PatternHook, pattern: Tensor, rows: range) -> None:
        layer = _one_of_heads(pattern, heads)
        layer = (1 - residual) * layer + residual * torch.eye(layer.shape[-1], device=layer.device, dtype=layer.dtype)
        found[rows.start] = layer if hook is hooks[0] else layer @ found[rows.start]

    if weights == "value":
        stream_value_weighted(model, data, hooks, pass_on, batch_size=batch_size)
    else:
        stream_patterns(model, data, hooks, pass_on, batch_size=batch_size, desc="rollout")
    return torch.cat(list(found.values())).clone()


def value_weighted(model: Any, data: Given, hook: str, *, batch_size: int = 16) -> Float[Tensor, "seq head query key"]:
    """‖A_ij v_j W_O‖: how long a vector each head moves from each key to each query (Kobayashi et al. 2020).

    A large weight on a short vector moves nothing (arXiv 2004.10102). b_V is part of v, b_O of none. An array, no
    table, and without its control, as `rollout`.

    Args:
        model: a `Transformer`, `HubModel` or `EncoderDecoderTransformer`.
        data: the sequences.
        hook: whose attention, such as `blocks.0.attn.hook_pattern`.
        batch_size: sequences a pass.

    Raises:
        ValueError: there is no such hook, or its attention has no W_O.
    """
    data = as_dataset(data)
    found = []
    stream_value_weighted(
        model, data, pattern_hooks(model, hook), lambda _, moved, rows: found.append(moved.cpu()), batch_size=batch_size
    )
    return torch.cat(found).clone()


def stream_value_weighted(
    model: Any,
    data: Given,
    hooks: list[PatternHook],
    read: Callable[[PatternHook, Tensor, range], None],
    *,
    batch_size: int = 16,
) -> None:
    """`stream_patterns`, each pattern weighted by the length of what is moved.

    Args:
        model: a `Transformer`, `HubModel` or `EncoderDecoderTransformer`.
        data: the sequences.
        hooks: whose attention.
        read: is shown each weighted pattern [batch, head, query, key] with the numbers of its sequences.
        batch_size: sequences a pass.

    Raises:
        ValueError: an attention has no W_O, there are no sequences, or batch_size is not at least 1.
    """
    gram = {hook.name: _gram(model, hook) for hook in hooks}
    lengths: dict[str, Tensor] = {}

    def measuring(name: str) -> Callable[..., None]:
        def measure(value: Tensor, hook: Any) -> None:
            lengths[name] = _lengths(value, gram[name])

        return measure

    def weigh(hook: PatternHook, pattern: Tensor, rows: range) -> None:
        read(hook, pattern * lengths.pop(hook.name)[:, :, None], rows)

    also = [(hook.name.removesuffix(PATTERN) + "hook_v", measuring(hook.name)) for hook in hooks]
    stream_patterns(model, as_dataset(data), hooks, weigh, also=also, batch_size=batch_size, desc="values")


def _gram(model: Any, hook: PatternHook) -> Float[Tensor, "head d_head d_head"]:
    """W_O W_Oᵀ, of which a value's length once written is vᵀ G v."""
    if isinstance(model, HubModel):
        W_O = model.folded().blocks[hook.layer or 0].attn.W_O
    else:
        W_O = getattr(model.mod_dict[hook.name.rpartition(".")[0]], "W_O", None)
    if W_O is None or hook.name.removesuffix(PATTERN) + "hook_v" not in model.hook_dict:
        raise ValueError(f"{hook.name} is of an attention without values of its own: there is no W_O to read.")
    return einops.einsum(W_O.detach(), W_O.detach(), "head i d_model, head j d_model -> head i j")


def _lengths(v: Tensor, gram: Float[Tensor, "head d_head d_head"]) -> Float[Tensor, "batch head key"]:
    n_heads, d_head, _ = gram.shape
    v = v.reshape(*v.shape[:2], -1, d_head)
    v = einops.repeat(v, "batch key kv d -> batch key (kv group) d", group=n_heads // v.shape[2])  # shared values
    squares = einops.einsum(v, gram, v, "batch key head i, head i j, batch key head j -> batch head key")
    return squares.clamp_min(0).sqrt()


def _one_of_heads(pattern: Float[Tensor, "batch head query key"], heads: str) -> Float[Tensor, "batch query key"]:
    made = einops.reduce(pattern, "batch head query key -> batch query key", heads)
    return made / made.sum(-1, keepdim=True)
