"""`EncoderDecoderTransformer`: the transformer of 2017, its cross-attention hooked apart from its self-attention."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.attention import Attention
from models.encoder_decoder_config import EncoderDecoderTransformerConfig
from models.feed_forward import MLP, GatedMLP
from models.generation import go_on, make_pick
from models.hooks import HookedModel, attached
from models.key_values import KeyValueCache, KeyValues
from models.lens_contract import BOS
from models.normalization import LayerNorm, make_norm
from models.positions import PosEmbed, SinusoidalPosEmbed
from models.readout import asked_for, checked_tokens
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
    cache: KeyValueCache


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


class EncoderDecoderTransformer(HookedModel):
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

    def _apply(self, fn: Callable, recurse: bool = True) -> "EncoderDecoderTransformer":
        super()._apply(fn, recurse)
        self.cfg.device, self.cfg.dtype = str(self.embed.W_E.device), self.embed.W_E.dtype
        return self

    def gated_hooks(self) -> set[str]:
        off = [name.removeprefix("attn.") for name, on in self.cfg.gated_hooks.items() if not on]
        return {name for name in self.hook_dict if name.rpartition("attn.")[2] in off}

    def forward(
        self,
        input: Tensor,
        *,
        source: Tensor,
        source_mask: Bool[Tensor, "batch source"] | None = None,
        mask: Bool[Tensor, "batch pos"] | None = None,
        targets: Tensor | None = None,
        return_type: str | None = "logits",
        loss_per_token: bool = False,
    ) -> Any:
        """Run the model with the target given (teacher forcing).

        Args:
            input: target token ids `[batch, pos]` or `[pos]`, which start with BOS.
            source: source token ids `[batch, source]` or `[source]`.
            source_mask: True where the source is real: only that is seen. Each row needs a real token.
            mask: True where the target is real, for the loss; padding must be at the end of a row, where no real token
                sees it.
            targets: ids `[batch, pos]`, −100 where nothing is asked; the next token where there are none.
            return_type: `"logits"`: `[batch, pos, d_vocab]`. `"loss"`: mean cross-entropy, in nats. `"both"`: the pair.
                None: nothing, for those who only want the hooks.
            loss_per_token: the loss as `[batch, pos − 1]`, or `[batch, pos]` where there are targets.

        Raises:
            ValueError: source or target is empty, too long or outside its vocabulary; they are not as many; masks or
                targets do not fit.
        """
        if targets is not None and targets.is_floating_point():
            raise ValueError(f"targets must be token ids, integers [batch, pos], not {targets.dtype}.")
        source, source_mask = self._checked_source(source, source_mask)
        tokens = checked_tokens(_rows(input), self.cfg.d_vocab, self.cfg.n_ctx, self.cfg.device)
        if len(tokens) != len(source):
            raise ValueError(f"there are {len(tokens)} targets, but {len(source)} sources: each needs the other.")
        asked = asked_for(tokens, mask, targets, return_type, self.cfg.d_vocab)
        resid = self._decode(tokens, self._encode(source, source_mask), None)
        return self.unembed.returned(resid, asked, return_type, loss_per_token, targets is not None)

    @torch.no_grad()
    def greedy_decode(
        self, source: Tensor, source_mask: Bool[Tensor, "batch source"] | None = None, *, max_new: int, eos: int
    ) -> Int[Tensor, "batch pos"]:
        """What the model says of its own: the likeliest token after BOS, the likeliest after that, and so on.

        The source is read once, and each new position of the target once; hooks stay at work as in `Generation`.

        Args:
            source: source token ids `[batch, source]` or `[source]`.
            source_mask: True where the source is real.
            max_new: how many tokens each row gets, fewer where it comes to `eos`.
            eos: the token at which a row stops; it is kept.

        Returns:
            Tokens, BOS first, 0 where a row has ended.

        Raises:
            ValueError: the source does not fit the model, `max_new` is below 1 or more than it can say, or `eos` is
                outside the vocabulary.
        """
        if not 1 <= max_new < self.cfg.n_ctx:
            raise ValueError(f"max_new is {max_new}: it must be at least 1 and, with BOS, at most {self.cfg.n_ctx}.")
        if not 0 <= eos < self.cfg.d_vocab:
            raise ValueError(f"eos is {eos}, but the vocabulary is 0 to {self.cfg.d_vocab - 1}.")
        source, source_mask = self._checked_source(source, source_mask)
        state = DecoderState(self._encode(source, source_mask), KeyValueCache(self.cfg.n_layers))
        start = source.new_full((len(source), 1), BOS)
        pick = make_pick(0.0, None, None, 0)
        return go_on(self, start, torch.ones_like(start[:, 0]), 1 + max_new, max_new, pick, eos, state)[0]

    @torch.no_grad()
    def run_steps(self, input: Tensor, state: DecoderState) -> tuple[Float[Tensor, "batch new d_vocab"], DecoderState]:
        """Go on from `state`: the logits at the given target tokens `[batch, new]`, and the state after them."""
        return self.unembed(self._decode(input, state.memory, state.cache)), state

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

    def _encode(self, source: Int[Tensor, "batch source"], mask: Tensor | None) -> Memory:
        embedded = self.hook_source_embed(self.source_embed(source) * math.sqrt(self.cfg.d_model))
        x = embedded + _hooked(self.hook_source_pos_embed, self.source_pos_embed(source))
        for block in self.encoder_blocks:
            x = block(x, mask)
        return Memory(self.hook_encoder_out(self.encoder_ln_final(x)), mask)

    def _decode(self, tokens: Int[Tensor, "batch new"], memory: Memory, cache: KeyValueCache | None) -> Stream:
        start = 0 if cache is None else cache.length
        embedded = self.hook_embed(self.embed(tokens) * math.sqrt(self.cfg.d_model))
        x = embedded + _hooked(self.hook_pos_embed, self.pos_embed(tokens, start))
        for layer, block in enumerate(self.decoder_blocks):
            x = block(x, memory, None if cache is None else cache.layers[layer])
        return self.ln_final(x)

    def _checked_source(self, source: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        cfg = self.cfg
        source = checked_tokens(_rows(source), cfg.d_vocab_source, cfg.n_ctx, cfg.device, "source tokens")
        if mask is None:
            return source, None
        if mask.shape != source.shape or mask.dtype != torch.bool:
            raise ValueError(f"source_mask must be bool {list(source.shape)}, not {mask.dtype} {list(mask.shape)}.")
        if mask.device.type == "cpu" and not mask.any(1).all():
            raise ValueError("source_mask leaves a row without any real token: there is nothing to look at.")
        return source, mask.to(cfg.device)


def _rows(tokens: Tensor) -> Tensor:
    return tokens[None] if tokens.ndim == 1 else tokens


def _hooked(hook: HookPoint, positions: Stream) -> Stream:
    """The positions after their hook, which gets a copy to write into: these are the weights themselves."""
    return hook(positions.clone() if attached(hook) else positions)
