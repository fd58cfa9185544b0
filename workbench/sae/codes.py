"""Sparse codes: which latents are active in each row, and how strongly.

`TopKCodes` has as many places in every row; `CSRCodes` as many as a row needs. Both are a list of entries, row after
row, and everything that is computed from codes reads them as that list (`workbench.sae.products`).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class TopKCodes(NamedTuple):
    """The active latents of n rows, k places a row; a place holds zero where fewer than k are positive."""

    values: Float[Tensor, "n k"]
    """How strongly each latent is active; never negative."""
    indices: Int[Tensor, "n k"]
    """Which latents they are, in no particular order."""

    @property
    def row_starts(self) -> Int[Tensor, " n_and_one"]:
        """The number of the entry at which each row begins, and of all entries."""
        n, k = self.indices.shape
        return torch.arange(0, n * k + 1, k, device=self.indices.device) if k else self.indices.new_zeros(n + 1)

    @property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry."""
        n, k = self.indices.shape
        return torch.arange(n, device=self.indices.device).repeat_interleave(k)

    def to_dense(self, d_sae: int) -> Float[Tensor, "n d_sae"]:
        """The same codes with every inactive latent written out as zero."""
        dense = self.values.new_zeros(self.values.shape[0], d_sae)
        return dense.scatter(1, self.indices, self.values)

    def l0(self) -> Int[Tensor, " n"]:
        """How many latents are active in each row."""
        return (self.values > 0).sum(1)

    def fire_counts(self, d_sae: int) -> Float[Tensor, " d_sae"]:
        """In how many of the rows each latent is active (whole numbers)."""
        return _fire_counts(self.values, self.indices, d_sae)

    def detach(self) -> "TopKCodes":
        """The same codes without gradients."""
        return TopKCodes(self.values.detach(), self.indices)


class CSRCodes(NamedTuple):
    """The active latents of n rows, as many in each as there are: compressed sparse rows."""

    values: Float[Tensor, " entries"]
    """How strongly each latent is active; never negative. An entry may be zero."""
    indices: Int[Tensor, " entries"]
    """Which latents they are, ascending in each row."""
    row_starts: Int[Tensor, " n_and_one"]
    """The number of the entry at which each row begins, and of all entries."""

    @property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry."""
        n = len(self.row_starts) - 1
        return torch.repeat_interleave(torch.arange(n, device=self.indices.device), self.row_starts.diff())

    def to_dense(self, d_sae: int) -> Float[Tensor, "n d_sae"]:
        """The same codes with every inactive latent written out as zero."""
        dense = self.values.new_zeros(len(self.row_starts) - 1, d_sae)
        return dense.index_put((self.rows, self.indices), self.values)

    def l0(self) -> Int[Tensor, " n"]:
        """How many latents are active in each row."""
        active = torch.nn.functional.pad((self.values > 0).cumsum(0), (1, 0))
        return active[self.row_starts].diff()

    def fire_counts(self, d_sae: int) -> Float[Tensor, " d_sae"]:
        """In how many of the rows each latent is active (whole numbers)."""
        return _fire_counts(self.values, self.indices, d_sae)

    def detach(self) -> "CSRCodes":
        """The same codes without gradients."""
        return CSRCodes(self.values.detach(), self.indices, self.row_starts)


Codes = TopKCodes | CSRCodes


def _fire_counts(values: Tensor, indices: Tensor, d_sae: int) -> Tensor:
    fired = (values > 0).flatten().float()
    return torch.bincount(indices.flatten(), weights=fired, minlength=d_sae).to(fired)  # of no entries: integers
