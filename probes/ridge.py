"""`RidgeProbe`: linear regression whose penalty is chosen by leaving each row out once, in closed form."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from probes.base import Array, as_numpy
from probes.joint_moments import JointMoments
from probes.rows import Rows, returned
from probes.summed import SummedProbe

ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 6, 17))
# More targets than this are predicted in parts, so that predictions of a chunk of rows stay in the cache.
TARGETS = 256


def _has_one_penalty(probe: "RidgeProbe") -> bool:
    """Whether a probe can be fitted in parts. Raises `ValueError` that says why not."""
    if len(probe._penalties()) > 1:
        raise ValueError(
            "partial_fit cannot choose among several alphas, for it never has all rows to leave each out: give one, "
            "RidgeProbe([1.0])."
        )
    return True


class RidgeProbe(RegressorMixin, SummedProbe):
    """Ridge regression along a path of penalties: `min Σᵢ sᵢ ‖yᵢ − W xᵢ − b‖² + α ‖W‖²`, the intercept free.

    For every penalty the error of each row, predicted by the fit to all others, is known without fitting again:
    `(yᵢ − ŷᵢ) / (1 − hᵢ)` with the leverage hᵢ (Allen's PRESS; Hastie et al., The Elements of Statistical Learning,
    equation 7.64). The penalty with the least mean square of it is taken. One eigendecomposition serves all penalties
    and targets, and rows are read in chunks: memory is of the order of d² and d·t, or n² where there are fewer rows
    than columns. Rows that do not fit in memory may come in parts (`partial_fit`) where the penalty is given.

    Args:
        alphas: the path.
        fit_intercept: whether there is one.
        alpha_per_target: choose for each target by itself, or one penalty for all.

    Attributes:
        coef_: [d] for targets [n], [t, d] for [n, t].
        intercept_: a number, or [t].
        alpha_: chosen: a number, or [t].
        loo_error_: [alphas] or [alphas, t], the mean squared error of left-out rows; not there after `partial_fit`.
        moments_: after `partial_fit`, what the rows have added up to.
    """

    def __init__(
        self,
        alphas: Sequence[float] | np.ndarray = ALPHAS,
        *,
        fit_intercept: bool = True,
        alpha_per_target: bool = True,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.alpha_per_target = alpha_per_target

    def __sklearn_tags__(self) -> Any:
        """Many targets at once."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RidgeProbe":
        """Fit to rows X [n, d] and targets y [n] or [n, t].

        Raises `ValueError` for what is not finite (and says in which rows), or a penalty that is not above zero.
        """
        alphas = self._penalties()
        rows = self._rows(X, reset=True)
        targets = _targets(y, rows)
        self.__dict__.pop("moments_", None)
        weight = self._weight(sample_weight, rows)
        path = _Path.of(rows, targets.flatten(1) if targets.ndim > 1 else targets[:, None], weight, self.fit_intercept)
        errors = path.leave_one_out(torch.from_numpy(alphas).to(rows.device))
        chosen = errors.argmin(0) if self.alpha_per_target else errors.mean(1).argmin().expand(errors.shape[1])
        alpha = torch.from_numpy(alphas).to(rows.device)[chosen]
        coef, intercept = path.solution(alpha)
        one = targets.ndim == 1
        parts = {"coef_": coef.to(rows.dtype), "intercept_": intercept.to(rows.dtype), "alpha_": alpha}
        for name, part in parts.items():
            setattr(self, name, returned(part[0] if one else part, rows.source))
        self.loo_error_ = returned(errors[:, 0] if one else errors, rows.source)
        return self

    @available_if(_has_one_penalty)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RidgeProbe":
        """Fit to more rows, beside those of earlier parts; only where `alphas` is a single penalty.

        To choose one by leaving rows out, all rows are needed twice. The order of parts and their sizes change the
        result by rounding alone. `fit` keeps no sums: after it the first part begins anew, with a warning.

        Raises:
            ValueError: another number of targets than before.
        """
        (alpha,) = self._penalties()
        if hasattr(self, "loo_error_"):
            warnings.warn("fit keeps no sums to add to: these rows are the first.", UserWarning, stacklevel=2)
            del self.loo_error_
        before = vars(self).get("moments_")
        rows = self._rows(X, reset=before is None)
        targets = _targets(y, rows)
        columns = targets[:, None] if targets.ndim == 1 else targets
        n_targets = targets.shape[1] if targets.ndim > 1 else None
        if before is None:
            self.n_targets_ = n_targets
            before = JointMoments.empty(rows.d, columns.shape[1], rows.device)
        elif n_targets != self.n_targets_:
            raise ValueError(f"y has {n_targets or 1} targets, and the first rows had {self.n_targets_ or 1}.")
        weight = self._weight(sample_weight, rows)
        for where, x in rows.chunks():
            before = before.with_rows(x.double(), columns[where].double(), None if weight is None else weight[where])
        self._keep_sums(before, rows)
        chosen = torch.full((columns.shape[1],), alpha, dtype=torch.float64, device=rows.device)
        self.alpha_ = returned(chosen[0] if n_targets is None else chosen, rows.source)
        return self

    def _solution(self) -> tuple[Tensor, Tensor]:
        moments, (alpha,) = self.moments_, self._penalties()
        gram, products = moments.products_xx, moments.products_xz
        if not self.fit_intercept:
            gram = gram + moments.n * torch.outer(moments.mean_x, moments.mean_x)
            products = products + moments.n * torch.outer(moments.mean_x, moments.mean_z)
        ridge = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) * alpha
        coef = torch.linalg.solve(gram + ridge, products).T
        intercept = moments.mean_z - coef @ moments.mean_x if self.fit_intercept else torch.zeros_like(moments.mean_z)
        return (coef, intercept) if self.n_targets_ is not None else (coef[0], intercept[0])

    def _penalties(self) -> Float[np.ndarray, " alpha"]:
        alphas = np.atleast_1d(np.asarray(self.alphas, np.float64))
        if not len(alphas) or not (alphas > 0).all():
            raise ValueError(f"alphas are {list(self.alphas)}: at least one is needed, and all must be above zero.")
        return alphas

    def predict(self, X: Any) -> Array:
        """The targets of each row."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        W, b = (torch.as_tensor(part).to(rows.device, rows.dtype) for part in (self.coef_, self.intercept_))
        return returned(torch.cat([x @ (W.T if W.ndim > 1 else W) + b for _, x in rows.chunks()]), rows.source)


@dataclass(frozen=True)
class _Path:
    """Centred rows in a basis in which their Gram matrix is diagonal, and the targets there."""

    rows: Rows
    targets: Float[Tensor, "n t"]
    weight: Float[Tensor, " n"] | None
    mean: Float[Tensor, " d"]
    target_mean: Float[Tensor, " t"]
    squares: Float[Tensor, " r"]
    """Sums of squares of the rows along the basis."""
    basis: Float[Tensor, "d r"]
    products: Float[Tensor, "r t"]
    """Of the rows along the basis with the targets."""
    fit_intercept: bool

    @classmethod
    def of(
        cls, rows: Rows, targets: Float[Tensor, "n t"], weight: Float[Tensor, " n"] | None, fit_intercept: bool
    ) -> "_Path":
        mean, target_mean = _means(rows, targets, weight, fit_intercept)
        shape = (rows.d, rows.d) if rows.n >= rows.d else (rows.n, rows.n)
        gram = torch.zeros(shape, dtype=torch.float64, device=rows.device)
        products = torch.zeros(rows.d, targets.shape[1], dtype=torch.float64, device=rows.device)
        parts = []
        for where, x in rows.chunks():
            x = x.double() - mean
            y = targets[where].double() - target_mean
            if weight is not None:
                root = weight[where, None].sqrt()
                x, y = root * x, root * y
            products += x.T @ y
            if rows.n >= rows.d:
                gram += x.T @ x
            else:
                parts.append(x)
        if rows.n >= rows.d:
            squares, basis = torch.linalg.eigh(gram)
        else:  # the same directions from the products of rows with rows, of which there are fewer
            x = torch.cat(parts)
            squares, left = torch.linalg.eigh(x @ x.T)
            squares = squares.clamp(min=0)
            kept = squares > squares.max() * torch.finfo(torch.float64).eps * rows.n
            squares, left = squares[kept], left[:, kept]
            basis = x.T @ (left / squares.sqrt())
        return cls(
            rows, targets, weight, mean, target_mean, squares.clamp(min=0), basis, basis.T @ products, fit_intercept
        )

    def leave_one_out(self, alphas: Float[Tensor, " alpha"]) -> Float[Tensor, "alpha t"]:
        """The mean squared error of rows that are predicted by the fit to all others."""
        rows = self.rows
        # Of as many columns as rows, what is left of a row is a small difference.
        dtype = torch.float64 if rows.n <= rows.d else rows.dtype
        errors = torch.zeros(len(alphas), self.targets.shape[1], dtype=torch.float64, device=rows.device)
        shrunk = 1 / (self.squares[:, None] + alphas)
        basis, mean, inverse = self.basis.to(dtype), self.mean.to(dtype), shrunk.to(dtype)
        total = float(rows.n if self.weight is None else self.weight.sum())
        for columns in torch.arange(self.targets.shape[1], device=rows.device).split(TARGETS):
            solved = [(by * self.products[:, columns]).to(dtype) for by in shrunk.T[:, :, None]]
            target_mean = self.target_mean[columns]
            for where, x in rows.chunks():
                along = (x.to(dtype) - mean) @ basis
                leverage = along.square() @ inverse
                weight = None if self.weight is None else self.weight[where, None]
                if weight is not None:
                    leverage = leverage * weight.to(dtype)
                if self.fit_intercept:
                    leverage = leverage + (1 if weight is None else weight.to(dtype)) / total
                left = (1 - leverage).clamp(min=torch.finfo(dtype).eps)
                y = (self.targets[where][:, columns] - target_mean).to(dtype)
                for i, W in enumerate(solved):
                    missed = torch.addmm(y, along, W, alpha=-1).div_(left[:, i : i + 1]).square_()
                    if weight is not None:
                        missed *= weight.to(dtype)
                    errors[i, columns] += missed.sum(0).double()
        return errors / total

    def solution(self, alpha: Float[Tensor, " t"]) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        """Coefficients and intercepts for a penalty of each target's own."""
        coef = (self.basis @ (self.products / (self.squares[:, None] + alpha))).T
        return coef, self.target_mean - coef @ self.mean


