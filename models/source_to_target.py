"""`SourceToTarget`: what encoder–decoders have in common, whatever they are made of."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.checked_input import as_rows, checked_tokens
from models.generation import go_on, make_pick
from models.hooks import HookedModel
from models.lens_contract import BOS
from models.readout import asked_for


class SourceToTarget(HookedModel):
    """A subject that reads a source and says a target, token by token.

    A subclass gives `encode`, `decode` and `position_axis`, an `unembed` that is a `ReadOut`, and a `cfg` with
    `d_vocab`, `d_vocab_source`, `n_ctx` and `device`.
    """

    unembed: Any

    @abstractmethod
    def encode(self, source: Tensor, source_mask: Bool[Tensor, "batch source"] | None = None) -> Any:
        """What the decoder goes on from before its first step. `ValueError` if the source does not fit the model."""

    @abstractmethod
    def decode(self, tokens: Int[Tensor, "batch new"], state: Any) -> tuple[Float[Tensor, "batch new d_model"], Any]:
        """What is read out at the given target tokens, and the state after the last."""

    @abstractmethod
    def position_axis(self, hook_name: str) -> str:
        """What the positions of a hook's value count: those of the `source` or of the `target`.

        Raises:
            ValueError: no hook has that name.
        """

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
        tokens = checked_tokens(as_rows(input), self.cfg.d_vocab, self.cfg.n_ctx, self.cfg.device)
        source = as_rows(source)
        if len(tokens) != len(source):
            raise ValueError(f"there are {len(tokens)} targets, but {len(source)} sources: each needs the other.")
        asked = asked_for(tokens, mask, targets, return_type, self.cfg.d_vocab)
        hidden, _ = self.decode(tokens, self.encode(source, source_mask))
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

        The source is read once, and each new position of the target once. Hooks stay at work: those of the decoder
        fire for one position at a time, whose number they find in `hook.ctx["offset"]`; `at_pos` and `replace_at` know
        of it.

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
        source = as_rows(source)
        start = source.new_full((len(source), 1), BOS, device=cfg.device)
        pick = make_pick(0.0, None, None, 0)
        state = self.encode(source, source_mask)
        return go_on(self, start, torch.ones_like(start[:, 0]), 1 + max_new, max_new, pick, eos, state)[0]

    def run_steps(self, input: Tensor, state: Any) -> tuple[Float[Tensor, "batch new d_vocab"], Any]:
        """Go on from `state`: the logits at the given target tokens `[batch, new]`, and the state after them."""
        hidden, state = self.decode(checked_tokens(input, self.cfg.d_vocab, None, self.cfg.device), state)
        return self.unembed(hidden), state
