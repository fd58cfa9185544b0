"""`KalmanFilter`: variables that move by a linear law, seen by neurons that are linear in them."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_solve
from sklearn.utils.validation import check_is_fitted

from probes.base import Array
from probes.population.base import Decoder, refuse_fractions
from probes.population.least_squares import factored
from probes.population.state_estimates import Motion, filtered, smoothed


class KalmanFilter(Decoder):
    """`x_{t+1} = A x_t + w`, `z_t = H x_t + q`: the estimate of the variables from all bins up to each, or from all.

    Wu, Black, Mumford, Gao, Bienenstock and Donoghue, "Neural decoding of cursor motion using a Kalman filter" (2003);
    smoothing is Rauch, Tung and Striebel's (1965). A and W come from bins that follow one another, H and Q from all;
    both are fitted less the means. Every group starts at the mean and the covariance of the training data, and nothing
    goes from one group to the next. The state is y as it is given: velocities and accelerations are columns of y. A
    circular variable is the vector of its cosine and sine.

    Measurements enter as HᵀQ⁻¹z, so that a bin costs products of the size of the state, whatever the number of
    neurons; and covariances, which no measurement changes, are computed once for all groups, until they are steady.

    Args:
        lag: bins by which the neurons are ahead of the variables: z of bin t speaks of the state of bin t + lag.
            Below zero they are behind (sensory neurons). Bins without a measurement are told from the law of motion.
        smooth: whether `predict` uses later bins too.
        shrinkage: 0 for the noise covariance Q as it is, 1 for its diagonal alone; in between Q is drawn towards it.
        period: of circular outputs.

    Attributes:
        A_, W_: [k, k], the law of motion and the covariance of what it misses; a circular output counts twice in k.
        H_, Q_: [neurons, k] and [neurons, neurons]; zero for silent neurons, which are left out.
        mean_, covariance_: [k] and [k, k], of the training data, where each group starts.
        neuron_mean_: [neurons], where the variables are at their mean.
    """

    def __init__(self, lag: int = 0, *, smooth: bool = False, shrinkage: float = 0.0, period: Any = None) -> None:
        self.lag = lag
        self.smooth = smooth
        self.shrinkage = shrinkage
        self.period = period

    def fit(self, X: Any, y: Any, groups: Any = None) -> "KalmanFilter":
        """Fit to counts or rates X [bins, neurons] and variables y [bins] or [bins, d].

        Raises:
            ValueError: what is not finite or of unequal length, groups that come back, groups all too short for the
                lag, a noise covariance that is singular.
        """
        refuse_fractions(lag=self.lag)
        if not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage}: it must lie between 0 and 1.")
        Z, y, runs = self._training(X, y, groups)
        state = self.outputs_.encode(y)
        self.mean_ = state.mean(0)
        state = state - self.mean_
        self.covariance_ = state.T @ state / len(state)
        before = np.concatenate([np.arange(run.start, run.stop - 1) for run in runs])
        seen = np.concatenate([np.arange(run.start, run.stop - abs(self.lag)) for run in runs])
        if not len(before) or len(seen) <= state.shape[1]:
            raise ValueError(
                f"the groups have {len(before)} pairs of bins that follow one another and {len(seen)} bins at lag "
                f"{self.lag}: a Kalman filter needs longer groups."
            )
        self.A_, self.W_ = _regression(state[before], state[before + 1])
        z, x = (Z[seen], state[seen + self.lag]) if self.lag >= 0 else (Z[seen - self.lag], state[seen])
        z_mean, x_mean = z.mean(0), x.mean(0)
        z = z - z_mean
        z[:, self.silent_] = 0
        self.H_, Q = _regression(x - x_mean, z)
        self.neuron_mean_ = z_mean - self.H_ @ x_mean
        self.Q_ = (1 - self.shrinkage) * Q + self.shrinkage * np.diag(Q.diagonal())
        self._keep_information()
        return self

    def _keep_information(self) -> None:
        """Q⁻¹H and HᵀQ⁻¹H, of the neurons that are not silent."""
        heard = np.setdiff1d(np.arange(len(self.Q_)), self.silent_)
        self._weights = np.zeros_like(self.H_)
        if len(heard):
            factor = factored(self.Q_[np.ix_(heard, heard)])
            if factor is None:
                raise ValueError(
                    f"the noise covariance of the {len(heard)} neurons is singular (neurons that repeat each other, a "
                    "noiseless one, or too few bins): leave them out, or give a shrinkage above zero."
                )
            self._weights[heard] = cho_solve((factor, True), self.H_[heard])
        information = self.H_.T @ self._weights
        self._motion = Motion(self.A_, self.W_, (information + information.T) / 2, self.covariance_)

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The variables in every bin from the bins of its group up to it (with `smooth` from all bins of the group)."""
        return self._told(X, groups, smooth=self.smooth, return_std=return_std, return_cov=return_cov)

    def smoothed(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The variables in every bin from all bins of its group, whatever `smooth` is."""
        return self._told(X, groups, smooth=True, return_std=return_std, return_cov=return_cov)

    def _told(
        self, X: Any, groups: Any, *, smooth: bool, return_std: bool, return_cov: bool
    ) -> Array | tuple[Array, Array]:
        check_is_fitted(self)
        Z, runs = self._reading(X, groups)
        told = (Z - self.neuron_mean_) @ self._weights
        forward = filtered(self._motion, told, runs, self.lag)
        estimate = smoothed(self._motion, forward, runs) if smooth else forward
        covariance = estimate.covariances() if return_std or return_cov else self.covariance_
        vectors = estimate.states + self.mean_
        return self._answer_of_vectors(vectors, covariance, X, return_std=return_std, return_cov=return_cov)


def _regression(
    x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"]
) -> tuple[Float[np.ndarray, "q p"], Float[np.ndarray, "q q"]]:
    """Least squares without intercept, and the covariance of what is left; the shortest weights where x is singular."""
    weights, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    left = y - x @ weights
    return weights.T, left.T @ left / max(1, len(x) - rank)