def _means(
    rows: Rows, targets: Float[Tensor, "n t"], weight: Float[Tensor, " n"] | None, fit_intercept: bool
) -> tuple[Float[Tensor, " d"], Float[Tensor, " t"]]:
    """What is taken from rows and targets: their means where there is an intercept, zero otherwise."""
    mean = torch.zeros(rows.d, dtype=torch.float64, device=rows.device)
    target_mean = torch.zeros(targets.shape[1], dtype=torch.float64, device=rows.device)
    if not fit_intercept:
        return mean, target_mean
    total = rows.n if weight is None else weight.sum()
    for where, x in rows.chunks():
        y = targets[where].double()
        mean += x.double().sum(0) if weight is None else weight[where] @ x.double()
        target_mean += y.sum(0) if weight is None else weight[where] @ y
    return mean / total, target_mean / total


def _targets(y: Any, rows: Rows) -> Float[Tensor, " row *target"]:
    """Targets as they are, checked."""
    y = as_numpy(y)
    if y.dtype.kind not in "biuf":
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"y holds {y.dtype.type.__name__} where a regression needs numbers.") from None
    if y.ndim not in (1, 2) or y.shape[0] != rows.n:
        raise ValueError(f"X has {rows.n} rows and y the shape {y.shape}: y must be [rows] or [rows, targets].")
    if not np.isfinite(y).all():
        wrong = np.flatnonzero(~np.isfinite(y.reshape(len(y), -1)).all(1))
        raise ValueError(f"y contains NaN or infinity in {len(wrong):,} of {rows.n:,} rows (the first is {wrong[0]}).")
    floating = y if y.dtype in (np.float32, np.float64) else y.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(floating)).to(rows.device)
