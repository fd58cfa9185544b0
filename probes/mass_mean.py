"""`MassMeanProbe`: the difference of the class means, and nothing fitted beyond it."""

from typing import Any

from probes.base import LinearClassifierProbe
from probes.class_moments import ClassMoments, indicators


class MassMeanProbe(LinearClassifierProbe):
    """A direction from one class's mean to that of the other rows, with the boundary half way.

    Marks and Tegmark, "The geometry of truth" (2024), arXiv:2310.06824. It ignores how the rows vary, and so is biased
    where classes differ in other things too; but what it finds is more often the direction that a subject uses than
    what a regression finds. With their correction for the covariance it is `LDAProbe`. Of K > 2 classes each is held
    against all others.

    Attributes:
        coef_: [1, d], [K, d] or [t, d], as long as the means are apart.
        intercept_: as many.
        classes_: [K], or the two of all targets.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MassMeanProbe":
        """Fit to rows X [n, d] and labels y [n], or [n, t] of two classes each."""
        rows = self._rows(X, reset=True)
        codes = self._codes(y, rows)
        n_classes = 2 if self.n_targets_ is not None else len(self.classes_)
        moments = ClassMoments.of(rows, indicators(codes, n_classes), self._weight(sample_weight, rows), squares=False)
        mine, others = moments.class_means, moments.other_means
        coef = mine - others
        self._keep(coef, -(coef * (mine + others) / 2).sum(1), rows)
        return self
