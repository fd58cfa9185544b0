"""Sparse codes, and the products that touch only their active latents.

With k of d_sae latents active, everything after the selection costs k/d_sae of its dense counterpart:
decoding sums k rows of a matrix (`embedding_bag`); a weight's gradient is sparseᵀ × dense, which is the same
sum once the codes are sorted by latent; and the gradient of the values is a product sampled at the active
places. Where the codes are not sparse (dead latents sharing a residual), a dense product is the faster way to
the same numbers.
"""

import warnings
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Summing rows one by one runs at about a fifth of a matrix product's rate.
DENSE_ABOVE = 0.2
# Pre-activations are made and searched in chunks that stay in the cache.
CHUNK_BYTES = 4 << 20
MIN_CHUNK_ROWS = 256

# `sampled_addmm` wants compressed rows, whose interface PyTorch announces as young the first time one is made.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


class TopKCodes(NamedTuple):
    """The active latents of n rows, k places a row; a place holds zero where fewer than k are positive."""

    values: Float[Tensor, "n k"]
    """How strongly each latent is active; never negative."""
    indices: Int[Tensor, "n k"]
    """Which latents they are, in no particular order."""

    def to_dense(self, d_sae: int) -> Float[Tensor, "n d_sae"]:
        """The same codes with every inactive latent written out as zero."""
        dense = self.values.new_zeros(self.values.shape[0], d_sae)
        return dense.scatter(1, self.indices, self.values)

    def l0(self) -> Int[Tensor, " n"]:
        """How many latents are active in each row."""
        return (self.values > 0).sum(1)

    def fire_counts(self, d_sae: int) -> Float[Tensor, " d_sae"]:
        """In how many of the rows each latent is active (whole numbers)."""
        fired = (self.values > 0).flatten().float()
        return torch.bincount(self.indices.flatten(), weights=fired, minlength=d_sae)


class ReconstructionError(NamedTuple):
    """How far a reconstruction is from its target."""

    total: Float[Tensor, ""]
    """Σ ‖target − reconstruction‖² over all rows; differentiable."""
    residual: Float[Tensor, "n d"]
    """target − reconstruction; carries no gradient."""


def encode_topk(
    x: Float[Tensor, "n d"],
    W_enc: Float[Tensor, "d latent"],
    b_enc: Float[Tensor, " latent"],
    b_dec: Float[Tensor, " d"],
    k: int,
) -> TopKCodes:
    """ReLU of the k largest entries of each row of `(x − b_dec) @ W_enc + b_enc`; differentiable once."""
    return TopKCodes(*_EncodeTopK.apply(x, W_enc, b_enc, b_dec, k))


def decode_sparse(codes: TopKCodes, W_dec: Float[Tensor, "latent d"]) -> Float[Tensor, "n d"]:
    """`codes @ W_dec`, differentiable once in the values and in `W_dec`."""
    return _DecodeSparse.apply(codes.values, codes.indices, W_dec)


def reconstruction_error(
    target: Float[Tensor, "n d"],
    codes: TopKCodes,
    W_dec: Float[Tensor, "latent d"],
    b_dec: Float[Tensor, " d"],
) -> ReconstructionError:
    """The squared error of `codes @ W_dec + b_dec`; differentiable once in the values, `W_dec` and `b_dec`.

    One step where PyTorch's own operations would take five, each with a matrix of rows to allocate.
    """
    return ReconstructionError(*_ReconstructionError.apply(target, codes.values, codes.indices, W_dec, b_dec))


class _EncodeTopK(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, k: int) -> tuple[Tensor, Tensor]:
        centred = x - b_dec
        values, indices = _select(centred, W_enc, b_enc, k)
        values.relu_()
        ctx.save_for_backward(centred, W_enc, values, indices)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        centred, W_enc, values, indices = ctx.saved_tensors
        wants_x, wants_W, _, wants_b_dec, _ = ctx.needs_input_grad
        grad = torch.where(values > 0, grad_values, 0)
        grad_b_enc = grad.new_zeros(W_enc.shape[1]).index_add_(0, indices.flatten(), grad.flatten())
        return (
            rows_by_codes(grad, indices, W_enc.T) if wants_x else None,
            rows_by_latent(grad, indices, centred, W_enc.shape[1]).T if wants_W else None,
            grad_b_enc,
            -(W_enc @ grad_b_enc) if wants_b_dec else None,
            None,
        )


