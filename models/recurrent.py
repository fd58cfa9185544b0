"""`Recurrent`: a stack of recurrent layers whose every gate can be read and edited at every step."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from models.cells import State
from models.checked_input import checked_mask, checked_tokens, checked_vectors
from models.generation import Generation
from models.hooks import HookedModel
from models.lens_contract import TextMethods
from models.readout import Embedding, ReadOut, asked_for
from models.recurrent_config import RecurrentConfig

__all__ = ["Recurrent", "RecurrentConfig"]

Sequence = Float[Tensor, "batch pos d"]
States = list[State]


class RecurrentBlock(nn.Module):
    """One layer: a cell and, where the network is bidirectional, a second one that runs from the end.

    `hook_out [batch, pos, d]` is what it hands up: the hidden states, the second cell's beside the first's.
    """

    def __init__(self, cfg: RecurrentConfig, d_in: int) -> None:
        super().__init__()
        self.rnn = cfg.make_cell(d_in)
        self.rnn_reverse = cfg.make_cell(d_in) if cfg.bidirectional else None
        self.hook_out = HookPoint()

    def forward(
        self, x: Sequence, state: State | None, mask: Tensor | None
    ) -> tuple[Float[Tensor, "batch pos d_up"], State]:
        """What the layer hands up, and its forward cell's last state."""
        hidden, last = self.rnn(x, state)
        if self.rnn_reverse is not None:
            backward, _ = self.rnn_reverse(x, reverse=True, mask=mask)
            hidden = torch.cat([hidden, backward], -1)
        return self.hook_out(hidden), last


class Recurrent(TextMethods, Generation, HookedModel):
    """A recurrent network over tokens or vectors, read out linearly at every step.

    Hooks: `hook_embed [batch, pos, d_model]` where the input is tokens; `blocks.L.rnn.hook_h` and those of the cell's
    gates, which fire once a step with `[batch, 1, d_model]` and are cached as `[batch, pos, d_model]`;
    `blocks.L.rnn_reverse.…` where it is bidirectional; `blocks.L.hook_out`. A hook that nobody uses costs nothing: a
    layer runs fused until a hook inside its cell is attached.
    """

    tokenizer: Tokenizer | None

    def __init__(self, cfg: RecurrentConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.tokenizer = None
        if cfg.d_vocab is not None:
            self.embed = Embedding(cfg.d_vocab, cfg.d_model)
            self.hook_embed = HookPoint()
        widths = [cfg.d_in or cfg.d_model] + [cfg.d_hidden_out] * (cfg.n_layers - 1)
        self.blocks = nn.ModuleList(RecurrentBlock(cfg, width) for width in widths)
        self.unembed = ReadOut(cfg.d_hidden_out, cfg.d_out or 0)
        self.init_weights(cfg.seed)
        self.to(device=cfg.device, dtype=cfg.dtype)
        self.setup()

    def forward(
        self,
        input: Tensor | str | list[str],
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        stop_at_layer: int | None = None,
        mask: Bool[Tensor, "batch pos"] | None = None,
        targets: Tensor | None = None,
        states: States | None = None,
    ) -> Any:
        """Run the model.

        Args:
            input: token ids `[batch, pos]` or `[pos]`, which start with BOS, or text, to which BOS is added; vectors
                `[batch, pos, d_in]` where the model takes those.
            return_type: `"logits"`: `[batch, pos, d_out]`. `"loss"`: mean cross-entropy, in nats, or mean squared error
                where targets are vectors. `"both"`: the pair. None: nothing, for those who only want the hooks.
            loss_per_token: the loss as `[batch, pos − 1]`, or `[batch, pos]` where there are targets.
            stop_at_layer: return the sequence `[batch, pos, d]` that enters this layer; −1 is the last.
            mask: True where a position is real; padding must be at the end of a row.
            targets: classes `[batch, pos]`, −100 where nothing is asked, or vectors `[batch, pos, d_out]`; the next
                token where there are none.
            states: each layer's state before the first step, as `run_steps` gives them; zeros where it is None.

        Raises:
            ValueError: the input is empty, too long, of the wrong kind, outside the vocabulary, NaN or infinite;
                mask or targets do not fit it; a bidirectional network is asked for a next token, which it sees, or
                given states.
        """
        x, mask, asked = self._begin(input, return_type, stop_at_layer, mask, targets)
        if states is not None and self.cfg.bidirectional:
            raise ValueError("a bidirectional network has no state that a sequence could go on from.")
        hidden, _ = self._run(x, states, mask, stop_at_layer)
        if stop_at_layer is not None:
            return hidden
        return self.unembed.returned(hidden, asked, return_type, loss_per_token, targets is not None)

    def run_steps(self, input: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Go on from `states`: the output `[batch, pos, d_out]` of the given steps, and the states after the last.

        Raises:
            ValueError: the network is bidirectional, or the input does not fit it.
        """
        if self.cfg.bidirectional:
            raise ValueError("a bidirectional network cannot go on step by step: it reads the end first.")
        x, mask, _ = self._begin(input, "logits", None, None, None)
        hidden, states = self._run(x, states, mask, None)
        return self.unembed(hidden), states

    def _begin(
        self,
        input: Tensor | str | list[str],
        return_type: str | None,
        stop_at_layer: int | None,
        mask: Tensor | None,
        targets: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The checked input, its mask, and what the output is compared with."""
        cfg = self.cfg
        if stop_at_layer is not None and abs(stop_at_layer) > cfg.n_layers:
            raise ValueError(f"stop_at_layer is {stop_at_layer}, but this model has {cfg.n_layers} layers.")
        input, mask = self.read_input(input, mask)
        if cfg.d_in is not None:
            input = checked_vectors(input, cfg.d_in, cfg.n_ctx, cfg.device, cfg.dtype)
        else:
            input = checked_tokens(input, cfg.d_vocab, cfg.n_ctx, cfg.device)
        mask = checked_mask(mask, input.shape[:2])
        asked = None
        if stop_at_layer is None:
            if cfg.bidirectional and targets is None and return_type in ("loss", "both"):
                raise ValueError("a bidirectional network sees the next token: give it targets.")
            asked = asked_for(input, mask, targets, return_type, cfg.d_out)
        x = input if cfg.d_in is not None else self.hook_embed(self.embed(input))
        return x, None if mask is None else mask.to(cfg.device), asked

    def _run(
        self, x: Sequence, states: States | None, mask: Tensor | None, stop_at_layer: int | None
    ) -> tuple[Float[Tensor, "batch pos d_up"], States]:
        after: States = []
        for layer, block in enumerate(self.blocks[:stop_at_layer]):
            x, state = block(x, None if states is None else states[layer], mask)
            after.append(state)
        return x, after
