"""What subjects have in common at both ends: weights that read and write, and what a call returns."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

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
        ValueError: the return type is unknown; the targets do not fit the input or the output; or there is nothing
            to predict.
    """
    if return_type not in RETURN_TYPES:
        raise ValueError(f"return_type {return_type!r} is unknown: there are logits, loss, both and None.")
    if return_type not in ("loss", "both"):
        return None
    if targets is None:
        if input.is_floating_point():
            raise ValueError("a loss needs targets where the input is vectors: there is no next token.")
        return next_tokens(input, None if mask is None else mask.to(input.device))
    targets = targets.to(input.device)
    if targets.is_floating_point():
        if targets.shape != (*input.shape[:2], d_out):
            raise ValueError(f"targets are {list(targets.shape)}, but the output is {[*input.shape[:2], d_out]}.")
        return targets if mask is None else targets.masked_fill(~mask.to(targets.device)[..., None], torch.nan)
    if targets.shape != input.shape[:2]:
        raise ValueError(f"targets are {list(targets.shape)}, but the input has positions {list(input.shape[:2])}.")
    if targets.device.type == "cpu":
        low, high = (int(bound) for bound in targets.aminmax())
        if high >= d_out or (low < 0 and low != IGNORED):
            raise ValueError(f"targets run from {low} to {high}, but there are {d_out} classes, 0 to {d_out - 1}.")
        if high < 0:
            raise ValueError("the targets ask nothing at any position.")
    return targets


def checked_tokens(tokens: Tensor, d_vocab: int, n_ctx: int | None, device: Any, what: str = "tokens") -> Tensor:
    """Token ids `[batch, pos]` on the model's device; ids are checked where that does not stop a GPU's queue.

    Raises:
        ValueError: they are not integers `[batch, pos]`, there are none, too many, or some outside the vocabulary.
    """
    if tokens.ndim != 2 or tokens.is_floating_point():
        raise ValueError(f"{what} must be integers [batch, pos], not {tokens.dtype} {list(tokens.shape)}.")
    if tokens.numel() == 0:
        raise ValueError(f"the input has no {what}.")
    if n_ctx is not None and tokens.shape[1] > n_ctx:
        raise ValueError(f"{tokens.shape[1]} {what} are more than the {n_ctx} that this model can see.")
    if tokens.device.type == "cpu":
        low, high = (int(bound) for bound in tokens.aminmax())
        if low < 0 or high >= d_vocab:
            raise ValueError(f"ids of {what} run from {low} to {high}, but the vocabulary is 0 to {d_vocab - 1}.")
    return tokens.to(device)


def checked_vectors(values: Tensor, d_in: int, n_ctx: int | None, device: Any, dtype: torch.dtype) -> Tensor:
    """Continuous input `[batch, pos, d_in]` on the model's device.

    Raises:
        ValueError: its shape does not fit, it is empty or too long, or holds NaN or infinite values.
    """
    if values.ndim != 3 or values.shape[-1] != d_in or not values.is_floating_point():
        raise ValueError(f"the input must be numbers [batch, pos, {d_in}], not {values.dtype} {list(values.shape)}.")
    if values.numel() == 0:
        raise ValueError("the input is empty.")
    if n_ctx is not None and values.shape[1] > n_ctx:
        raise ValueError(f"{values.shape[1]} steps are more than the {n_ctx} that this model can see.")
    if values.device.type == "cpu" and not torch.isfinite(values).all():
        raise ValueError("the input holds NaN or infinite values: leave them out, or fill them in.")
    return values.to(device=device, dtype=dtype)
