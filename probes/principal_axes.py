"""The coordinates in which planes are searched for: there, what is known of the curvature is diagonal."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes.rows import KEPT_BYTES, Rows

# Wider than this, the eigenvectors of a covariance cost more than the steps that they save.
MOST_EIGEN = 1024
# Rows are turned once for all where they are at most so many a target; else coefficients are turned, pass by pass.
TURNED = 64


@dataclass(frozen=True)
class PrincipalAxes:
    """Weighted mean and covariance of the rows, with eigenvectors where there are not too many columns.

    Attributes:
        mean: zero where rows are not centred.
        scales: the eigenvalues of the covariance, or, without a basis, its diagonal.
        basis: its eigenvectors, one a column; of fewer rows than columns as many as there are rows, for nothing is
            said of other directions. None for the columns themselves.
    """

    mean: Float[Tensor, " d"]
    scales: Float[Tensor, " axis"]
    basis: Float[Tensor, "d axis"] | None

    @classmethod
    def of(cls, rows: Rows, weight: Float[Tensor, " n"] | None, centred: bool) -> "PrincipalAxes":
        """One pass for the mean, where rows are centred, and one for the covariance."""
        total = rows.n if weight is None else weight.sum()
        mean = torch.zeros(rows.d, dtype=torch.float64, device=rows.device)
        if centred:
            for where, x in rows.chunks():
                mean += (x.sum(0) if weight is None else x.T @ weight[where].to(x)).double()
            mean /= total
        full, centred_rows = rows.d <= MOST_EIGEN, rows.less(mean)
        if full and rows.n < rows.d:
            x = torch.cat([x for _, x in centred_rows.chunks()]).double()
            share = (torch.ones(rows.n).to(x) if weight is None else weight.double()) / total
            _, scales, directions = torch.linalg.svd(share.sqrt()[:, None] * x, full_matrices=False)
            return cls(mean, scales.square(), directions.T)
        products = torch.zeros(rows.d, *([rows.d] if full else []), dtype=torch.float64, device=rows.device)
        for where, x in centred_rows.chunks():
            weighted = x if weight is None else x * weight[where, None].to(x)
            products += (weighted.T @ x if full else (weighted * x).sum(0)).double()
        products /= total
        if not full:
            return cls(mean, products, None)
        scales, basis = torch.linalg.eigh(products)
        return cls(mean, scales.clamp(min=0), basis)

    def along(self, v: Float[Tensor, "d t"]) -> Float[Tensor, "axis t"]:
        """From columns to principal axes."""
        return v if self.basis is None else self.basis.T.to(v) @ v

    def of_columns(self, v: Float[Tensor, "axis t"]) -> Float[Tensor, "d t"]:
        """From principal axes to columns."""
        return v if self.basis is None else self.basis.to(v) @ v


class Planes:
    """What losses of linear scores share: the parameters are coefficients along the principal axes, and an intercept.

    Args:
        rows: what is read.
        axes: of these rows.
        n_targets: planes that are sought together.

    Attributes:
        rows: centred; where there are not many, along the axes.
    """

    def __init__(self, rows: Rows, axes: PrincipalAxes, n_targets: int) -> None:
        self.rows, self.axes = rows.less(axes.mean), axes
        size = rows.n * len(axes.scales) * rows.dtype.itemsize
        self._turned = axes.basis is not None and rows.n <= TURNED * n_targets and size <= KEPT_BYTES
        if self._turned:
            self.rows = Rows(torch.cat([axes.along(x.T).T for _, x in self.rows.chunks()]))

    @property
    def n_parameters(self) -> int:
        """Of each plane."""
        return len(self.axes.scales) + 1

    def along(self, v: Float[Tensor, "read t"]) -> Float[Tensor, "axis t"]:
        """From what is read to principal axes."""
        return v if self._turned else self.axes.along(v)

    def of_read(self, v: Float[Tensor, "axis t"]) -> Float[Tensor, "read t"]:
        """From principal axes to what is read."""
        return v if self._turned else self.axes.of_columns(v)

    def planes(self, theta: Float[Tensor, "axis_and_one t"]) -> tuple[Float[Tensor, "t read"], Float[Tensor, "t 1"]]:
        """Coefficients of what is read and intercepts, one row a target.

        Products in which the few targets come first, `W xᵀ` and `p x`, are up to five times as fast as `x Wᵀ` and
        `xᵀ pᵀ`.
        """
        W, b = theta[:-1].to(self.rows.dtype), theta[-1:].T.to(self.rows.dtype)
        return self.of_read(W).T.contiguous(), b

    def spread(self, theta: Float[Tensor, "axis_and_one t"]) -> Float[Tensor, " t"]:
        """How far scores of rows lie from their mean, root mean square: the size of a step."""
        return (self.axes.scales[:, None] * theta[:-1].square()).sum(0).sqrt()

    def slope(
        self, of_read: Float[Tensor, "read_and_one t"], theta: Float[Tensor, "axis_and_one t"], ridge: Any
    ) -> Float[Tensor, "axis_and_one t"]:
        """The gradient of a loss, and of its penalty, along the principal axes."""
        along = self.along(of_read[:-1].to(self.rows.dtype))
        return torch.cat([along.double() + ridge * theta[:-1], of_read[-1:]])

    def uncentred(self, theta: Float[Tensor, "axis_and_one t"]) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        """Coefficients and intercepts of the rows as they are."""
        coef = self.axes.of_columns(theta[:-1])
        return coef.T, theta[-1] - self.axes.mean @ coef
