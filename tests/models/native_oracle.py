"""Small subjects with arbitrary weights, and TransformerLens's native model with the same ones."""

from typing import Any

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.native import boot

from models.transformer import Transformer, TransformerConfig

SHAPE = {"n_layers": 2, "d_model": 16, "n_heads": 4, "n_ctx": 12, "d_vocab": 31}


def random_tokens(batch: int = 3, pos: int = 9, seed: int = 0, d_vocab: int = 31) -> torch.Tensor:
    """Token ids `[batch, pos]` that start with BOS."""
    tokens = torch.randint(1, d_vocab, (batch, pos), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 0
    return tokens


@torch.no_grad()
def subject(seed: int = 0, unembed_bias: bool = True, **overrides: Any) -> Transformer:
    """A small `Transformer` none of whose parameters, biases and gains included, is what it was initialised to."""
    model = Transformer(TransformerConfig(**(SHAPE | overrides))).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.3
        parameter.copy_(noise + 1 if name.endswith(".w") else noise)
    if not unembed_bias:
        model.b_U.zero_()
    return model


@torch.no_grad()
def native_of(model: Transformer) -> TransformerBridge:
    """TransformerLens's native model with the weights of `model`, whose unembedding bias it cannot have.

    It knows learned and rotary positions, these in adjacent pairs alone; ours that are fixed or absent are a learned
    table with these values. Its gated MLPs are given the biases that they lack.
    """
    assert not model.b_U.any()
    cfg = model.cfg
    rotary = cfg.positional_embedding_type == "rotary"
    assert cfg.rotary_adjacent_pairs or not rotary
    native = boot(
        TransformerBridgeConfig(
            n_layers=cfg.n_layers,
            d_model=cfg.d_model,
            n_heads=cfg.n_heads,
            d_head=cfg.d_head,
            d_mlp=cfg.d_mlp,
            n_ctx=cfg.n_ctx,
            d_vocab=cfg.d_vocab,
            act_fn=cfg.act_fn,
            normalization_type=cfg.normalization_type,
            attn_only=cfg.attn_only,
            eps=cfg.eps,
            gated_mlp=cfg.gated_mlp,
            positional_embedding_type="rotary" if rotary else "standard",
            rotary_dim=cfg.rotary_dim,
            rotary_base=cfg.rotary_base,
        )
    ).eval()
    if cfg.gated_mlp:
        for block in native.blocks:
            for linear in (block.mlp.gate, getattr(block.mlp, "in"), block.mlp.out):
                layer = linear.original_component
                layer.bias = torch.nn.Parameter(torch.empty(layer.out_features))
    weights = dict(model.named_parameters())
    if not rotary:
        weights["pos_embed.W_pos"] = model.W_pos if model.pos_embed else torch.zeros(cfg.n_ctx, cfg.d_model)
    if cfg.tie_word_embeddings:
        weights["unembed.W_U"] = model.W_U
    state = native.state_dict()
    for name, value in weights.items():
        if name != "unembed.b_U":
            theirs, layout = _name_and_layout(name, value.detach())
            state[theirs].copy_(layout)
    return native.to(cfg.dtype)


def _name_and_layout(name: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Our parameter under the name and in the layout of `torch.nn`."""
    prefix, _, last = name.rpartition(".")
    kind, _, part = last.partition("_")
    if last in ("W_E", "W_pos"):
        return f"{prefix}.weight", value
    if last == "W_U":
        return f"{prefix}.weight", value.T
    if last in ("w", "b"):
        return f"{prefix}.{'weight' if last == 'w' else 'bias'}", value
    leaf = f"{prefix}.{part.lower()}.{'weight' if kind == 'W' else 'bias'}"
    if kind == "b":
        return leaf, value.flatten()
    if part in ("Q", "K", "V"):
        return leaf, value.transpose(1, 2).flatten(0, 1)
    return leaf, value.flatten(0, -2).T
