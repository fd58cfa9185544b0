"""Folding the norms' gains and biases, and what they ignore, into the weights around them."""

import dataclasses
from typing import TYPE_CHECKING

import einops
import torch
from torch import Tensor

from models.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from models.transformer import Transformer

# What reads each norm of a block: the weight (its axis −2 is d_model) and the bias that belongs to it.
_READERS = {
    "ln1": [("attn.W_Q", "attn.b_Q"), ("attn.W_K", "attn.b_K"), ("attn.W_V", "attn.b_V")],
    "ln2": [("mlp.W_in", "mlp.b_in")],
}
_GATED = {"ln2": [("mlp.W_in", "mlp.b_in"), ("mlp.W_gate", "mlp.b_gate")]}
_AFTER_SOLU = {"mlp.ln": [("mlp.W_out", "mlp.b_out")]}
_WRITERS = ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out")


def folded_config(cfg: TransformerConfig, center_writing_weights: bool) -> TransformerConfig:
    """The shape of `model.folded()`."""
    kind, positions = cfg.normalization_type, cfg.positional_embedding_type
    centred = _is_centred(cfg, center_writing_weights)
    return dataclasses.replace(
        cfg,
        normalization_type=None if kind is None else kind.removesuffix("Pre") + "Pre",
        layer_norm_folding=True,
        # A gain folded into the unembedding must not reach the embedding.
        tie_word_embeddings=False,
        positional_embedding_type="standard" if centred and positions == "sinusoidal" else positions,
    )


@torch.no_grad()
def folded_weights(
    model: "Transformer", center_writing_weights: bool, center_unembed: bool, fold_value_biases: bool
) -> dict[str, Tensor]:
    """The weights of `model.folded()`.

    What reads a norm computes `(x̂·w + b) W + c` of the normalised value x̂; with `diag(w) W` and `b W + c` for `W`
    and `c` it computes the same of x̂ alone. A pattern's rows sum to one, so a head writes `b_V W_O` whatever it
    attends to. Sums are taken in float64.
    """
    cfg = model.cfg
    weights = {name: value.detach().double() for name, value in model.state_dict().items()}
    if cfg.tie_word_embeddings:
        weights["unembed.W_U"] = weights["embed.W_E"].T
    centred = _is_centred(cfg, center_writing_weights)
    if centred and cfg.positional_embedding_type == "sinusoidal":
        weights["pos_embed.W_pos"] = model.W_pos.double()
    readers = _READERS | (_GATED if cfg.gated_mlp else {})
    # Without a norm in the stream there is none without gains either, which the copy could be given.
    readers |= _AFTER_SOLU if cfg.normalization_type is not None else {}
    for prefix in (f"blocks.{layer}." for layer in range(cfg.n_layers)):
        for norm, reads in readers.items():
            _fold(weights, prefix + norm, [(prefix + weight, prefix + bias) for weight, bias in reads])
    _fold(weights, "ln_final", [("unembed.W_U", "unembed.b_U")])
    if fold_value_biases:
        for layer in range(cfg.n_layers):
            _fold_value_bias(weights, f"blocks.{layer}.attn")
    if centred:
        for name in weights:
            if name in ("embed.W_E", "pos_embed.W_pos") or name.endswith(_WRITERS):
                weights[name] = weights[name] - weights[name].mean(-1, keepdim=True)
    if center_unembed:
        for name in ("unembed.W_U", "unembed.b_U"):
            weights[name] = weights[name] - weights[name].mean(-1, keepdim=True)
    return {name: value.to(cfg.dtype) for name, value in weights.items()}


def _is_centred(cfg: TransformerConfig, center_writing_weights: bool) -> bool:
    return center_writing_weights and cfg.normalization_type in ("LN", "LNPre")


def _fold(weights: dict[str, Tensor], norm: str, readers: list[tuple[str, str]]) -> None:
    gain, shift = weights.pop(f"{norm}.w", None), weights.pop(f"{norm}.b", None)
    if gain is None:
        return
    for weight, bias in readers:
        if shift is not None:
            weights[bias] = weights[bias] + shift @ weights[weight]
        weights[weight] = gain[:, None] * weights[weight]


def _fold_value_bias(weights: dict[str, Tensor], attn: str) -> None:
    constant = einops.einsum(weights[f"{attn}.b_V"], weights[f"{attn}.W_O"], "h d_head, h d_head d_model -> d_model")
    weights[f"{attn}.b_O"] = weights[f"{attn}.b_O"] + constant
    weights[f"{attn}.b_V"] = torch.zeros_like(weights[f"{attn}.b_V"])
