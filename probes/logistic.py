"""`LogisticProbe`: logistic regression, of many targets at once as cheaply as of few."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from probes.base import LogLinearProbe
from probes.logistic_loss import BinaryLosses, Moments, MultinomialLoss
from probes.minimise import Minimum, minimise
from probes.rows import Rows

# Targets that are solved together: their logits of a chunk of rows stay in the cache.
TARGETS = 128


class LogisticProbe(LogLinearProbe):
    """Logistic regression with an L2 penalty: the optimum of scikit-learn's `LogisticRegression`, many at once.

    `min ½‖w‖² + C Σᵢ sᵢ log-loss(yᵢ, xᵢ·w + b)`, the intercept free. Targets `y` of shape [n, t], of two classes each,
    share every product with X: a thousand cost little more than reading X. One target of K > 2 classes is solved as
    the multinomial, as scikit-learn does.

    Args:
        C: the inverse of the penalty.
        fit_intercept: whether there is one.
        class_weight: None, `balanced` or a mapping from classes, as in scikit-learn.
        tol: the search ends where the next step moves no coefficient by more than `tol` (times the largest, where that
            is above one).
        max_iter: steps at most; `ConvergenceWarning` where they do not suffice.

    Attributes:
        coef_: [1, d], [K, d] or [t, d].
        intercept_: as many.
        classes_: [K], or the two of all targets.
        n_iter_: steps, problem by problem.
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: Any = None,
        tol: float = 1e-4,
        max_iter: int = 300,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LogisticProbe":
        """Fit to rows X [n, d] and labels y [n] or [n, t].

        Raises `ValueError` for what is not finite (and says in which rows), for labels of one class, for more than
        two classes in one of many targets.
        """
        if not self.C > 0:
            raise ValueError(f"C is {self.C}: it must be above zero.")
        rows = self._rows(X, reset=True)
        codes = self._codes(y, rows)
        weight = self._weight(sample_weight, rows)
        moments = Moments.of(rows, weight, self.fit_intercept)
        if self.n_targets_ is None and len(self.classes_) > 2:
            coef, intercept = self._fit_multinomial(rows, codes[:, 0], weight, moments)
        else:
            coef, intercept = self._fit_binary(rows, codes, weight, moments)
        self._keep(coef, intercept, rows)
        return self

    def _fit_binary(self, rows: Rows, codes: Tensor, weight: Tensor | None, moments: Moments) -> tuple[Tensor, Tensor]:
        by_class = self._class_weights(codes)
        found, n_iter = [], []
        for part in torch.arange(codes.shape[1], device=rows.device).split(TARGETS):
            targets, of_part = codes[:, part].to(torch.uint8), None if by_class is None else by_class[:, part]
            loss = BinaryLosses(rows, moments, targets, weight, of_part, self.C, self.fit_intercept)
            minimum = self._search(loss)
            found.append(loss.uncentred(minimum.parameters))
            n_iter.append(minimum.n_iter)
        self.n_iter_ = torch.cat(n_iter).cpu().numpy().astype(np.int32)
        return torch.cat([coef for coef, _ in found]), torch.cat([intercept for _, intercept in found])

    def _fit_multinomial(
        self, rows: Rows, classes: Tensor, weight: Tensor | None, moments: Moments
    ) -> tuple[Tensor, Tensor]:
        if self.class_weight is not None:
            of_class = torch.as_tensor(self._weights_of(classes)).to(rows.device)
            weight = of_class[classes] if weight is None else weight * of_class[classes]
        loss = MultinomialLoss(rows, moments, classes, len(self.classes_), weight, self.C, self.fit_intercept)
        minimum = self._search(loss)
        self.n_iter_ = minimum.n_iter.cpu().numpy().astype(np.int32)
        return loss.uncentred(minimum.parameters)

    def _search(self, loss: BinaryLosses | MultinomialLoss) -> Minimum:
        rounding = torch.finfo(loss.rows.dtype).eps
        minimum = minimise(
            loss, loss.start(), loss.precondition, tol=self.tol, max_iter=self.max_iter, rounding=rounding
        )
        if not minimum.converged.all():
            n = int((~minimum.converged).sum())
            warnings.warn(
                f"{n} of {len(minimum.converged)} problems had not converged after {self.max_iter} steps: "
                "scale the columns of X to one size, raise max_iter, or lower C.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return minimum

    def _class_weights(self, codes: Tensor) -> Tensor | None:
        """Those of both classes, target by target."""
        if self.class_weight is None:
            return None
        columns = [self._weights_of(column) for column in codes.T]
        return torch.as_tensor(np.stack(columns, axis=1)).to(codes.device)

    def _weights_of(self, codes: Tensor) -> np.ndarray:
        return compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[codes.cpu().numpy()])
