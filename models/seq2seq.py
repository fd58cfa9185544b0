"""`Seq2Seq`: a recurrent encoder and decoder, with an alignment between them that can be read and edited."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.alignment import BahdanauAttention, LuongAttention, Memory
from models.cells import Feed, State
from models.generation import go_on, make_pick
from models.hooks import HookedModel
from models.readout import Embedding, ReadOut, asked_for, checked_tokens
from models.seq2seq_config import Seq2SeqConfig

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


class Seq2Seq(HookedModel):
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

    def _apply(self, fn: Callable, recurse: bool = True) -> "Seq2Seq":
        super()._apply(fn, recurse)
        self.cfg.device, self.cfg.dtype = str(self.unembed.W_U.device), self.unembed.W_U.dtype
        return self

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
            source_mask: True where the source is real; padding must be at the end of a row, and changes nothing.
            mask: the same for the target; what is padding is not asked for.
            targets: classes `[batch, pos]`, −100 where nothing is asked; the next token where there are none.
            return_type: `"logits"`: `[batch, pos, d_vocab]`. `"loss"`: mean cross-entropy, in nats. `"both"`: the pair.
                None: nothing, for those who only want the hooks.
            loss_per_token: the loss as `[batch, pos − 1]`, or `[batch, pos]` where there are targets.

        Raises:
            ValueError: source or target is empty, too long or outside its vocabulary; they are not as many; masks or
                targets do not fit.
        """
        cfg = self.cfg
        tokens, source = checked_tokens(_rows(input), cfg.d_vocab, cfg.n_ctx, cfg.device), _rows(source)
        if len(tokens) != len(source):
            raise ValueError(f"there are {len(tokens)} targets, but {len(source)} sources: each needs the other.")
        _check_mask("mask", mask, tokens)
        asked = asked_for(tokens, mask, targets, return_type, cfg.d_vocab)
        hidden, _ = self._decode(tokens, self.encode(source, source_mask))
        return self.unembed.returned(hidden, asked, return_type, loss_per_token, targets is not None)

    @torch.no_grad()
    def greedy_decode(
        self,
        source: Tensor,
        source_mask: Bool[Tensor, "batch source"] | None = None,
        *,
        max_new: int,
        eos: int,
    ) -> Int[Tensor, "batch pos"]:
        """What the model says of its own: the likeliest token after BOS, the likeliest after that, and so on.

        Hooks stay at work: those of the decoder fire for one position at a time, whose number they find in
        `hook.ctx["offset"]`; `at_pos` and `replace_at` know of it.

        Args:
            source: source token ids `[batch, source]` or `[source]`.
            source_mask: True where the source is real; padding must be at the end of a row.
            max_new: how many tokens each row gets, fewer where it comes to `eos`.
            eos: the token at which a row stops; it is kept.

        Returns:
            Tokens, BOS first, 0 where a row has ended.

        Raises:
            ValueError: the source does not fit the model, `max_new` is below 1 or more than it can say, or `eos` is
                outside the vocabulary.
        """
        cfg = self.cfg
        if max_new < 1 or (cfg.n_ctx is not None and max_new >= cfg.n_ctx):
            most = "" if cfg.n_ctx is None else f" and, with BOS, at most {cfg.n_ctx}"
            raise ValueError(f"max_new is {max_new}: it must be at least 1{most}.")
        if not 0 <= eos < cfg.d_vocab:
            raise ValueError(f"eos is {eos}, but the vocabulary is 0 to {cfg.d_vocab - 1}.")
        tokens = source.new_zeros((1 if source.ndim == 1 else len(source), 1), device=cfg.device)
        pick = make_pick(0.0, None, None, 0)
        start = self.encode(source, source_mask)
        return go_on(self, tokens, torch.ones_like(tokens[:, 0]), 1 + max_new, max_new, pick, eos, start)[0]

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

    def run_steps(self, input: Tensor, state: Decoding) -> tuple[Float[Tensor, "batch new d_vocab"], Decoding]:
        """Go on from `state`: the logits of the given target tokens `[batch, new]`, and the state after them."""
        hidden, state = self._decode(checked_tokens(input, self.cfg.d_vocab, None, self.cfg.device), state)
        return self.unembed(hidden), state

    def position_axis(self, hook_name: str) -> str:
        """What the positions of a hook's value count: those of the `source` or of the `target`.

        Raises:
            ValueError: no hook has that name.
        """
        (name,) = self.match_hooks(hook_name)
        return "source" if name.startswith(("encoder_blocks.", "hook_source_embed")) else "target"

    def _decode(
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
        source = checked_tokens(_rows(source), cfg.d_vocab_source, cfg.n_ctx, cfg.device, "source tokens")
        _check_mask("source_mask", mask, source)
        if mask is not None and mask.device.type == "cpu":
            if not mask[:, 0].all() or (mask[:, 1:] & ~mask[:, :-1]).any():
                raise ValueError("source_mask must be True from a row's first token on: padding is only at the end.")
            if mask.all():
                mask = None
        return source, None if mask is None else mask.to(cfg.device)


def _rows(tokens: Tensor) -> Tensor:
    return tokens[None] if tokens.ndim == 1 else tokens


def _check_mask(name: str, mask: Tensor | None, tokens: Tensor) -> None:
    if mask is not None and (mask.shape != tokens.shape or mask.dtype != torch.bool):
        raise ValueError(f"{name} must be bool {list(tokens.shape)}, not {mask.dtype} {list(mask.shape)}.")
