"""`EncoderDecoderTransformer`: the transformer of 2017, its cross-attention hooked apart from its self-attention."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.attention import Attention
from models.checked_input import as_rows, checked_mask, checked_tokens
from models.encoder_decoder_config import EncoderDecoderTransformerConfig
from models.feed_forward import MLP, GatedMLP
from models.hooks import attached
from models.key_values import KeyValueCache, KeyValues
from models.normalization import LayerNorm, make_norm
from models.positions import PosEmbed, SinusoidalPosEmbed
from models.source_to_target import SourceToTarget
from models.transformer import Embed, TiedUnembed, Unembed

__all__ = ["EncoderDecoderTransformer", "EncoderDecoderTransformerConfig"]

Stream = Float[Tensor, "batch pos d_model"]
Norm = LayerNorm | nn.Identity


class Memory(NamedTuple):
    """What the encoder hands on."""

    values: Float[Tensor, "batch source d_model"]
    mask: Bool[Tensor, "batch source"] | None  # True where the source is real; None where all of it is


class DecoderState(NamedTuple):
    """What the decoder goes on from: the source as it was read, and its own keys and values so far."""

    memory: Memory
    cache: KeyValueCache | None  # None before the first step, and where all steps are taken at once


class EncoderBlock(nn.Module):
    """Self-attention, then the MLP, each adding to the residual stream.

    With post-norm `hook_resid_mid` and `hook_resid_post` are the stream after the norm: what the next layer reads.
    """

    def __init__(self, cfg: EncoderDecoderTransformerConfig) -> None:
        super().__init__()
        self.pre_norm = cfg.pre_norm
        self.hook_resid_pre = HookPoint()
        self.attn, self.ln1 = Attention(cfg, causal=False), _norm(cfg)
        self.hook_attn_out, self.hook_resid_mid = HookPoint(), HookPoint()
        self.mlp, self.ln2 = _mlp(cfg), _norm(cfg)
        self.hook_mlp_out, self.hook_resid_post = HookPoint(), HookPoint()

    def forward(self, resid: Stream, mask: Bool[Tensor, "batch pos"] | None) -> Stream:
        def attend(x: Stream, norm: Norm) -> Stream:
            return self.hook_attn_out(self.attn(x, norm, key_mask=mask))

        def think(x: Stream, norm: Norm) -> Stream:
            return self.hook_mlp_out(self.mlp(norm(x)))

        resid = self.hook_resid_pre(resid)
        resid = self.hook_resid_mid(_added(self.pre_norm, resid, self.ln1, attend))
        return self.hook_resid_post(_added(self.pre_norm, resid, self.ln2, think))


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the source (`cross_attn`), then the MLP, each adding to the residual stream.

    `hook_resid_mid` follows self-attention, `hook_resid_mid_cross` cross-attention; with post-norm these and
    `hook_resid_post` are the stream after the norm: what the next layer reads.
    """

    def __init__(self, cfg: EncoderDecoderTransformerConfig) -> None:
        super().__init__()
        self.pre_norm = cfg.pre_norm
        self.hook_resid_pre = HookPoint()
        self.attn, self.ln1 = Attention(cfg), _norm(cfg)
        self.hook_attn_out, self.hook_resid_mid = HookPoint(), HookPoint()
        self.cross_attn, self.ln2 = Attention(cfg, causal=False), _norm(cfg)
        self.hook_cross_attn_out, self.hook_resid_mid_cross = HookPoint(), HookPoint()
        self.mlp, self.ln3 = _mlp(cfg), _norm(cfg)
        self.hook_mlp_out, self.hook_resid_post = HookPoint(), HookPoint()

    def forward(self, resid: Stream, memory: Memory, past: KeyValues | None) -> Stream:
        def attend(x: Stream, norm: Norm) -> Stream:
            return self.hook_attn_out(self.attn(x, norm, past=past))

        def look(x: Stream, norm: Norm) -> Stream:
            return self.hook_cross_attn_out(self.cross_attn(x, norm, memory=memory.values, key_mask=memory.mask))

        def think(x: Stream, norm: Norm) -> Stream:
            return self.hook_mlp_out(self.mlp(norm(x)))

        resid = self.hook_resid_pre(resid)
        resid = self.hook_resid_mid(_added(self.pre_norm, resid, self.ln1, attend))
        resid = self.hook_resid_mid_cross(_added(self.pre_norm, resid, self.ln2, look))
        return self.hook_resid_post(_added(self.pre_norm, resid, self.ln3, think))


def _added(pre_norm: bool, resid: Stream, norm: Norm, layer: Callable[[Stream, Norm], Stream]) -> Stream:
    """The stream with what a layer writes, which is normalised either as it is read or when all is added."""
    return resid + layer(resid, norm) if pre_norm else norm(resid + layer(resid, nn.Identity()))


def _norm(cfg: EncoderDecoderTransformerConfig) -> Norm:
    return make_norm(cfg.normalization_type, cfg.d_model, cfg.eps)


def _mlp(cfg: EncoderDecoderTransformerConfig) -> MLP:
    return GatedMLP(cfg) if cfg.gated_mlp else MLP(cfg)


