"""`OptimalLinearEstimator`: the best linear reading of neurons whose tuning and noise are known."""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted

from probes.base import Array
from probes.population.base import Decoder
from probes.population.grid_decoder import default_bins
from probes.population.least_squares import PenalisedGram
from probes.population.outputs import Outputs
from probes.tuning import TuningCurves, tuning_curves

NOISES = ("residual", "poisson")


class OptimalLinearEstimator(Decoder):
    """`x̂ = Dᵀr` with `D = Q⁻¹L`, `Qᵢⱼ = δᵢⱼσᵢ² + ⟨fᵢfⱼ⟩`, `Lᵢ = ⟨fᵢx⟩`: the least mean squared error over the stimuli.

    Salinas and Abbott, "Vector reconstruction from firing rates" (1994). f are the expected counts of a bin, ⟨·⟩ the
    mean over the stimuli as often as they were met, σ² each neuron's noise, independent of the others'. Where
    preferred directions lie unevenly it corrects the population vector, which it otherwise is. A circular variable is
    the vector of its cosine and sine. Neurons that never change have weight zero.

    Fitted to a recording, the curves are its means over a grid of bins, and the uncertainty is the mean product of the
    errors on the training bins; with given curves (`from_curves`) both follow from these.

    Args:
        n_bins: of the grid on which the curves stand, along all variables or one for each; 50, 20 × 20, 10 × 10 × 10,
            and 5 along each of more, for None.
        noise: `residual`, each neuron's variance about its curve (a bin of the grid costs a degree of freedom); or
            `poisson`, its mean count.
        fit_intercept: whether counts and variables are taken less their means. The formula above has no intercept.
        period: of circular outputs.

    Attributes:
        coef_: [neurons], [d, neurons]; a circular output has two rows, cosine and sine.
        intercept_: a number, or [d]; zero without `fit_intercept`.
        curves_: of a recording in counts a bin (dt = 1).
        noise_: σ² [neurons].
        covariance_: [k, k], of the errors, in which a circular output counts twice.
    """

    def __init__(
        self, n_bins: Any = None, *, noise: str = "residual", fit_intercept: bool = False, period: Any = None
    ) -> None:
        self.n_bins = n_bins
        self.noise = noise
        self.fit_intercept = fit_intercept
        self.period = period

    def fit(self, X: Any, y: Any, groups: Any = None) -> "OptimalLinearEstimator":
        """Fit to counts or rates X [bins, neurons] and variables y [bins] or [bins, d]; groups change nothing.

        Raises:
            ValueError: what is not finite or of unequal length, a kind of noise that is none.
        """
        self._refuse_settings()
        X, y, _ = self._training(X, y, groups)
        self._warn_of_silent()
        n_bins = default_bins(y.shape[1]) if self.n_bins is None else self.n_bins
        self.curves_ = tuning_curves(X, y, n_bins=n_bins, period=self.outputs_.period, dt=1.0)
        expected = self.curves_.at(y)
        poisson = self.noise == "poisson"
        freedom = max(1, len(X) - int((self.curves_.occupancy > 0).sum()))
        self._solve(X.mean(0) if poisson else ((X - expected) ** 2).sum(0) / freedom)
        self.covariance_ = self.outputs_.residual_covariance(y, X @ self._weights + self._offset)
        return self

    @classmethod
    def from_curves(cls, curves: TuningCurves, noise: Any = None, **settings: Any) -> "OptimalLinearEstimator":
        """An estimator whose tuning is given, for counts of bins of `curves.dt` seconds.

        Args:
            curves: rates in Hz, with the seconds that each stimulus was met; the others do not count.
            noise: σ² [neurons] of the counts; Poisson neurons where None.
            **settings: `fit_intercept`.

        Raises:
            ValueError: noise of other neurons, or below zero.
        """
        found = cls(curves.shape, noise="poisson" if noise is None else "residual", period=curves.period, **settings)
        signed = tuple(bool(edges[0] < 0) for edges in curves.edges)
        found.outputs_ = Outputs(curves.period, signed, one=len(curves.edges) == 1)
        found.curves_, found.n_features_in_ = curves, curves.n_neurons
        visited = curves.visited.ravel()
        means = curves.flat[:, visited] * curves.dt
        share = curves.probability.ravel()[visited]
        found.silent_ = np.flatnonzero(np.ptp(means, axis=1) == 0)
        variance = means @ share if noise is None else np.asarray(noise, np.float64)
        if variance.shape != (curves.n_neurons,) or not (variance >= 0).all():
            raise ValueError(
                f"noise has the shape {variance.shape}: it must be a variance, not below zero, of each of the "
                f"{curves.n_neurons} neurons."
            )
        found._solve(variance)
        return found

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The variables in each bin, with their standard deviation or covariance where that is asked for."""
        check_is_fitted(self)
        counts, _ = self._reading(X, groups)
        vectors = counts @ self._weights + self._offset
        return self._answer_of_vectors(vectors, self.covariance_, X, return_std=return_std, return_cov=return_cov)

    def _solve(self, noise: Float[np.ndarray, " neurons"]) -> None:
        """D from the curves, and the errors that it makes, over the stimuli and the noise."""
        curves = self.curves_
        visited = curves.visited.ravel()
        share = curves.probability.ravel()[visited]
        f = curves.flat[:, visited].T * curves.dt
        x = self.outputs_.encode(curves.grid[visited])
        f_mean, x_mean = (share @ f, share @ x) if self.fit_intercept else (np.zeros(f.shape[1]), np.zeros(x.shape[1]))
        f, x = f - f_mean, x - x_mean
        weighted = f.T * share
        Q, L = weighted @ f + np.diag(noise), weighted @ x
        Q[self.silent_] = Q[:, self.silent_] = 0  # their columns are left out
        gram = PenalisedGram.of(Q, 0.0, "leave out neurons that repeat others or have no noise")
        self._weights = gram.solved(gram.whitened(L))
        self._offset = x_mean - f_mean @ self._weights
        self.noise_ = noise
        one = x.shape[1] == 1 and self.outputs_.one
        self.coef_ = self._weights[:, 0] if one else self._weights.T
        self.intercept_ = self._offset[0] if one else self._offset
        told = curves.flat[:, visited].T * curves.dt @ self._weights + self._offset
        spread = (self._weights.T * noise) @ self._weights
        self.covariance_ = self.outputs_.residual_covariance(curves.grid[visited], told, share, spread)

    def _refuse_settings(self) -> None:
        if self.noise not in NOISES:
            raise ValueError(f"noise is {self.noise!r}: choose residual or poisson.")
