"""`Subspace`: directions of an activation, with the coordinates that a row has along them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

# Directions of which one is this small a share of the rest (in the others' span, that is) are no further directions.
LEAST_APART = 1e-6

Vectors = Float[Tensor, "*k d"] | Float[np.ndarray, "*k d"]


@dataclass(frozen=True)
class Subspace:
    """One direction or several: how a row's place along them is read, and how it is moved.

    A row x has the coordinates `c = x readᵀ + intercept` and is moved by Δ of them as `x + Δ write`, after which
    exactly `c + Δ` is read: `write readᵀ` is the identity. Reading and moving need not be along one and the same
    direction. All three are kept in double precision and applied in that of the rows.

    Attributes:
        read: what the coordinates are read with.
        write: what a coordinate's unit adds to a row.
        intercept: the coordinates of a row of zeros.
    """

    read: Float[Tensor, "k d"]
    write: Float[Tensor, "k d"]
    intercept: Float[Tensor, " k"]

    def __post_init__(self) -> None:
        for vectors in (self.read, self.write):
            _refuse_no_directions(vectors)
        if not torch.isfinite(self.intercept).all():
            raise ValueError("the intercept of these directions is NaN or infinite: it must be a number.")

    def __repr__(self) -> str:
        return f"Subspace({self.k} {'direction' if self.k == 1 else 'directions'} of {self.d} numbers)"

    @classmethod
    def along(cls, vectors: Vectors) -> "Subspace":
        """Vectors [d] or [k, d] as they are: a unit of a coordinate is the vector itself, zero the origin.

        Raises:
            ValueError: a vector is zero or not finite, or they depend on each other.
        """
        write = _rows(vectors)
        _refuse_dependent(write)
        return cls(torch.linalg.pinv(write).T, write, write.new_zeros(len(write)))

    @classmethod
    def of_probe(cls, probe: Any, target: int | None = None) -> "Subspace":
        """What a fitted linear probe reads, in its own units: log odds, or what it was a regression on.

        Rows are moved straight along its coefficients, which is the smallest change that is read as asked for.

        Args:
            probe: with `coef_` [d] or [k, d] and `intercept_`.
            target: which of several targets, or which class of several.

        Raises:
            ValueError: it has several targets or classes and none is named, or its coefficients are zero.
        """
        check_is_fitted(probe)
        if not hasattr(probe, "coef_") or not (hasattr(probe, "decision_function") or is_regressor(probe)):
            raise ValueError(f"{type(probe).__name__} does not read rows linearly, so that no direction is its own.")
        read = _rows(probe.coef_)
        intercept = torch.as_tensor(probe.intercept_).double().cpu().expand(len(read))
        if len(read) > 1 and target is None:
            raise ValueError(f"this probe has {len(read)} directions: say which target is meant, 0 to {len(read) - 1}.")
        if not 0 <= (chosen := target or 0) < len(read):
            raise ValueError(f"there is no target {target}: this probe has {len(read)}, counted from 0.")
        read, intercept = read[chosen : chosen + 1], intercept[chosen : chosen + 1]
        _refuse_no_directions(read)
        return cls(read, torch.linalg.pinv(read).T, intercept)

    @classmethod
    def between(cls, first: Vectors, second: Vectors) -> "Subspace":
        """From one class mean [d] to another: −½ at the first, ½ at the second, zero midway.

        Raises:
            ValueError: the means are not apart, or not finite.
        """
        start, end = _rows(first), _rows(second)
        line = cls.along(end - start)
        return replace(line, intercept=-line.coordinates((start + end) / 2)[0])

    @property
    def k(self) -> int:
        """How many directions there are."""
        return self.read.shape[0]

    @property
    def d(self) -> int:
        """How many numbers a row must have."""
        return self.read.shape[1]

    def coordinates(self, x: Float[Tensor, "*any d"]) -> Float[Tensor, "*any k"]:
        """Where rows are, in the rows' precision."""
        self.refuse_width(x)
        return x @ self.read.to(x).T + self.intercept.to(x)

    def along_pattern(self, rows: Float[Tensor, "n d"]) -> "Subspace":
        """The same coordinates, but rows are moved as these rows differ where their coordinates do.

        A regression's coefficients are what it takes to read a quantity from among all that varies with it, and not
        how the quantity is written: that is the pattern `Cov(x, c) Cov(c)⁻¹` (Haufe et al., "On the interpretation of
        weight vectors of linear models in multivariate neuroimaging", 2014, equation 6). A move along it stays among
        states that there are.

        Raises:
            ValueError: the rows do not differ along a direction.
        """
        x = rows.double() - rows.double().mean(0)
        c = x @ self.read.to(x).T
        if torch.linalg.matrix_rank(c) < self.k:
            raise ValueError("these rows are all alike along a direction: they show no pattern.")
        return replace(self, write=torch.linalg.lstsq(c, x).solution.to(self.write))

    def refuse_width(self, x: Tensor) -> None:
        """`ValueError` for rows of another width."""
        if x.shape[-1] != self.d:
            raise ValueError(f"the directions are of {self.d} numbers, but a position here has {x.shape[-1]}.")


def _rows(vectors: Any) -> Float[Tensor, "k d"]:
    """One vector or several, in double precision on the CPU."""
    found = torch.as_tensor(vectors).detach().double().cpu()
    if found.ndim not in (1, 2) or not found.numel():
        raise ValueError(f"directions of shape {tuple(found.shape)} were given: they must be [d] or [k, d].")
    return found.reshape(-1, found.shape[-1])


def _refuse_no_directions(vectors: Float[Tensor, "k d"]) -> None:
    if not torch.isfinite(vectors).all():
        raise ValueError("a direction holds NaN or infinite values: it must be of numbers.")
    if not vectors.any(1).all():
        raise ValueError("a direction is zero: it says nowhere to move.")


def _refuse_dependent(vectors: Float[Tensor, "k d"]) -> None:
    _refuse_no_directions(vectors)
    units = vectors / vectors.norm(dim=1, keepdim=True)
    if len(units) > units.shape[1] or torch.linalg.svdvals(units)[-1] < LEAST_APART:
        raise ValueError(f"the {len(units)} directions depend on each other: leave out those that others make up.")
