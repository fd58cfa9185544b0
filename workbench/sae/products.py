"""The products that touch only the active latents of sparse codes.

With k of d_sae latents active, everything after the selection costs k/d_sae of its dense counterpart: decoding sums
rows of a matrix (`embedding_bag`); a weight's gradient is sparseᵀ × dense, which is the same sum once the entries are
sorted by latent; and the gradient of the values is a product sampled at the active places. Where the codes are not
sparse (dead latents sharing a residual, an L1 dictionary at its start), a dense product is the faster way to the same
numbers.
"""

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.sae.codes import Codes, TopKCodes

# Summing rows one by one runs at about a fifth of a matrix product's rate.
DENSE_ABOVE = 0.2

# `sampled_addmm` wants compressed rows, whose interface PyTorch announces as young the first time one is made.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


def rows_by_codes(codes: Codes, W: Float[Tensor, "latent d"]) -> Float[Tensor, "n d"]:
    """codes @ W."""
    if _is_dense(codes, W.shape[0]):
        return codes.to_dense(W.shape[0]) @ W
    return F.embedding_bag(
        codes.indices.flatten(),
        W.contiguous(),
        codes.row_starts,
        per_sample_weights=codes.values.flatten(),
        mode="sum",
        include_last_offset=True,
    )


def rows_by_latent(codes: Codes, dense: Float[Tensor, "n d"], n_latents: int) -> Float[Tensor, "latent d"]:
    """codesᵀ @ dense."""
    if _is_dense(codes, n_latents):
        return codes.to_dense(n_latents).T @ dense
    latents = codes.indices.flatten()
    # Narrow numbers are sorted three times as fast.
    order = torch.sort(latents.to(torch.int16 if n_latents <= 1 << 15 else torch.int32), stable=True).indices
    counts = torch.bincount(latents, minlength=n_latents)
    starts = counts.cumsum(0) - counts
    rows = order // codes.indices.shape[1] if isinstance(codes, TopKCodes) else codes.rows.index_select(0, order)
    values = codes.values.flatten().index_select(0, order)
    return F.embedding_bag(rows, dense, starts, per_sample_weights=values, mode="sum")


def sampled_product(
    left: Float[Tensor, "n d"], W: Float[Tensor, "latent d"], codes: Codes
) -> Float[Tensor, "n k"] | Float[Tensor, " entries"]:
    """The entries of left @ Wᵀ at the places of the codes, in the shape of their values."""
    n_latents = W.shape[0]
    if _is_dense(codes, n_latents):
        product = left @ W.T
        if isinstance(codes, TopKCodes):
            return product.gather(1, codes.indices)
        return product[codes.rows, codes.indices]
    places = torch.sparse_csr_tensor(
        codes.row_starts,
        codes.indices.flatten(),
        left.new_zeros(codes.indices.numel()),
        (len(left), n_latents),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(places, left, W.T, beta=0.0).values().view(codes.values.shape)


def summed_by_latent(codes: Codes, n_latents: int) -> Float[Tensor, " latent"]:
    """The sum of each latent's values over all rows."""
    return codes.values.new_zeros(n_latents).index_add_(0, codes.indices.flatten(), codes.values.flatten())


def _is_dense(codes: Codes, n_latents: int) -> bool:
    n = len(codes.row_starts) - 1
    return codes.indices.numel() > DENSE_ABOVE * n * n_latents
