"""From codes to rows, and how far these are from what they should be; only active latents are touched."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from workbench.sae.codes import Codes, CSRCodes, TopKCodes
from workbench.sae.products import rows_by_codes, rows_by_latent, sampled_product


class ReconstructionError(NamedTuple):
    """How far a reconstruction is from its target."""

    total: Float[Tensor, ""]
    """Σ ‖target − reconstruction‖² over all rows; differentiable."""
    residual: Float[Tensor, "n d"]
    """target − reconstruction; carries no gradient."""
    squared: Float[Tensor, ""]
    """Σ ‖residual‖², where `total` may count more; carries no gradient."""


def decode_sparse(codes: Codes, W_dec: Float[Tensor, "latent d"]) -> Float[Tensor, "n d"]:
    """`codes @ W_dec`, differentiable once in the values and in `W_dec`."""
    return _DecodeSparse.apply(codes.values, codes.indices, _starts(codes), W_dec)


def reconstruction_error(
    target: Float[Tensor, "n d"],
    codes: Codes,
    W_dec: Float[Tensor, "latent d"],
    b_dec: Float[Tensor, " d"],
) -> ReconstructionError:
    """The squared error of `codes @ W_dec + b_dec`; differentiable once in target, values, `W_dec` and `b_dec`.

    One step where PyTorch's own operations would take five, each with a matrix of rows to allocate.
    """
    total, residual = _ReconstructionError.apply(target, codes.values, codes.indices, _starts(codes), W_dec, b_dec)
    return ReconstructionError(total, residual, total.detach())


def nested_reconstruction_error(
    target: Float[Tensor, "n d"],
    codes: CSRCodes,
    W_dec: Float[Tensor, "latent d"],
    b_dec: Float[Tensor, " d"],
    widths: Sequence[int],
) -> ReconstructionError:
    """The mean squared error of the reconstructions from the first `widths` latents; the residual is the last one's.

    Each reconstruction is the one before plus what the next latents add, so all cost as much as the last. The
    gradient of a value sums the residuals of the reconstructions that it is part of. A row of codes is read as one for
    each group of latents, and then everything is as it is for one reconstruction.
    """
    total, residual = _NestedError.apply(target, *codes, W_dec, b_dec, tuple(widths))
    return ReconstructionError(total, residual, torch.linalg.vector_norm(residual).square())


class _DecodeSparse(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, indices: Tensor, row_starts: Tensor | None, W_dec: Tensor) -> Tensor:
        ctx.save_for_backward(values, indices, row_starts, W_dec)
        return rows_by_codes(_codes(values, indices, row_starts), W_dec)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, indices, row_starts, W_dec = ctx.saved_tensors
        wants_values, _, _, wants_W = ctx.needs_input_grad
        codes = _codes(values, indices, row_starts)
        grad = grad.contiguous()
        return (
            sampled_product(grad, W_dec, codes) if wants_values else None,
            None,
            None,
            rows_by_latent(codes, grad, W_dec.shape[0]) if wants_W else None,
        )


class _ReconstructionError(Function):
    @staticmethod
    def forward(
        ctx: Any,
        target: Tensor,
        values: Tensor,
        indices: Tensor,
        row_starts: Tensor | None,
        W_dec: Tensor,
        b_dec: Tensor,
    ) -> tuple[Tensor, Tensor]:
        residual = rows_by_codes(_codes(values, indices, row_starts), W_dec).add_(b_dec).sub_(target).neg_()
        ctx.save_for_backward(residual, values, indices, row_starts, W_dec)
        ctx.mark_non_differentiable(residual)
        return torch.linalg.vector_norm(residual).square(), residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        residual, values, indices, row_starts, W_dec = ctx.saved_tensors
        wants_target, wants_values, _, _, wants_W, wants_b = ctx.needs_input_grad
        slope = -2 * grad
        codes = _codes(values, indices, row_starts)
        return (
            -slope * residual if wants_target else None,
            slope * sampled_product(residual, W_dec, codes) if wants_values else None,
            None,
            None,
            rows_by_latent(_codes(slope * values, indices, row_starts), residual, len(W_dec)) if wants_W else None,
            slope * residual.sum(0) if wants_b else None,
        )


class _NestedError(Function):
    @staticmethod
    def forward(
        ctx: Any,
        target: Tensor,
        values: Tensor,
        indices: Tensor,
        row_starts: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        widths: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        n, d = target.shape
        codes = _by_group(CSRCodes(values, indices, row_starts), widths)
        residuals = rows_by_codes(codes, W_dec).neg_().view(n, len(widths), d)
        residuals[:, 0] += target - b_dec
        for i in range(1, len(widths)):
            residuals[:, i] += residuals[:, i - 1]
        total, residual = torch.linalg.vector_norm(residuals).square(), residuals[:, -1].clone()
        for i in reversed(range(len(widths) - 1)):  # what a latent changes are the residuals from its own group on
            residuals[:, i] += residuals[:, i + 1]
        ctx.n_widths = len(widths)
        ctx.save_for_backward(*codes, W_dec, residuals)
        ctx.mark_non_differentiable(residual)
        return total / len(widths), residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        values, indices, starts, W_dec, sums = ctx.saved_tensors
        slope = -2 * grad / ctx.n_widths
        by_group, first = sums.flatten(0, 1), sums[:, 0]
        return (
            -slope * first if ctx.needs_input_grad[0] else None,
            slope * sampled_product(by_group, W_dec, CSRCodes(values, indices, starts)),
            None,
            None,
            rows_by_latent(CSRCodes(slope * values, indices, starts), by_group, len(W_dec)),
            slope * first.sum(0),
            None,
        )


def _by_group(codes: CSRCodes, widths: Sequence[int]) -> CSRCodes:
    """The same entries, with a row for each group of latents of each row: latents ascend, so none has to move."""
    group = torch.repeat_interleave(
        torch.arange(len(widths), device=codes.indices.device),
        torch.tensor([last - first for first, last in pairwise((0, *widths))], device=codes.indices.device),
    )
    n = len(codes.row_starts) - 1
    row = codes.rows * len(widths) + group.index_select(0, codes.indices)
    starts = torch.nn.functional.pad(torch.bincount(row, minlength=n * len(widths)).cumsum(0), (1, 0))
    return CSRCodes(codes.values, codes.indices, starts)


def _starts(codes: Codes) -> Tensor | None:
    """What `_codes` tells the two kinds of codes apart by."""
    return codes.row_starts if isinstance(codes, CSRCodes) else None


def _codes(values: Tensor, indices: Tensor, row_starts: Tensor | None) -> Codes:
    return TopKCodes(values, indices) if row_starts is None else CSRCodes(values, indices, row_starts)
