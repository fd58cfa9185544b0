"""Next-token cross-entropy."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.checked_input import checked_mask

IGNORED = -100
# Logits held at once: on a CPU 16 MB of them, which fit a last-level cache, on a GPU about half a gigabyte.
_CPU_CHUNK, _GPU_CHUNK = 1 << 22, 1 << 27


def next_tokens(tokens: Int[Tensor, "batch pos"], mask: Tensor | None = None) -> Int[Tensor, "batch pos"]:
    """What each position should predict; `IGNORED` at the last one and wherever the next is not a real token.

    Raises:
        ValueError: there is nothing to predict.
    """
    if tokens.shape[1] < 2:
        raise ValueError("a loss needs at least two tokens in a sequence: the last one predicts nothing.")
    targets = F.pad(tokens[:, 1:], (0, 1), value=IGNORED)
    if mask is None:
        return targets
    checked_mask(mask, tokens.shape)
    if mask.device.type == "cpu" and not mask[:, 1:].any():
        raise ValueError("the mask leaves no real token to predict.")
    return targets.masked_fill(~F.pad(mask[:, 1:], (0, 1)).to(tokens.device), IGNORED)


def token_losses(
    logits: Float[Tensor, "batch pos d_vocab"], targets: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Cross-entropy of each position, in nats; 0 where nothing is predicted."""
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return loss.view(targets.shape)


def mean_loss(logits: Float[Tensor, "batch pos d_vocab"], targets: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over the positions that predict something, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def unembedded_loss(
    resid: Float[Tensor, "batch pos d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    b_U: Float[Tensor, " d_vocab"],
    targets: Int[Tensor, "batch pos"],
) -> Float[Tensor, ""]:
    """`mean_loss(resid W_U + b_U, targets)` without ever holding all the logits.

    Rows are taken a chunk at a time and their gradient is made while the chunk is in the cache, so that the largest
    tensors of a training step are never written to memory. Differentiable once.
    """
    return _UnembeddedLoss.apply(resid.flatten(0, 1), W_U, b_U, targets.flatten(), torch.is_grad_enabled())


class _UnembeddedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, targets: Tensor, grad: bool) -> Tensor:
        wants_x, wants_W, wants_b = (grad and wanted for wanted in ctx.needs_input_grad[:3])
        d_x = torch.empty_like(x) if wants_x else None
        d_W = torch.zeros_like(W) if wants_W else None
        d_b = torch.zeros_like(b) if wants_b else None
        real = targets != IGNORED
        weight = (real / real.sum()).to(x.dtype)
        index = targets.clamp(min=0)[:, None]
        loss = x.new_zeros(())
        rows = max(1, (_CPU_CHUNK if x.device.type == "cpu" else _GPU_CHUNK) // W.shape[1])
        for start in range(0, len(x), rows):
            chunk = slice(start, start + rows)
            log_p = torch.addmm(b, x[chunk], W).log_softmax(-1)
            loss -= log_p.gather(1, index[chunk])[:, 0] @ weight[chunk]
            if not (wants_x or wants_W or wants_b):
                continue
            # The gradient of the logits, softmax minus the target's indicator, takes the place of the logits. At the
            # target it is what all others have together, not p − 1, which has no digits left once p is nearly 1: a
            # subject that knows its data by heart would be thrown about by rounding. The rows' weights are put on the
            # narrower matrices that it is multiplied by.
            d_logits = log_p.exp_().scatter_(1, index[chunk], 0)
            d_logits.scatter_(1, index[chunk], -d_logits.sum(1, keepdim=True))
            if d_x is not None:
                torch.mm(d_logits, W.T, out=d_x[chunk])
            if d_W is not None:
                d_W.addmm_((x[chunk] * weight[chunk, None]).T, d_logits)
            if d_b is not None:
                d_b += weight[chunk] @ d_logits
        if d_x is not None:
            d_x *= weight[:, None]
        ctx.save_for_backward(d_x, d_W, d_b)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return *(None if d is None else d * d_loss for d in ctx.saved_tensors), None, None
