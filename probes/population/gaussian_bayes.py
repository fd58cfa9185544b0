"""`GaussianBayes`: the posterior of a variable given responses with Gaussian noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import gaussian_filter1d
from sklearn.covariance import ledoit_wolf

from probes.population.bayes import BayesDecoder
from probes.population.least_squares import factored
from probes.tuning import TuningCurves
from probes.tuning.curves import smoothing_in_bins

COVARIANCES = ("shared", "bins")
# Noise below this share of a neuron's variance is rounding.
LEAST_NOISE = 1e-9
# Degrees of freedom below this are none.
ROUNDING = 1e-9


class GaussianBayes(BayesDecoder):
    """`r | x ~ N(f(x), Σ)` on a grid of any dimension: for rates, fluorescence, and the activations of networks.

    The mean responses are drawn towards each neuron's mean as if that had been seen for `pseudo_bins` time bins; so
    are variances bin by bin towards the neuron's own. The noise is what is left of the responses over the degrees of
    freedom that the means have left: with few time bins a bin, half of them may be gone.

    Args:
        covariance: `shared`, one full covariance of the noise in all bins, or `bins`, each neuron's variance in each
            bin, neurons independent: then the noise itself says where one is.
        shrinkage: of the shared covariance towards a multiple of the identity, from 0 to 1; `auto` for Ledoit and
            Wolf's.
        n_bins, range, dt, prior, continuity, smooth, jump, estimate, period, smoothing, min_occupancy: see
            `PoissonBayes`.
        pseudo_bins: see above.

    Attributes:
        curves_: `TuningCurves`, as measured.
        prior_, continuity_: see `PoissonBayes`.
        mean_: responses of each used neuron in each visited bin [used, V].
        noise_: covariance of the used neurons [used, used], or variances [used, V].
    """

    def __init__(
        self,
        n_bins: int | Sequence[int] | None = None,
        *,
        covariance: str = "shared",
        shrinkage: float | str = "auto",
        range: Any = None,
        dt: float = 1.0,
        prior: Any = "occupancy",
        continuity: Any = None,
        smooth: bool = False,
        jump: float = 1e-6,
        estimate: str = "mean",
        period: Any = None,
        smoothing: Any = None,
        min_occupancy: float = 0.0,
        pseudo_bins: float = 1.0,
    ) -> None:
        self.n_bins = n_bins
        self.covariance = covariance
        self.shrinkage = shrinkage
        self.range = range
        self.dt = dt
        self.prior = prior
        self.continuity = continuity
        self.smooth = smooth
        self.jump = jump
        self.estimate = estimate
        self.period = period
        self.smoothing = smoothing
        self.min_occupancy = min_occupancy
        self.pseudo_bins = pseudo_bins

    def fit(self, X: Any, y: Any, groups: Any = None) -> "GaussianBayes":
        """Fit to responses X [n, neurons] and variables y [n] or [n, d]; groups [n] bound the steps that are learned.

        Raises:
            ValueError: what is not finite or of unequal length, a variable outside the range, or, with no shrinkage,
                a covariance that cannot be inverted.
        """
        X, values, runs = self._fit_grid(X, y, groups)
        self._take_prior()
        place = np.full(self.curves_.occupancy.size, -1)
        place[self.visited_] = np.arange(len(self.visited_))
        numbers = place[self.curves_.bins_of(values)]
        X, numbers = X[numbers >= 0][:, self.used_], numbers[numbers >= 0]
        n = np.bincount(numbers, minlength=len(self.visited_))
        share = n / (n + self.pseudo_bins)
        overall = X.mean(0)[:, None]
        self.mean_ = overall + share * (self.curves_.flat[:, self.visited_][self.used_] * self.curves_.dt - overall)
        left = X - self.mean_[:, numbers].T
        floor = LEAST_NOISE * X.var(0)
        fitted = self._parameters(n, share)
        lost = len(X) / max(len(X) - fitted.sum(), 1.0)
        if self.covariance == "shared":
            self._take_noise(self._shared(left) * lost + np.diag(floor if self.shrinkage == "auto" else 0 * floor))
        else:
            squares = np.stack([np.bincount(numbers, one, minlength=len(n)) for one in left.T**2])
            squares += self.pseudo_bins * lost * (left**2).mean(0)[:, None]
            freedom = np.broadcast_to(n - fitted + self.pseudo_bins, squares.shape)
            variance = np.divide(squares, freedom, out=np.zeros_like(squares), where=freedom > ROUNDING)
            self._take_noise(variance + floor[:, None])
        self._take_continuity(values, runs)
        return self

    @classmethod
    def from_curves(
        cls, curves: TuningCurves, noise: Float[np.ndarray, "neuron _"], **settings: Any
    ) -> "GaussianBayes":
        """A decoder whose mean responses and noise are given, exactly as they are.

        Args:
            curves: their bins, periods and dt are the decoder's.
            noise: of responses in a time bin, whose means are `rates · dt`: the covariance of all neurons
                [neuron, neuron], or with `covariance="bins"` variances [neuron, n_grid], the bins as `curves.grid`
                counts them.
            settings: of the decoder.
        """
        found = cls(curves.shape, dt=curves.dt, period=curves.period, **settings)
        found._take_given(curves)
        # Noise may tell where the mean does not.
        found.used_, found.silent_ = np.arange(curves.n_neurons), np.empty(0, np.int64)
        found._take_prior()
        found.mean_ = curves.flat[:, found.visited_] * curves.dt
        wanted = curves.n_neurons if found.covariance == "shared" else curves.occupancy.size
        if noise.shape != (curves.n_neurons, wanted):
            raise ValueError(f"noise has shape {noise.shape}: it must be {(curves.n_neurons, wanted)}.")
        found._take_noise(noise if found.covariance == "shared" else noise[:, found.visited_])
        found._take_continuity(None, [])
        return found

    def _refuse_settings(self) -> None:
        super()._refuse_settings()
        if self.covariance not in COVARIANCES:
            raise ValueError(f"covariance is {self.covariance!r}: choose shared or bins.")
        if self.shrinkage != "auto" and (isinstance(self.shrinkage, str) or not 0 <= self.shrinkage <= 1):
            raise ValueError(f"shrinkage is {self.shrinkage!r}: it must lie between 0 and 1, or be 'auto'.")
        if not 0 <= self.pseudo_bins < np.inf:
            raise ValueError(f"pseudo_bins is {self.pseudo_bins}: it must not be below zero.")

    def _parameters(self, n: Int[np.ndarray, " visited"], share: Float[np.ndarray, " visited"]) -> np.ndarray:
        """How many means were fitted in each visited bin: what its time bins have of themselves in the mean responses.

        One, or less where others have a say in it: the neighbours by smoothing, or the neuron's mean.
        """
        curves = self.curves_
        own, around = np.ones(()), np.zeros(curves.occupancy.size)
        around[self.visited_] = n
        around = around.reshape(curves.shape)
        for axis, (width, one) in enumerate(
            zip(smoothing_in_bins(self.smoothing, curves.edges), curves.period, strict=True)
        ):
            smooth = np.eye(curves.shape[axis])
            if width > 0:
                mode = "constant" if one is None else "wrap"
                smooth = gaussian_filter1d(smooth, width, axis=0, mode=mode)
            own = np.multiply.outer(own, smooth.diagonal())
            around = np.moveaxis(np.tensordot(smooth, around, (1, axis)), 0, axis)
        itself = n * own.ravel()[self.visited_] / around.ravel()[self.visited_]
        return share * itself + (1 - share) * n / n.sum()

    def _shared(self, left: Float[np.ndarray, "n used"]) -> Float[np.ndarray, "used used"]:
        if self.shrinkage == "auto":
            return ledoit_wolf(left, assume_centered=True)[0]
        covariance = left.T @ left / len(left)
        target = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
        return (1 - float(self.shrinkage)) * covariance + float(self.shrinkage) * target

    def _take_noise(self, noise: Float[np.ndarray, "used _"]) -> None:
        """Noise, and what a likelihood needs of it."""
        shared = self.covariance == "shared"
        noise = np.array(noise, np.float64)
        told = factored(noise.copy()) is not None if shared else noise.min() > LEAST_NOISE**2 * noise.max()
        if not told:
            raise ValueError(
                "the covariance of the noise is singular: give some shrinkage, or leave out neurons that repeat others."
                if shared
                else "a neuron has no noise in some bin: leave it out, or give pseudo_bins above zero."
            )
        self.noise_ = noise

    def _log_likelihood(self, X: Float[np.ndarray, "n neurons"]) -> Float[np.ndarray, "n visited"]:
        X, f = X[:, self.used_], self.mean_
        centre = f.mean(1)
        r, f = X - centre, f - centre[:, None]
        if self.covariance == "shared":
            weight = cho_solve(cho_factor(self.noise_), f)
            return r @ weight - 0.5 * (f * weight).sum(0)
        precision = 1 / self.noise_
        constant = 0.5 * (f**2 * precision + np.log(self.noise_)).sum(0)
        return r @ (f * precision) - 0.5 * r**2 @ precision - constant
