"""Means and covariance of rows by class, for many targets in one pass: what mass-mean and LDA probes are made of."""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from probes.rows import Rows

SUMS = ("count", "total", "products", "counts", "sums")


@dataclass(frozen=True)
class ClassMoments:
    """Sums: of the rows, and of the rows of each indicator (a class, or a target's second class).

    Attributes:
        count: how many rows, by weight.
        origin: what was subtracted from the rows before they were summed, so that a mean far from zero costs no digits.
        total: the sum of the rows.
        products: the sum of their outer products; nothing where squares were not asked for.
        counts: rows of each indicator.
        sums: the sum of the rows of each.
    """

    count: Float[Tensor, ""]
    origin: Float[Tensor, " d"]
    total: Float[Tensor, " d"]
    products: Float[Tensor, "square square"]
    counts: Float[Tensor, " k"]
    sums: Float[Tensor, "k d"]

    @classmethod
    def of(
        cls, rows: Rows, indicators: Int[Tensor, "n k"], weight: Float[Tensor, " n"] | None, squares: bool = True
    ) -> "ClassMoments":
        """One pass over the rows."""
        d, k = rows.d, indicators.shape[1]
        zeros = partial(torch.zeros, dtype=torch.float64, device=rows.device)
        origin = rows[slice(0, rows.chunk)].mean(0).double()
        square = d if squares else 0
        empty = cls(zeros(()), origin, zeros(d), zeros(square, square), zeros(k), zeros(k, d))
        return empty.with_rows(rows, indicators, weight)

    def with_rows(
        self, rows: Rows, indicators: Int[Tensor, "n k"], weight: Float[Tensor, " n"] | None
    ) -> "ClassMoments":
        """Those of more rows too."""
        found = replace(self, **{name: getattr(self, name).clone() for name in SUMS})
        shift = self.origin.to(rows.dtype)
        for where, x in rows.chunks():
            x = x - shift
            ones = indicators[where].to(rows.dtype)
            share = torch.ones(len(x), dtype=rows.dtype, device=rows.device)
            if weight is not None:
                share = weight[where].to(rows.dtype)
                ones = ones * share[:, None]
            found.count.add_(share.double().sum())
            found.total.add_((share @ x).double())
            found.counts.add_(ones.double().sum(0))
            found.sums.add_((ones.T @ x).double())
            if found.products.numel():
                found.products.add_(((x * share[:, None]).T @ x).double())
        return found

    @property
    def is_told(self) -> bool:
        """Whether there are rows of every indicator, and others."""
        return bool(((self.counts > 0) & (self.counts < self.count)).all())

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Of all rows."""
        return self.origin + self.total / self.count

    @property
    def class_means(self) -> Float[Tensor, "k d"]:
        """Of the rows of each indicator."""
        return self.origin + self.sums / self.counts[:, None]

    @property
    def other_means(self) -> Float[Tensor, "k d"]:
        """Of the rows that are not of it."""
        return self.origin + (self.total - self.sums) / (self.count - self.counts)[:, None]

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Of all rows, divided by their number."""
        centre = self.total / self.count
        return self.products / self.count - torch.outer(centre, centre)


def indicators(codes: Int[Tensor, "n t"], n_classes: int) -> Int[Tensor, "n k"]:
    """A column for each class of one target of several; of targets of two classes, their second ones."""
    return F.one_hot(codes[:, 0], n_classes) if n_classes > 2 else codes
