"""What subjects have in common at both ends: weights that read and write, and what a call returns."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from models.checked_input import checked_mask
from models.loss import IGNORED, mean_loss, next_tokens, token_losses, unembedded_loss

RETURN_TYPES = ("logits", "loss", "both", None)


class Embedding(nn.Module):
    """Token embedding, `W_E [d_vocab, d_model]`, standard normal."""

    def __init__(self, d_vocab: int, d_model: int) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(d_vocab, d_model))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.W_E, generator=generator)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        return F.embedding(tokens, self.W_E)


class ReadOut(nn.Module):
    """A linear read-out, `W_U [d_model, d_out]`, `b_U [d_out]`, uniform within ±1/√d_model."""

    def __init__(self, d_model: int, d_out: int) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(d_model, d_out))
        self.b_U = nn.Parameter(torch.empty(d_out))

    def reset_parameters(self, generator: Generator | None = None) -> None:
        bound = self.W_U.shape[0] ** -0.5
        for weight in (self.W_U, self.b_U):
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def forward(self, hidden: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_out"]:
        return F.linear(hidden, self.W_U.T, self.b_U)

    def returned(
        self, hidden: Tensor, targets: Tensor | None, return_type: str | None, loss_per_token: bool, given: bool
    ) -> Any:
        """What a subject's `forward` returns: the output, the loss, both, or None.

        Where targets were not `given` they are the next tokens: the last position predicts none and is left out.
        """
        if return_type is None:
            return None
        if targets is None:
            return self(hidden)
        if not targets.is_floating_point() and return_type == "loss" and not loss_per_token:
            return unembedded_loss(hidden, self.W_U, self.b_U, targets)
        output = self(hidden)
        if targets.is_floating_point():
            loss = squared_error(output, targets, loss_per_token)
        else:
            loss = token_losses(output, targets) if loss_per_token else mean_loss(output, targets)
            loss = loss[:, :-1] if loss_per_token and not given else loss
        return loss if return_type == "loss" else (output, loss)


def squared_error(
    output: Float[Tensor, "batch pos d_out"], targets: Float[Tensor, "batch pos d_out"], per_position: bool = False
) -> Float[Tensor, "*batch_pos"]:
    """Mean squared error; positions whose target is NaN, where nothing is asked, do not count."""
    asked = ~targets.isnan().any(-1)
    error = (output - targets.nan_to_num()).square().mean(-1) * asked
    return error if per_position else error.sum() / asked.sum()


def asked_for(
    input: Tensor, mask: Tensor | None, targets: Tensor | None, return_type: str | None, d_out: int
) -> Tensor | None:
    """What the positions are compared with: `targets`, or the next tokens; None where no loss is asked for.

    Raises:
        ValueError: the return type is unknown; the mask does not fit the input; the targets do not fit the input or the
            output; or there is nothing to predict.
    """
    if return_type not in RETURN_TYPES:
        raise ValueError(f"return_type {return_type!r} is unknown: there are logits, loss, both and None.")
    checked_mask(mask, input.shape[:2])
    if return_type not in ("loss", "both"):
        return None
    if targets is None:
        if input.is_floating_point():
            raise ValueError("a loss needs targets where the input is vectors: there is no next token.")
        return next_tokens(input, mask)
    if targets.is_floating_point():
        if targets.shape != (*input.shape[:2], d_out):
            raise ValueError(f"targets are {list(targets.shape)}, but the output is {[*input.shape[:2], d_out]}.")
        targets = targets if mask is None else targets.masked_fill(~mask.to(targets.device)[..., None], torch.nan)
        if targets.device.type == "cpu" and targets.isnan().any(-1).all():
            raise ValueError("the targets ask nothing at any position.")
        return targets.to(input.device)
    if targets.shape != input.shape[:2]:
        raise ValueError(f"targets are {list(targets.shape)}, but the input has positions {list(input.shape[:2])}.")
    if mask is not None:
        targets = targets.masked_fill(~mask.to(targets.device), IGNORED)
    if targets.device.type == "cpu":
        low, high = (int(bound) for bound in targets.aminmax())
        if high >= d_out or (low < 0 and low != IGNORED):
            raise ValueError(f"targets run from {low} to {high}, but there are {d_out} classes, 0 to {d_out - 1}.")
        if high < 0:
            raise ValueError("the targets ask nothing at any position.")
    return targets.to(input.device)
