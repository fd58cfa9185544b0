"""LEACE: the smallest affine change of rows after which no linear probe does better than a constant.

Belrose et al., "LEACE: Perfect linear concept erasure in closed form" (2023), arXiv:2306.03819. With Σ the covariance
of the rows, W its inverse root (of the pseudo-inverse) and u an orthonormal basis of the column space of W Σ_xz, a row
x becomes `x − W⁺ u uᵀ W (x − E x)` (theorem 4.3). Whatever is linear in what is left has the same mean in every class,
which is as much as to say that the loss of every linear probe is at least the constant's (theorem 3.1).
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from probes.base import Array, as_numpy
from probes.erasure.eraser import Eraser, ErasureProbe
from probes.joint_moments import JointMoments
from probes.rows import Rows, returned

# Directions in which rows, or rows with labels, vary less than this share of the most are rounding, not directions.
LEAST_VARIANCE = 1e-10


class LEACE(ErasureProbe):
    """Erase classes, or numbers, from rows: `fit` on some, or `partial_fit` on batch after batch, then `transform`.

    Args:
        classes: all the labels that may come, for `partial_fit` with classes; those of `y` where None.

    Attributes:
        eraser_: see `Eraser`; of rank K − 1 at most.
        moments_: what the batches have added up to.
        classes_: the labels; None for numbers.
    """

    def __init__(self, classes: Any = None) -> None:
        self.classes = classes

    def fit(self, X: Any, y: Any) -> "LEACE":
        """Learn from rows X [n, d] and labels y: classes [n], or numbers [n, k]."""
        if hasattr(self, "moments_"):
            del self.moments_
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any) -> "LEACE":
        """Learn from more rows. The order of batches and their sizes change the result by rounding alone.

        Raises `ValueError` for labels of one class, or, later, of classes that the first batch did not have.
        """
        first = not hasattr(self, "moments_")
        rows = self._rows(X, reset=first)
        if first:
            labels = as_numpy(y) if self.classes is None else np.asarray(self.classes)
            of_classes = labels.ndim == 1 and not (labels.dtype.kind == "f" and (labels != np.trunc(labels)).any())
            self.classes_ = np.unique(labels) if of_classes else None
        z = self._columns(y, rows)
        if first:
            self.moments_ = JointMoments.empty(rows.d, z.shape[1], rows.device)
        for where, x in rows.chunks():
            self.moments_ = self.moments_.with_rows(x.double(), z[where])
        self.eraser_ = _eraser(self.moments_)
        return self

    def transform_known(self, X: Any, y: Any) -> Array:
        """The oracle: rows whose labels are known, `x − Σ_xz Σ_zz⁺ (z − E z)`, which changes them less."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        z = self._columns(y, rows).to(rows.dtype)
        moments = self.moments_
        map_ = (moments.products_xz @ torch.linalg.pinv(moments.products_zz, rtol=LEAST_VARIANCE, hermitian=True)).to(
            rows.dtype
        )
        centre = moments.mean_z.to(rows.dtype)
        return returned(torch.cat([x - (z[where] - centre) @ map_.T for where, x in rows.chunks()]), rows.source)

    def _columns(self, y: Any, rows: Rows) -> Float[Tensor, "n k"]:
        """Labels as columns: numbers as they are, classes one column each."""
        values = as_numpy(y)
        if len(values) != rows.n:
            raise ValueError(f"X has {rows.n} rows and y {len(values)}: each row needs its label.")
        if self.classes_ is None:
            if not np.isfinite(values).all():
                raise ValueError("y contains NaN or infinity: leave these rows out.")
            return torch.from_numpy(np.asarray(values, np.float64).reshape(len(values), -1)).to(rows.device)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only, {self.classes_[0].item()!r}: there is no concept to erase.")
        codes = np.searchsorted(self.classes_, values).clip(max=len(self.classes_) - 1)
        if (unseen := self.classes_[codes] != values).any():
            raise ValueError(
                f"y has {values[unseen][0].item()!r}, which the first rows had not: name all classes, "
                "LEACE(classes=[…])."
            )
        return F.one_hot(torch.from_numpy(codes), len(self.classes_)).double().to(rows.device)


def _eraser(moments: JointMoments) -> Eraser:
    """For rows whose labels are not known."""
    scales, vectors = torch.linalg.eigh(moments.products_xx / moments.n)
    kept = scales > scales.max() * LEAST_VARIANCE
    root, vectors = scales[kept].sqrt(), vectors[:, kept]
    whitened = (vectors.T @ moments.products_xz / moments.n) / root[:, None]  # in the basis of the eigenvectors
    u, sizes, _ = torch.linalg.svd(whitened, full_matrices=False)
    # Relative, not absolute: whatever of the concept is left can be read.
    u = u[:, sizes > LEAST_VARIANCE * sizes.max()] if len(sizes) else u[:, :0]
    return Eraser(vectors @ (root[:, None] * u), (u / root[:, None]).T @ vectors.T, moments.mean_x)
