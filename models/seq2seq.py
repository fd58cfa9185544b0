"""`Seq2Seq`: a recurrent encoder and decoder, with an alignment between them that can be read and edited."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.alignment import BahdanauAttention, LuongAttention, Memory
from models.cells import Feed, State
from models.checked_input import as_rows, checked_mask, checked_tokens
from models.readout import Embedding, ReadOut
from models.seq2seq_config import Seq2SeqConfig
from models.source_to_target import SourceToTarget

__all__ = ["Seq2Seq", "Seq2SeqConfig"]


class Decoding(NamedTuple):
    """What a decoder goes on from.

    Attributes:
        states: each layer's state after the steps that have been taken.
        memory: the source as attention looks at it; None without attention.
    """

    states: list[State]
    memory: Memory | None


class EncoderBlock(nn.Module):
    """One layer of the encoder: a cell and, where it is bidirectional, a second one that reads backward.

    `hook_out [batch, source, d_source]` is what it hands up, the second cell's hidden states beside the first's.
    """

    def __init__(self, cfg: Seq2SeqConfig, d_in: int) -> None:
        super().__init__()
        self.backward_only = cfg.reverse_source
        self.rnn = cfg.encoder.make_cell(d_in)
        self.rnn_reverse = cfg.encoder.make_cell(d_in) if cfg.bidirectional_encoder else None
        self.hook_out = HookPoint()

    def forward(
        self, x: Float[Tensor, "batch source d"], mask: Tensor | None
    ) -> tuple[Float[Tensor, "batch source d_source"], State]:
        """What the layer hands up, and its state after the last real token read, both cells' side by side."""
        hidden, last = self.rnn(x, reverse=self.backward_only, mask=mask)
        if self.rnn_reverse is not None:
            backward, first = self.rnn_reverse(x, reverse=True, mask=mask)
            hidden = torch.cat([hidden, backward], -1)
            last = tuple(torch.cat(halves, -1) for halves in zip(last, first, strict=True))
        return self.hook_out(hidden), last


class DecoderBlock(nn.Module):
    """One layer of the decoder; `hook_out [batch, target, d_model]` is what it hands up."""

    def __init__(self, cfg: Seq2SeqConfig) -> None:
        super().__init__()
        self.rnn = cfg.encoder.make_cell(cfg.d_model)
        self.hook_out = HookPoint()

    def forward(
        self, x: Float[Tensor, "batch target d_model"], state: State, feed: Feed | None = None
    ) -> tuple[Float[Tensor, "batch target d_model"], State]:
        """What the layer hands up, and its last state."""
        hidden, last = self.rnn(x, state, feed=feed)
        return self.hook_out(hidden), last


