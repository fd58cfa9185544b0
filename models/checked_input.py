"""Input that is checked once, at the door: one plain sentence for each thing that can be wrong with it."""

import operator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def whole_number(value: Any, name: str, least: int = 0) -> int:
    """A number of things, or a seed.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is smaller than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: it must be a whole number.") from None
    if number < least:
        raise ValueError(f"{name} is {number}: it must be at least {least}.")
    return number


def checked_tokens(
    tokens: Tensor, d_vocab: int, n_ctx: int | None, device: Any, what: str = "tokens"
) -> Int[Tensor, "batch pos"]:
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


def checked_vectors(
    values: Tensor, d_in: int, n_ctx: int | None, device: Any, dtype: torch.dtype
) -> Float[Tensor, "batch pos d_in"]:
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


def checked_mask(mask: Tensor | None, shape: torch.Size, name: str = "the mask") -> Bool[Tensor, "batch pos"] | None:
    """Which positions are real, if that is said.

    Raises:
        ValueError: it is not Boolean, not of the input's `shape`, or padding stands elsewhere than at the end of a row
            (looked at where that does not stop a GPU's queue).
    """
    if mask is None:
        return None
    if mask.shape != shape or mask.dtype != torch.bool:
        raise ValueError(f"{name} must be bool {list(shape)}, not {mask.dtype} {list(mask.shape)}.")
    if mask.device.type == "cpu" and (not mask[:, 0].all() or (mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError(f"{name} must be True from a row's first position on: padding stands only at the end.")
    return mask


def as_rows(tokens: Tensor) -> Tensor:
    """One sequence `[pos]` as a batch of one."""
    return tokens[None] if tokens.ndim == 1 else tokens