def _positions(cfg: EncoderDecoderTransformerConfig) -> PosEmbed | SinusoidalPosEmbed:
    if cfg.positional_embedding_type == "standard":
        return PosEmbed(cfg.n_ctx, cfg.d_model, cfg.initializer_range)
    return SinusoidalPosEmbed(cfg.n_ctx, cfg.d_model)


class EncoderDecoderTransformer(SourceToTarget):
    """The transformer of Vaswani et al. (2017): what it says of a source, token by token.

    Hooks: `hook_source_embed`, `hook_source_pos_embed`, `hook_embed`, `hook_pos_embed [batch, pos, d_model]`, the
    embeddings as they are added, multiplied by √d_model as in the paper; `encoder_blocks.L.…` and `decoder_blocks.L.…`,
    those of the blocks; `decoder_blocks.L.attn.…` and `decoder_blocks.L.cross_attn.…`, those of `Attention`, with
    patterns `[batch, head, target, source]`; `hook_encoder_out [batch, source, d_model]`, what cross-attention reads.
    A hook that nobody uses costs nothing.
    """

    def __init__(self, cfg: EncoderDecoderTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.source_embed = Embed(cfg.d_vocab_source, cfg.d_model, cfg.initializer_range)
        self.hook_source_embed, self.source_pos_embed = HookPoint(), _positions(cfg)
        self.hook_source_pos_embed = HookPoint()
        self.encoder_blocks = nn.ModuleList(EncoderBlock(cfg) for _ in range(cfg.n_layers))
        self.encoder_ln_final = _norm(cfg) if cfg.pre_norm else nn.Identity()
        self.hook_encoder_out = HookPoint()
        self.embed = Embed(cfg.d_vocab, cfg.d_model, cfg.initializer_range)
        self.hook_embed, self.pos_embed = HookPoint(), _positions(cfg)
        self.hook_pos_embed = HookPoint()
        self.decoder_blocks = nn.ModuleList(DecoderBlock(cfg) for _ in range(cfg.n_layers))
        self.ln_final = _norm(cfg) if cfg.pre_norm else nn.Identity()
        self.unembed = TiedUnembed(self.embed) if cfg.tie_word_embeddings else Unembed(cfg)
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    def gated_hooks(self) -> set[str]:
        off = [name.removeprefix("attn.") for name, on in self.cfg.gated_hooks.items() if not on]
        return {name for name in self.hook_dict if name.rpartition("attn.")[2] in off}

    def position_axis(self, hook_name: str) -> str:
        """What the positions of a hook's value count: those of the `source` or of the `target`.

        A pattern's are its queries': those of the target in cross-attention.

        Raises:
            ValueError: no hook has that name.
        """
        (name,) = self.match_hooks(hook_name)
        if name.startswith(("encoder_blocks.", "encoder_ln_final.", "hook_source_", "hook_encoder_out")):
            return "source"
        keys = ("hook_k", "hook_v", "hook_k_input", "hook_v_input")
        return "source" if ".cross_attn." in name and name.endswith(keys) else "target"

    def encode(self, source: Tensor, source_mask: Bool[Tensor, "batch source"] | None = None) -> DecoderState:
        """The source as it was read, and nothing said yet. `ValueError` if the source does not fit the model."""
        cfg = self.cfg
        source = checked_tokens(as_rows(source), cfg.d_vocab_source, cfg.n_ctx, cfg.device, "source tokens")
        mask = checked_mask(source_mask, source.shape, "source_mask")
        if mask is not None and mask.device.type == "cpu" and mask.all():
            mask = None
        mask = None if mask is None else mask.to(cfg.device)
        embedded = self.hook_source_embed(self.source_embed(source) * math.sqrt(cfg.d_model))
        x = embedded + _hooked(self.hook_source_pos_embed, self.source_pos_embed(source))
        for block in self.encoder_blocks:
            x = block(x, mask)
        return DecoderState(Memory(self.hook_encoder_out(self.encoder_ln_final(x)), mask), None)

    def decode(self, tokens: Int[Tensor, "batch new"], state: DecoderState) -> tuple[Stream, DecoderState]:
        """What is read out at the given target tokens, and the state after the last."""
        memory, cache = state
        start = 0 if cache is None else cache.length
        embedded = self.hook_embed(self.embed(tokens) * math.sqrt(self.cfg.d_model))
        x = embedded + _hooked(self.hook_pos_embed, self.pos_embed(tokens, start))
        for layer, block in enumerate(self.decoder_blocks):
            x = block(x, memory, None if cache is None else cache.layers[layer])
        return self.ln_final(x), state

    @torch.no_grad()
    def run_steps(self, input: Tensor, state: DecoderState) -> tuple[Float[Tensor, "batch new d_vocab"], DecoderState]:
        """Go on from `state`, which is used up. No gradients are kept."""
        return super().run_steps(input, state._replace(cache=state.cache or KeyValueCache(self.cfg.n_layers)))


def _hooked(hook: HookPoint, positions: Stream) -> Stream:
    """The positions after their hook, which gets a copy to write into: these are the weights themselves."""
    return hook(positions.clone() if attached(hook) else positions)