class Bridge(nn.Module):
    """What a decoder layer starts from, of a bidirectional encoder layer's last states.

    `h = tanh([h→; h←] W + b)` (Bahdanau et al. 2015 take h← alone), and an LSTM's c the same without the tanh. Weights
    `W [state, 2·d_model, d_model]`, `b [state, d_model]`, h first.
    """

    def __init__(self, n_states: int, d_source: int, d_model: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(n_states, d_source, d_model))
        self.b = nn.Parameter(torch.empty(n_states, d_model))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Uniform within ±1/√(2·d_model)."""
        bound = self.W.shape[1] ** -0.5
        for weight in (self.W, self.b):
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def forward(self, last: tuple[Float[Tensor, "batch d_source"], ...]) -> State:
        h, *others = (torch.addmm(b, part, W) for part, W, b in zip(last, self.W, self.b, strict=True))
        return h.tanh(), *others


class Seq2Seq(SourceToTarget):
    """A recurrent encoder–decoder (Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015).

    Each decoder layer starts from the state in which the encoder layer of its height ended at its last real token,
    through a learned bridge where the encoder is bidirectional. The first decoder layer is the one that attention is
    inside of where it is Bahdanau's; Luong's comes after the last. What is read out is linear in the last layer's
    hidden state, or in Luong's h̃: Bahdanau's maxout is left out.

    Hooks: `hook_source_embed [batch, source, d_model]`, `hook_embed [batch, target, d_model]`;
    `encoder_blocks.L.rnn.…` and `decoder_blocks.L.rnn.…`, those of the cell, which fire once a step with
    `[batch, 1, d_model]` and are cached whole; `encoder_blocks.L.rnn_reverse.…` where the encoder is bidirectional;
    `encoder_blocks.L.hook_out`, `decoder_blocks.L.hook_out`; and `attn.…`, see `BahdanauAttention` and
    `LuongAttention`, with alignments `[batch, 1, target, source]`. Where the source is read in reverse, the steps run
    from its last real token to its first, but a hook's position, and `hook.ctx["t"]`, is always that of the token in
    the source as it was given.

    A hook that nobody uses costs nothing: a layer runs fused until a hook inside its cell is attached. Bahdanau's
    attention has no fused form: it is inside the recurrence.
    """

    def __init__(self, cfg: Seq2SeqConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.source_embed = Embedding(cfg.d_vocab_source, cfg.d_model)
        self.hook_source_embed = HookPoint()
        widths = [cfg.d_model] + [cfg.d_source] * (cfg.n_layers - 1)
        self.encoder_blocks = nn.ModuleList(EncoderBlock(cfg, width) for width in widths)
        self.embed = Embedding(cfg.d_vocab, cfg.d_model)
        self.hook_embed = HookPoint()
        self.decoder_blocks = nn.ModuleList(DecoderBlock(cfg) for _ in range(cfg.n_layers))
        cell: Any = self.decoder_blocks[0].rnn
        self.bridges: nn.ModuleList | None = None
        if cfg.bidirectional_encoder:
            sizes = (len(cell.state_names), cfg.d_source, cfg.d_model)
            self.bridges = nn.ModuleList(Bridge(*sizes) for _ in range(cfg.n_layers))
        self.attn: BahdanauAttention | LuongAttention | None = None
        if cfg.attention == "bahdanau":
            self.attn = BahdanauAttention(cfg.d_model, cfg.d_source, cfg.d_attention or 0, len(cell.W_ih))
        elif cfg.attention != "none":
            self.attn = LuongAttention(cfg.d_model, cfg.d_source, general=cfg.attention == "luong_general")
        self.unembed = ReadOut(cfg.d_model, cfg.d_vocab)
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    def encode(self, source: Tensor, source_mask: Bool[Tensor, "batch source"] | None = None) -> Decoding:
        """What the decoder goes on from before its first step. `ValueError` if the source does not fit the model."""
        source, mask = self._checked_source(source, source_mask)
        x = self.hook_source_embed(self.source_embed(source))
        states: list[State] = []
        for layer, block in enumerate(self.encoder_blocks):
            x, last = block(x, mask)
            states.append(last if self.bridges is None else self.bridges[layer](last))
        if self.attn is None:
            return Decoding(states, None)
        # An edited pattern that looks at padding finds nothing there, whichever way the encoder ran.
        annotations = x if mask is None else x.masked_fill(~mask[..., None], 0)
        return Decoding(states, self.attn.remember(annotations, mask))

    def position_axis(self, hook_name: str) -> str:
        """What the positions of a hook's value count: those of the `source` or of the `target`.

        Raises:
            ValueError: no hook has that name.
        """
        (name,) = self.match_hooks(hook_name)
        return "source" if name.startswith(("encoder_blocks.", "hook_source_embed")) else "target"

    def decode(
        self, tokens: Int[Tensor, "batch new"], state: Decoding
    ) -> tuple[Float[Tensor, "batch new d_model"], Decoding]:
        """What is read out at the given tokens, and the state after the last."""
        x = self.hook_embed(self.embed(tokens))
        feed: Feed | None = None
        if isinstance(self.attn, BahdanauAttention) and state.memory is not None:
            self.attn.begin(tokens.shape[1])
            feed = partial(self.attn.feed, state.memory)
        after: list[State] = []
        for block, before in zip(self.decoder_blocks, state.states, strict=True):
            x, last = block(x, before, feed)
            after.append(last)
            feed = None  # attention is inside the first layer
        if isinstance(self.attn, LuongAttention):
            x = self.attn(x, state.memory)
        return x, Decoding(after, state.memory)

    def _checked_source(self, source: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        cfg = self.cfg
        source = checked_tokens(as_rows(source), cfg.d_vocab_source, cfg.n_ctx, cfg.device, "source tokens")
        mask = checked_mask(mask, source.shape, "source_mask")
        if mask is not None and mask.device.type == "cpu" and mask.all():
            mask = None
        return source, None if mask is None else mask.to(cfg.device)
