"""`PopulationVector`: each neuron votes for the direction it prefers."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import f as f_distribution
from sklearn.utils.validation import check_is_fitted

from probes.base import Array
from probes.population.base import Decoder


class PopulationVector(Decoder):
    """`x̂ = (d/N) Σᵢ (rᵢ − bᵢ)/mᵢ · cᵢ` for cosine tuning `rᵢ = bᵢ + mᵢ cᵢ·x`; of an angle the direction of that vector.

    Georgopoulos, Schwartz and Kettner, "Neuronal population coding of movement direction" (1986); Salinas and Abbott,
    "Vector reconstruction from firing rates" (1994). Baseline b, modulation m and preferred direction c (of length 1)
    come from least squares, or are given. It is unbiased only where preferred directions lie evenly in all directions,
    and does not reach the Fisher bound in general: `OptimalLinearEstimator` corrects both. Linear outputs make one
    space of d dimensions; each circular output is a plane of its own, its angle φ the vector (cos φ, sin φ).

    A neuron with hardly any modulation would vote loudest, for it is divided by its own. As in the paper only neurons
    tuned significantly (an F test of the regression) have a vote; what is silent has none.

    The uncertainty is the mean product of the errors on the training bins, one covariance for all.

    Args:
        preferred: given directions: of one circular output its angles [neurons], in its unit; of d linear outputs
            vectors [neurons, d], whatever their length.
        baseline: given b [neurons]; only with `preferred`.
        modulation: given m [neurons]; only with `preferred`.
        level: of significance; 1 lets all neurons vote that change at all.
        period: of circular outputs.

    Attributes:
        preferred_: as `preferred`; where circular outputs have others beside them, directions in the space of all.
        baseline_, modulation_: [neurons]; of several spaces the modulation is [neurons, spaces].
        voting_: [neurons], whether each has a vote; of several spaces [neurons, spaces].
        covariance_: [k, k], of the errors, in which a circular output counts twice.
    """

    def __init__(
        self,
        *,
        preferred: Any = None,
        baseline: Any = None,
        modulation: Any = None,
        level: float = 0.01,
        period: Any = None,
    ) -> None:
        self.preferred = preferred
        self.baseline = baseline
        self.modulation = modulation
        self.level = level
        self.period = period

    def fit(self, X: Any, y: Any, groups: Any = None) -> "PopulationVector":
        """Fit to counts or rates X [bins, neurons] and outputs y [bins] or [bins, d]; groups change nothing.

        Raises:
            ValueError: what is not finite or of unequal length; directions, baselines or modulations of other neurons.
        """
        X, y, _ = self._training(X, y, groups)
        self._warn_of_silent()
        targets = self.outputs_.encode(y)
        spaces = self._spaces()
        given = self._given(len(spaces))
        baseline, slopes, left = self._tuning(X, targets, given)
        self.modulation_ = np.stack([np.linalg.norm(slopes[:, space], axis=1) for space in spaces], axis=1)
        if self.modulation is not None:
            self.modulation_ = self._per_neuron(self.modulation, "modulation")[:, None]
        self.baseline_ = baseline
        self.voting_ = self._voting(targets, slopes, left, spaces)
        self._votes = np.zeros((X.shape[1], targets.shape[1]))
        for j, space in enumerate(spaces):
            voting = np.flatnonzero(self.voting_[:, j])
            part = slopes[voting][:, space]
            unit = part / np.linalg.norm(part, axis=1, keepdims=True)
            d, N = unit.shape[1], max(1, len(voting))
            self._votes[np.ix_(voting, space)] = d / N * unit / self.modulation_[voting, j, None]
        self.preferred_ = self._as_told(slopes, spaces)
        self.covariance_ = self.outputs_.residual_covariance(y, (X - baseline) @ self._votes)
        if len(spaces) == 1:
            self.modulation_, self.voting_ = self.modulation_[:, 0], self.voting_[:, 0]
        return self

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The outputs of each bin, with their standard deviation or covariance where that is asked for."""
        check_is_fitted(self)
        counts, _ = self._reading(X, groups)
        vectors = (counts - self.baseline_) @ self._votes
        return self._answer_of_vectors(vectors, self.covariance_, X, return_std=return_std, return_cov=return_cov)

    def _spaces(self) -> list[np.ndarray]:
        """The columns of the linear outputs together, and of each circular one."""
        circular = self.outputs_.is_circular
        columns = [np.arange(place.start, place.stop) for place in self.outputs_.places]
        linear = [column for column, is_circular in zip(columns, circular, strict=True) if not is_circular]
        together = [np.concatenate(linear)] if linear else []
        return together + [column for column, is_circular in zip(columns, circular, strict=True) if is_circular]

    def _given(self, n_spaces: int) -> Float[np.ndarray, "neurons k"] | None:
        """Given directions, as vectors of length 1."""
        if self.preferred is None:
            if self.baseline is not None or self.modulation is not None:
                raise ValueError("a baseline or modulation belongs to a preferred direction: give preferred too.")
            return None
        if n_spaces > 1:
            raise ValueError("preferred directions are given for linear outputs, or for one circular output: not both.")
        found = np.asarray(self.preferred, np.float64)
        wanted = (self.n_features_in_,) if self.outputs_.is_circular[0] else (self.n_features_in_, self.outputs_.d)
        if found.shape != wanted or not np.isfinite(found).all():
            raise ValueError(f"preferred has the shape {found.shape}: it must be {wanted}, and finite.")
        if self.outputs_.is_circular[0]:
            return self.outputs_.encode(found[:, None])
        length = np.linalg.norm(found, axis=1, keepdims=True)
        if not length.all():
            raise ValueError("a preferred direction is zero: it points nowhere; leave that neuron out.")
        return found / length

    def _per_neuron(self, values: Any, name: str) -> Float[np.ndarray, " neurons"]:
        found = np.asarray(values, np.float64)
        if found.shape != (self.n_features_in_,) or not np.isfinite(found).all():
            raise ValueError(f"{name} has the shape {found.shape}: it must be ({self.n_features_in_},), and finite.")
        if name == "modulation" and not (found > 0).all():
            raise ValueError("a modulation is not above zero: leave neurons out that are not modulated.")
        return found

    def _tuning(
        self,
        X: Float[np.ndarray, "n neurons"],
        targets: Float[np.ndarray, "n k"],
        given: Float[np.ndarray, "neurons k"] | None,
    ) -> tuple[Float[np.ndarray, " neurons"], Float[np.ndarray, "neurons k"], Float[np.ndarray, " neurons"]]:
        """Baselines, slopes along each column, and the sums of squares that they leave."""
        mean, centre = X.mean(0), targets.mean(0)
        around = targets - centre
        if given is None:
            slopes = np.linalg.lstsq(around, X - mean, rcond=None)[0].T
        else:  # one number a neuron: its modulation along the direction that is given
            along = around @ given.T
            size = np.einsum("ni,ni->i", along, X - mean) / np.maximum((along**2).sum(0), np.finfo(float).tiny)
            if self.modulation is not None:
                size = self._per_neuron(self.modulation, "modulation")
            slopes = size[:, None] * given
        slopes[self.silent_] = 0
        left = ((X - mean - around @ slopes.T) ** 2).sum(0)
        baseline = mean - slopes @ centre
        if self.baseline is not None:
            baseline = self._per_neuron(self.baseline, "baseline")
        return baseline, slopes, left

    def _voting(
        self,
        targets: Float[np.ndarray, "n k"],
        slopes: Float[np.ndarray, "neurons k"],
        left: Float[np.ndarray, " neurons"],
        spaces: list[np.ndarray],
    ) -> Bool[np.ndarray, "neurons spaces"]:
        """Which neurons are tuned in each space: an F test of what their slopes there explain."""
        found = (self.modulation_ > 0) & ~np.isin(np.arange(len(left)), self.silent_)[:, None]
        if self.modulation is not None or self.level >= 1:
            return found
        n, k = targets.shape
        covariance = np.cov(targets.T, ddof=0).reshape(k, k)
        freedom = max(1, n - k - 1)
        for j, space in enumerate(spaces):
            others = np.setdiff1d(np.arange(k), space)
            own = covariance[np.ix_(space, space)]
            if len(others):  # what these columns have beyond the others
                shared = covariance[np.ix_(space, others)]
                own = own - shared @ np.linalg.pinv(covariance[np.ix_(others, others)]) @ shared.T
            explained = n * np.einsum("ia,ab,ib->i", slopes[:, space], own, slopes[:, space])
            dimensions = len(space) if self.preferred is None else 1
            ratio = np.divide(explained / dimensions, left / freedom, out=np.full(len(left), np.inf), where=left > 0)
            tuned = found[:, j] & (f_distribution.sf(ratio, dimensions, freedom) < self.level)
            if tuned.any():
                found[:, j] = tuned
            elif found[:, j].any():
                warnings.warn(
                    f"no neuron is tuned at a level of {self.level}: all {found[:, j].sum()} that change have a vote.",
                    UserWarning,
                    stacklevel=4,
                )
        return found

    def _as_told(self, slopes: Float[np.ndarray, "neurons k"], spaces: list[np.ndarray]) -> np.ndarray:
        """Directions in the form in which they are given; NaN of neurons that have none."""
        length = np.linalg.norm(slopes, axis=1, keepdims=True)
        units = np.divide(slopes, length, out=np.full_like(slopes, np.nan), where=length > 0)
        return self.outputs_.decode(units)[:, 0] if len(spaces) == 1 and self.outputs_.is_circular[0] else units
