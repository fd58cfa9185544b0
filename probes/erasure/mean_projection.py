"""`MeanProjection`: the directions between class means are projected away, whatever else lies along them."""

from typing import Any

from probes.base import class_codes
from probes.class_moments import ClassMoments, indicators
from probes.erasure.eraser import Eraser, ErasureProbe, orthonormal

# Means that are nearer than this share of the furthest are the same one but for rounding.
LEAST_APART = 1e-9


class MeanProjection(ErasureProbe):
    """Rows less their part in the span of the differences between class means.

    The orthogonal counterpart of LEACE: class means are equal afterwards too, but it changes rows more, for it does
    not ask how they vary (Belrose et al., 2023, section 4).

    Attributes:
        eraser_: see `Eraser`; of rank K − 1 at most.
    """

    def fit(self, X: Any, y: Any) -> "MeanProjection":
        """Learn from rows X [n, d] and classes y [n]."""
        rows = self._rows(X, reset=True)
        classes, codes = class_codes(y, rows)
        moments = ClassMoments.of(rows, indicators(codes[:, None], len(classes)), None, squares=False)
        means = moments.class_means if len(classes) > 2 else moments.class_means - moments.other_means
        basis = orthonormal(means - means.mean(0) if len(classes) > 2 else means, LEAST_APART)
        self.eraser_ = Eraser(basis, basis.T, moments.mean)
        return self
