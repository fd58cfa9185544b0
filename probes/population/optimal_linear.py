"""`OptimalLinearDecoder`: least squares that expects noise in the activities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted

from probes.base import Array
from probes.population.base import Decoder
from probes.population.least_squares import PenalisedGram

NOISES = ("per_sample", "total")
SOLVERS = ("auto", "primal", "dual")
# Leverages of this many activities at once.
BLOCK = 1 << 20
REMEDY = "give a sigma above zero"


class OptimalLinearDecoder(Decoder):
    """`D = (AᵀA + mσ²I)⁻¹AᵀY`: the linear decoder that is best when each activity has noise of variance σ² on it.

    Eliasmith and Anderson, Neural Engineering (2003), chapter 2. `noise="per_sample"` is this: σ is the noise of one
    sample, and the m samples each bring theirs. `noise="total"` is `(AᵀA + σ²I)⁻¹AᵀY`, as course notes write it, in
    which σ² has absorbed m: the same as scikit-learn's `Ridge(alpha=σ²)`. The dual form `Aᵀ(AAᵀ + mσ²I)⁻¹Y` gives the
    same D from as many equations as there are samples; memory beside A is of the order of min(m, neurons)².

    The uncertainty is the covariance of the errors on samples that are left out, each by itself, in closed form. It
    is one for all samples. Neurons that are silent throughout have weight zero.

    Args:
        sigma: the noise, as a share of the largest activity, or in its unit where `relative` is False.
        noise: `per_sample` or `total`.
        relative: whether σ = sigma · max|A|.
        solver: `primal`, `dual`, or whichever has fewer equations.
        fit_intercept: whether there is one; the penalty leaves it free.
        period: of circular outputs.

    Attributes:
        coef_: [neurons], [d, neurons]; a circular output has two rows, cosine and sine.
        intercept_: a number, or [d].
        sigma_: the noise, in the unit of the activities.
        covariance_: [k, k], of the errors of these d outputs, in which a circular one counts twice.
    """

    def __init__(
        self,
        sigma: float = 0.1,
        *,
        noise: str = "per_sample",
        relative: bool = True,
        solver: str = "auto",
        fit_intercept: bool = False,
        period: Any = None,
    ) -> None:
        self.sigma = sigma
        self.noise = noise
        self.relative = relative
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.period = period

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> "OptimalLinearDecoder":
        """Fit to activities X [m, neurons] and outputs y [m] or [m, d]; groups change nothing.

        Raises:
            ValueError: what is not finite, or of unequal length; with sigma = 0, neurons that depend on each other.
        """
        self._refuse_settings()
        A, y, _ = self._training(X, y, groups)
        given = self._weight(sample_weight, self._rows(X, reset=False))
        weight = np.ones(len(A)) if given is None else given.cpu().numpy()
        largest = np.abs(A[weight > 0]).max()
        self.sigma_ = float(self.sigma * largest if self.relative else self.sigma)
        penalty = self.sigma_**2 * (weight.sum() if self.noise == "per_sample" else 1)
        targets = self.outputs_.encode(y)
        fitted = _Regression.of(A, targets, weight, self.fit_intercept)
        dual = self.solver == "dual" or (self.solver == "auto" and len(A) < A.shape[1] and penalty > 0)
        coef, leverage = fitted.dual(penalty) if dual else fitted.primal(penalty)
        intercept = fitted.target_mean - fitted.mean @ coef
        missed = (targets - (A @ coef + intercept)) / np.maximum(1 - leverage, np.finfo(float).eps)[:, None]
        self.covariance_ = self.outputs_.residual_covariance(y, targets - missed, weight)
        one = self.outputs_.one and targets.shape[1] == 1
        self.coef_ = coef[:, 0] if one else coef.T
        self.intercept_ = intercept[0] if one else intercept
        return self

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The outputs of each bin, with their standard deviation or covariance where that is asked for."""
        check_is_fitted(self)
        A, _ = self._reading(X, groups)
        vectors = A @ np.atleast_2d(self.coef_).T + self.intercept_
        return self._answer_of_vectors(vectors, self.covariance_, X, return_std=return_std, return_cov=return_cov)

    def _refuse_settings(self) -> None:
        if self.noise not in NOISES:
            raise ValueError(f"noise is {self.noise!r}: choose per_sample or total.")
        if self.solver not in SOLVERS:
            raise ValueError(f"solver is {self.solver!r}: choose auto, primal or dual.")
        if not (np.isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(f"sigma is {self.sigma}: noise must be finite, and not below zero.")
        if self.solver == "dual" and self.sigma == 0:
            raise ValueError("the dual form needs noise: give a sigma above zero, or the solver auto.")


@dataclass(frozen=True)
class _Regression:
    """Rows and targets, times the root of their weights, less their means where there is an intercept."""

    rows: Float[np.ndarray, "m neurons"]
    targets: Float[np.ndarray, "m k"]
    mean: Float[np.ndarray, " neurons"]
    target_mean: Float[np.ndarray, " k"]
    of_mean: Float[np.ndarray, " m"]
    """The leverage that a row has on the intercept."""

    @classmethod
    def of(
        cls,
        A: Float[np.ndarray, "m neurons"],
        targets: Float[np.ndarray, "m k"],
        weight: Float[np.ndarray, " m"],
        fit_intercept: bool,
    ) -> "_Regression":
        share = weight / weight.sum() if fit_intercept else np.zeros(len(A))
        mean, target_mean = share @ A, share @ targets
        if fit_intercept:
            mean = np.where(np.ptp(A, axis=0) > 0, mean, A[0])  # what never changes leaves nothing, not even rounding
        root = np.sqrt(weight)[:, None]
        rows = A if not fit_intercept and (weight == 1).all() else (A - mean) * root
        return cls(rows, (targets - target_mean) * root, mean, target_mean, share)

    def primal(self, penalty: float) -> tuple[Float[np.ndarray, "neurons k"], Float[np.ndarray, " m"]]:
        """Weights, and the leverage of each row on its own prediction, from as many equations as neurons."""
        gram = PenalisedGram.of(self.rows.T @ self.rows, penalty, REMEDY)
        step = max(1, BLOCK // self.rows.shape[1])
        leverage = np.concatenate(
            [(gram.whitened(self.rows[start : start + step].T) ** 2).sum(0) for start in range(0, len(self.rows), step)]
        )
        return gram.solved(gram.whitened(self.rows.T @ self.targets)), leverage + self.of_mean

    def dual(self, penalty: float) -> tuple[Float[np.ndarray, "neurons k"], Float[np.ndarray, " m"]]:
        """The same from as many equations as rows."""
        kernel = PenalisedGram.of(self.rows @ self.rows.T, penalty, REMEDY)
        half = kernel.whitened(np.eye(kernel.size))
        # K (K + p)⁻¹ = 1 − p (K + p)⁻¹; a row of zeros has no leverage.
        leverage = np.zeros(kernel.size)
        leverage[kernel.used] = 1 - penalty * (half[:, kernel.used] ** 2).sum(0)
        return self.rows.T @ kernel.solved(half @ self.targets), leverage + self.of_mean
