"""Probes whose fit follows from sums over the rows, so that rows may come in parts."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import NotFittedError
from torch import Tensor

from probes.base import Array, LinearClassifierProbe, Probe
from probes.class_moments import ClassMoments, indicators
from probes.rows import Rows, returned

SOLVED = ("coef_", "intercept_")


class SummedProbe(Probe):
    """A probe of sums, `moments_`, which parts of the rows add to. It is solved when its coefficients are asked for.

    Not with every part: that would cost as much again, and few rows may have no solution yet.
    """

    _kind: tuple[Array, torch.dtype]

    def __getattr__(self, name: str) -> Any:
        """Coefficients that the sums have not been solved for yet."""
        if name not in SOLVED or "moments_" not in vars(self):
            return self.__getattribute__(name)  # which says why there is none
        like, dtype = self._kind
        for solved, part in zip(SOLVED, self._solution(), strict=True):
            setattr(self, solved, returned(part.to(dtype), like))
        return vars(self)[name]

    def _solution(self) -> tuple[Tensor, Tensor]:
        """Coefficients and intercepts, in double precision."""
        raise NotImplementedError

    def _keep_sums(self, moments: Any, rows: Rows) -> None:
        """The sums as they are now: what was solved before is out of date."""
        for name in SOLVED:
            self.__dict__.pop(name, None)
        self.moments_ = moments
        self._kind = torch.empty(0) if isinstance(rows.source, Tensor) else np.empty(0), rows.dtype


class SummedClassifierProbe(SummedProbe, LinearClassifierProbe):
    """A linear probe of the means, and the covariance, of classes.

    Attributes:
        moments_: what the rows have added up to.
    """

    moments_: ClassMoments
    _squares = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "SummedClassifierProbe":
        """Fit to rows X [n, d] and labels y [n], or [n, t] of two classes each."""
        rows = self._rows(X, reset=True)
        self._add(None, rows, self._codes(y, rows), sample_weight)
        self.coef_  # noqa: B018 - what has no solution is refused here
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "SummedClassifierProbe":
        """Fit to more rows, beside those of `fit` or of earlier parts.

        The order of parts and their sizes change the result by rounding alone. Before every class has come, and as
        long as there are too few rows for a solution, coefficients and predictions are refused.

        Args:
            X: [n, d].
            y: [n], or [n, t] of two classes each.
            classes: all that may come, asked in the first call; those of the first `y` where None.
            sample_weight: [n].

        Raises:
            ValueError: classes that were not named, or another number of targets.
        """
        before = vars(self).get("moments_")
        rows = self._rows(X, reset=before is None)
        if before is None:
            codes = self._codes(y, rows) if classes is None else self._codes_among(classes, y, rows)
        else:
            codes = self._codes_among(self.classes_ if classes is None else classes, y, rows, known=True)
        self._add(before, rows, codes, sample_weight)
        return self

    def _add(self, before: ClassMoments | None, rows: Rows, codes: Int[Tensor, "n t"], sample_weight: Any) -> None:
        weight = self._weight(sample_weight, rows)
        added = indicators(codes, 2 if self.n_targets_ is not None else len(self.classes_))
        if before is None:
            self._keep_sums(ClassMoments.of(rows, added, weight, squares=self._squares), rows)
        else:
            self._keep_sums(before.with_rows(rows, added, weight), rows)

    def _solution(self) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        if not self.moments_.is_told:
            raise NotFittedError(f"{type(self).__name__} needs rows of every class: some class has had none so far.")
        return self._solved(self.moments_)

    def _solved(self, moments: ClassMoments) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        raise NotImplementedError
