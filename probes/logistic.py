"""`LogisticProbe`: logistic regression, of many targets at once as cheaply as of few."""

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from probes.base import Array, LogLinearProbe
from probes.logistic_loss import BinaryLosses, MultinomialLoss
from probes.minimise import Minimum, minimise
from probes.principal_axes import PrincipalAxes
from probes.rows import Rows, returned

MULTI_CLASS = ("multinomial", "one_vs_rest")
# Targets that are solved together: their logits of a chunk of rows stay in the cache.
TARGETS = 128


class LogisticProbe(LogLinearProbe):
    """Logistic regression with an L2 penalty: the optimum of scikit-learn's `LogisticRegression`, many at once.

    `min ½‖w‖² + C Σᵢ sᵢ log-loss(yᵢ, xᵢ·w + b)`, the intercept free. Targets `y` of shape [n, t], of two classes each,
    share every product with X: a thousand cost little more than reading X. One target of K > 2 classes is solved as
    the multinomial, as scikit-learn does, or as K targets, each class against the rest.

    Args:
        C: the inverse of the penalty.
        fit_intercept: whether there is one.
        class_weight: None, `balanced` or a mapping from classes, as in scikit-learn.
        multi_class: `multinomial`, or `one_vs_rest`, where each class is a target and its probability that target's
            share; in a report all labels are then solved by one fit.
        tol: the search ends where the next step moves no coefficient along the principal axes of X by more than `tol`
            (times the largest, where that is above one).
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
        multi_class: str = "multinomial",
        tol: float = 1e-4,
        max_iter: int = 300,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.multi_class = multi_class
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LogisticProbe":
        """Fit to rows X [n, d] and labels y [n] or [n, t].

        Raises `ValueError` for what is not finite (and says in which rows), for labels of one class, for more than
        two classes in one of many targets.
        """
        if not self.C > 0:
            raise ValueError(f"C is {self.C}: it must be above zero.")
        if self.multi_class not in MULTI_CLASS:
            raise ValueError(f"multi_class is {self.multi_class!r}: it must be {' or '.join(MULTI_CLASS)}.")
        rows = self._rows(X, reset=True)
        codes = self._codes(y, rows)
        weight = self._weight(sample_weight, rows)
        axes = PrincipalAxes.of(rows, weight, self.fit_intercept)
        if not self._several:
            found = self._fit_binary(rows, codes, weight, self._class_weights(codes, weight), axes)
        else:
            of_rows = self._times_class_weight(weight, codes[:, 0])
            if self.multi_class == "multinomial":
                found = self._fit_multinomial(rows, codes[:, 0], of_rows, axes)
            else:
                codes = (codes == torch.arange(len(self.classes_), device=rows.device)).to(torch.uint8)
                found = self._fit_binary(rows, codes, of_rows, None, axes)
        self._keep(*found, rows)
        return self

    @property
    def _several(self) -> bool:
        """Whether there is one target, of more than two classes."""
        return self.n_targets_ is None and not self.is_binary_

    def _probabilities(self, scores: Tensor, like: Array) -> Array:
        if not self._several or self.multi_class == "multinomial":
            return super()._probabilities(scores, like)
        # In logarithms, so that classes that are all unlikely still have their shares.
        return returned(F.logsigmoid(scores).softmax(1), like)

    def _fit_binary(
        self, rows: Rows, codes: Tensor, weight: Tensor | None, by_class: Tensor | None, axes: PrincipalAxes
    ) -> tuple[Tensor, Tensor]:
        found, n_iter = [], []
        for part in torch.arange(codes.shape[1], device=rows.device).split(TARGETS):
            targets, of_part = codes[:, part].to(torch.uint8), None if by_class is None else by_class[:, part]
            loss = BinaryLosses(rows, axes, targets, weight, of_part, self.C, self.fit_intercept)
            minimum = self._search(loss)
            found.append(loss.uncentred(minimum.parameters))
            n_iter.append(minimum.n_iter)
        self.n_iter_ = torch.cat(n_iter).cpu().numpy().astype(np.int32)
        return torch.cat([coef for coef, _ in found]), torch.cat([intercept for _, intercept in found])

    def _fit_multinomial(
        self, rows: Rows, classes: Tensor, weight: Tensor | None, axes: PrincipalAxes
    ) -> tuple[Tensor, Tensor]:
        loss = MultinomialLoss(rows, axes, classes, len(self.classes_), weight, self.C, self.fit_intercept)
        minimum = self._search(loss)
        self.n_iter_ = minimum.n_iter.cpu().numpy().astype(np.int32)
        return loss.uncentred(minimum.parameters)

    def _search(self, loss: BinaryLosses | MultinomialLoss) -> Minimum:
        rounding = torch.finfo(loss.rows.dtype).eps
        minimum = minimise(
            loss,
            loss.start(),
            loss.precondition,
            loss.spread,
            tol=self.tol,
            max_iter=self.max_iter,
            rounding=rounding,
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

    def _times_class_weight(self, weight: Tensor | None, classes: Tensor) -> Tensor | None:
        if self.class_weight is None:
            return weight
        of_rows = torch.as_tensor(self._weights_of(classes, weight)).to(classes.device)[classes]
        return of_rows if weight is None else weight * of_rows

    def _class_weights(self, codes: Tensor, weight: Tensor | None) -> Tensor | None:
        """Those of both classes, target by target."""
        if self.class_weight is None:
            return None
        columns = [self._weights_of(column, weight) for column in codes.T]
        return torch.as_tensor(np.stack(columns, axis=1)).to(codes.device)

    def _weights_of(self, codes: Tensor, weight: Tensor | None) -> np.ndarray:
        labels = self.classes_[codes.cpu().numpy()]
        of_rows = None if weight is None else weight.cpu().numpy()
        return compute_class_weight(self.class_weight, classes=self.classes_, y=labels, sample_weight=of_rows)