class _DecodeSparse(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
        ctx.save_for_backward(values, indices, W_dec)
        return rows_by_codes(values, indices, W_dec)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, indices, W_dec = ctx.saved_tensors
        wants_values, _, wants_W = ctx.needs_input_grad
        grad = grad.contiguous()
        return (
            sampled_product(grad, W_dec, indices) if wants_values else None,
            None,
            rows_by_latent(values, indices, grad, W_dec.shape[0]) if wants_W else None,
        )


class _ReconstructionError(Function):
    @staticmethod
    def forward(
        ctx: Any, target: Tensor, values: Tensor, indices: Tensor, W_dec: Tensor, b_dec: Tensor
    ) -> tuple[Tensor, Tensor]:
        residual = rows_by_codes(values, indices, W_dec).add_(b_dec).sub_(target).neg_()
        ctx.save_for_backward(residual, values, indices, W_dec)
        ctx.mark_non_differentiable(residual)
        return torch.linalg.vector_norm(residual).square(), residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        residual, values, indices, W_dec = ctx.saved_tensors
        wants_target, wants_values, _, wants_W, wants_b = ctx.needs_input_grad
        slope = -2 * grad
        return (
            -slope * residual if wants_target else None,
            slope * sampled_product(residual, W_dec, indices) if wants_values else None,
            None,
            rows_by_latent(slope * values, indices, residual, W_dec.shape[0]) if wants_W else None,
            slope * residual.sum(0) if wants_b else None,
        )


def _select(centred: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest pre-activations of each row and their places; the dense rows are never all in memory."""
    n, n_latents = centred.shape[0], W_enc.shape[1]
    chunk = max(MIN_CHUNK_ROWS, CHUNK_BYTES // (n_latents * centred.element_size()))
    values, indices = centred.new_empty(n, k), centred.new_empty(n, k, dtype=torch.int64)
    room = centred.new_empty(min(chunk, n), n_latents)
    for start in range(0, n, chunk):
        rows = slice(start, min(start + chunk, n))
        pre = torch.addmm(b_enc, centred[rows], W_enc, out=room[: rows.stop - rows.start])
        torch.topk(pre, k, dim=1, sorted=False, out=(values[rows], indices[rows]))
    return values, indices


def rows_by_codes(
    values: Float[Tensor, "n k"], indices: Int[Tensor, "n k"], W: Float[Tensor, "latent d"]
) -> Float[Tensor, "n d"]:
    """codes @ W."""
    if values.shape[1] > DENSE_ABOVE * W.shape[0]:
        return TopKCodes(values, indices).to_dense(W.shape[0]) @ W
    return F.embedding_bag(indices, W.contiguous(), per_sample_weights=values.contiguous(), mode="sum")


def rows_by_latent(
    values: Float[Tensor, "n k"], indices: Int[Tensor, "n k"], dense: Float[Tensor, "n d"], n_latents: int
) -> Float[Tensor, "latent d"]:
    """codesᵀ @ dense."""
    k = values.shape[1]
    if k > DENSE_ABOVE * n_latents:
        return TopKCodes(values, indices).to_dense(n_latents).T @ dense
    latent, order = torch.sort(indices.flatten(), stable=True)
    counts = torch.bincount(latent, minlength=n_latents)
    starts = counts.cumsum(0) - counts
    return F.embedding_bag(order // k, dense, starts, per_sample_weights=values.flatten()[order], mode="sum")


def sampled_product(
    grad: Float[Tensor, "n d"], W: Float[Tensor, "latent d"], indices: Int[Tensor, "n k"]
) -> Float[Tensor, "n k"]:
    """The entries of grad @ Wᵀ at the active places."""
    (n, k), n_latents = indices.shape, W.shape[0]
    if k > DENSE_ABOVE * n_latents:
        return (grad @ W.T).gather(1, indices)
    row_starts = torch.arange(0, n * k + 1, k, device=grad.device)
    places = torch.sparse_csr_tensor(
        row_starts, indices.flatten(), grad.new_zeros(n * k), (n, n_latents), check_invariants=False
    )
    return torch.sparse.sampled_addmm(places, grad, W.T, beta=0.0).values().view(n, k)
