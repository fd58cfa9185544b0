"""From rows to codes: the one dense product, and the choice of latents; the dense result is never all in memory.

Each function here is differentiable once, in the rows and all weights, and its backward pass touches only the latents
that were chosen. The choice itself has no gradient.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from workbench.sae.codes import CSRCodes, TopKCodes
from workbench.sae.products import rows_by_codes, rows_by_latent, summed_by_latent
from workbench.sae.selection import above, largest_of_all, largest_of_rows, nth_largest

# Pre-activations are made and searched in chunks that stay in the cache.
CHUNK_BYTES = 16 << 20
MIN_CHUNK_ROWS = 256
# A batch's largest are looked for among about this many times as many.
CANDIDATES = 2.0
SAMPLED_ROWS = 64


def encode_topk(
    x: Float[Tensor, "n d"],
    W_enc: Float[Tensor, "d latent"],
    b_enc: Float[Tensor, " latent"],
    b_in: Float[Tensor, " d"],
    k: int,
    product: torch.dtype | None = None,
) -> TopKCodes:
    """ReLU of the k largest entries of each row of `(x − b_in) @ W_enc + b_enc`.

    `product` is the number format in which the rows are multiplied (bfloat16, say); the weights' own for None.
    """
    return TopKCodes(*_EncodeTopK.apply(x, W_enc, b_enc, b_in, k, product))


def encode_above(
    x: Float[Tensor, "n d"],
    W_enc: Float[Tensor, "d latent"],
    b_enc: Float[Tensor, " latent"],
    b_in: Float[Tensor, " d"],
    bar: Float[Tensor, " latent"] | float,
    product: torch.dtype | None = None,
) -> CSRCodes:
    """The entries of `(x − b_in) @ W_enc + b_enc` that lie above `bar`, as they are."""
    return CSRCodes(*_EncodeChosen.apply(x, W_enc, b_enc, b_in, partial(_all_above, bar=bar, product=product)))


def encode_largest(
    x: Float[Tensor, "n d"],
    W_enc: Float[Tensor, "d latent"],
    b_enc: Float[Tensor, " latent"],
    b_in: Float[Tensor, " d"],
    n_largest: int,
    product: torch.dtype | None = None,
) -> CSRCodes:
    """The `n_largest` positive entries of all of `(x − b_in) @ W_enc + b_enc`, or as many as are positive."""
    choose = partial(_all_largest, n_largest=n_largest, product=product)
    return CSRCodes(*_EncodeChosen.apply(x, W_enc, b_enc, b_in, choose))


def pre_activations(
    centred: Float[Tensor, "n d"],
    W_enc: Float[Tensor, "d latent"],
    b_enc: Float[Tensor, " latent"],
    product: torch.dtype | None = None,
) -> Iterator[Float[Tensor, "rows latent"]]:
    """`centred @ W_enc + b_enc`, some rows after the other; each chunk lies where the last one did."""
    n, n_latents = centred.shape[0], W_enc.shape[1]
    chunk = max(MIN_CHUNK_ROWS, CHUNK_BYTES // (n_latents * centred.element_size()))
    room = centred.new_empty(min(chunk, n), n_latents)
    narrow = product is not None and product != centred.dtype
    if narrow:
        centred, W_enc = centred.to(product), W_enc.to(product)
    for start in range(0, n, chunk):
        rows = centred[start : start + chunk]
        pre = room[: len(rows)]
        if narrow:
            yield torch.add(rows @ W_enc, b_enc, out=pre)
        else:
            yield torch.addmm(b_enc, rows, W_enc, out=pre)


def _all_above(
    centred: Tensor, W_enc: Tensor, b_enc: Tensor, bar: Tensor | float, product: torch.dtype | None
) -> CSRCodes:
    return _joined([CSRCodes(*above(pre, bar)) for pre in pre_activations(centred, W_enc, b_enc, product)])


def _all_largest(
    centred: Tensor, W_enc: Tensor, b_enc: Tensor, n_largest: int, product: torch.dtype | None
) -> CSRCodes:
    bar = _low_bar(centred, W_enc, b_enc, n_largest / len(centred))
    found = _all_above(centred, W_enc, b_enc, bar, product)
    if len(found.values) < n_largest and bar > 0:  # the sample was not like the rest
        found = _all_above(centred, W_enc, b_enc, 0.0, product)
    return _largest(found, n_largest)


class _EncodeTopK(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, b_in: Tensor, k: int, product: torch.dtype | None
    ) -> tuple[Tensor, Tensor]:
        centred = x - b_in
        n = len(centred)
        values, indices = centred.new_empty(n, k), centred.new_empty(n, k, dtype=torch.int64)
        start = 0
        for pre in pre_activations(centred, W_enc, b_enc, product):
            rows = slice(start, start + len(pre))
            values[rows], indices[rows] = largest_of_rows(pre, k)
            start = rows.stop
        values.relu_()
        ctx.save_for_backward(centred, W_enc, values, indices)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        centred, W_enc, values, indices = ctx.saved_tensors
        grad = TopKCodes(torch.where(values > 0, grad_values, 0), indices)
        return *_encoder_gradients(ctx.needs_input_grad, grad, centred, W_enc), None, None


class _EncodeChosen(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        b_in: Tensor,
        choose: Callable[[Tensor, Tensor, Tensor], CSRCodes],
    ) -> tuple[Tensor, Tensor, Tensor]:
        centred = x - b_in
        values, indices, row_starts = choose(centred, W_enc, b_enc)
        ctx.save_for_backward(centred, W_enc, indices, row_starts)
        ctx.mark_non_differentiable(indices, row_starts)
        return values, indices, row_starts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, W_enc, indices, row_starts = ctx.saved_tensors
        grad = CSRCodes(grad_values.contiguous(), indices, row_starts)
        return *_encoder_gradients(ctx.needs_input_grad, grad, centred, W_enc), None


def _encoder_gradients(
    wanted: tuple[bool, ...], grad: TopKCodes | CSRCodes, centred: Tensor, W_enc: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of rows, W_enc, b_enc and b_in from those of the chosen pre-activations."""
    wants_x, wants_W, _, wants_b_in, *_ = wanted
    by_latent = summed_by_latent(grad, W_enc.shape[1])
    return (
        rows_by_codes(grad, W_enc.T) if wants_x else None,
        rows_by_latent(grad, centred, W_enc.shape[1]).T if wants_W else None,
        by_latent,
        -(W_enc @ by_latent) if wants_b_in else None,
    )


def _joined(parts: list[CSRCodes]) -> CSRCodes:
    """The codes of one chunk of rows after the other."""
    if len(parts) == 1:
        return parts[0]
    counts = torch.cat([part.row_starts.diff() for part in parts])
    return CSRCodes(
        torch.cat([part.values for part in parts]),
        torch.cat([part.indices for part in parts]),
        torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
    )


def _low_bar(centred: Tensor, W_enc: Tensor, b_enc: Tensor, per_row: float) -> float:
    """A bar that about `CANDIDATES` times the wanted number of entries pass, from rows spread over the batch."""
    sample = centred[:: max(1, len(centred) // SAMPLED_ROWS)]
    pre = torch.addmm(b_enc, sample, W_enc).flatten()
    n = min(len(pre), max(1, round(CANDIDATES * per_row * len(sample))))
    return max(0.0, nth_largest(pre, n))


def _largest(codes: CSRCodes, n: int) -> CSRCodes:
    """The n largest entries; of equal ones the first."""
    if len(codes.values) <= n:
        return codes
    kept = largest_of_all(codes.values, n)
    starts = torch.searchsorted(kept, codes.row_starts)
    return CSRCodes(codes.values.index_select(0, kept), codes.indices.index_select(0, kept), starts)
