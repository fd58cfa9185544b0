"""Means and covariances of rows and numbers beside them, part added to part."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class JointMoments:
    """Means and centred sums of products of rows and labels, batch added to batch as Welford does.

    Attributes:
        n: how many rows, by weight.
        mean_x, mean_z: of the rows, and of what stands beside them.
        products_xx, products_xz, products_zz: sums of products of what is left without the means.
    """

    n: float
    mean_x: Float[Tensor, " d"]
    mean_z: Float[Tensor, " k"]
    products_xx: Float[Tensor, "d d"]
    products_xz: Float[Tensor, "d k"]
    products_zz: Float[Tensor, "k k"]

    @classmethod
    def empty(cls, d: int, k: int, device: torch.device) -> "JointMoments":
        """Of no rows."""
        shapes = ((d,), (k,), (d, d), (d, k), (k, k))
        return cls(0, *(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def with_rows(
        self, x: Float[Tensor, "n d"], z: Float[Tensor, "n k"], weight: Float[Tensor, " n"] | None = None
    ) -> "JointMoments":
        """Those of some rows more."""
        share = torch.ones(len(x), dtype=torch.float64, device=x.device) if weight is None else weight
        added = float(share.sum())
        if not added:
            return self
        n = self.n + added
        mean_x, mean_z = share @ x / added, share @ z / added
        shift_x, shift_z = mean_x - self.mean_x, mean_z - self.mean_z
        x, z = x - mean_x, z - mean_z
        weighted_x, weighted_z = (x, z) if weight is None else (share[:, None] * x, share[:, None] * z)
        between = self.n * added / n
        return JointMoments(
            n,
            self.mean_x + shift_x * added / n,
            self.mean_z + shift_z * added / n,
            self.products_xx + weighted_x.T @ x + between * torch.outer(shift_x, shift_x),
            self.products_xz + weighted_x.T @ z + between * torch.outer(shift_x, shift_z),
            self.products_zz + weighted_z.T @ z + between * torch.outer(shift_z, shift_z),
        )
