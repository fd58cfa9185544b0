"""`PoissonBayes`: the posterior of a variable given the spikes of independent Poisson neurons."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from probes.population.bayes import BayesDecoder
from probes.tuning import TuningCurves


class PoissonBayes(BayesDecoder):
    """`log p(x|n) = Σ nᵢ log fᵢ(x) − Δt Σ fᵢ(x) + log p(x)` on a grid of any dimension, circular axes included.

    Zhang, Ginzburg, McNaughton and Sejnowski, "Interpreting neuronal population activity by reconstruction" (1998);
    with continuity the recursive filter of Brown, Frank, Tang, Quirk and Wilson, "A statistical paradigm for neural
    spike train decoding" (1998), on the grid and so without their Gaussian approximation. Everything is computed from
    logarithms: no product of many small numbers underflows.

    A bin in which a neuron never fired has not told that it never will. Rates are the means of their Gamma
    posteriors, whose prior is the neuron's mean rate, seen for `pseudo_bins` time bins: (spikes + α·mean)/(seconds + α)
    with α = pseudo_bins·dt. So no rate is zero, and one unexpected spike rules nothing out by itself. Neurons that
    never changed say nothing and are left out.

    Args:
        n_bins: along all axes, or one number for each; 50, 20 × 20, 10 × 10 × 10, and 5 along each of more, for None.
        range: of the variables, see `tuning_curves`.
        dt: seconds a time bin.
        prior: `occupancy` (the share of time in training), `uniform` over the visited bins, or an array [*bins].
        continuity: standard deviation of the variable's step in one time bin, one number or one for each axis; `fit`
            for the root mean square of the steps in training; None for none. What was found is then carried forward as
            a Gaussian random walk, never from one group to the next.
        smooth: whether later time bins count too (forward–backward).
        jump: with continuity, the chance in each time bin of a leap to anywhere.
        estimate: `mean` of the posterior (circular where the variable is), or its `mode`, a bin's centre.
        period: of circular variables.
        smoothing: of the curves, in the unit of the variable; counts are never smoothed, for then they were no counts.
        min_occupancy: seconds; bins visited for less have no probability.
        pseudo_bins: see above.

    Attributes:
        curves_: `TuningCurves`, as measured.
        prior_: of each visited bin [V].
        continuity_: [d], or None.
        expected_: spikes that each used neuron is expected to fire in a time bin in each visited bin [used, V].
    """

    _needs_counts = True

    def __init__(
        self,
        n_bins: int | Sequence[int] | None = None,
        *,
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

    def fit(self, X: Any, y: Any, groups: Any = None) -> "PoissonBayes":
        """Fit to counts X [n, neurons] and variables y [n] or [n, d]; groups [n] bound the steps that are learned.

        Raises:
            ValueError: negative counts, what is not finite or of unequal length, a variable outside the range.
        """
        _, values, runs = self._fit_grid(X, y, groups)
        self._take_rates()
        self._take_continuity(values, runs)
        return self

    @classmethod
    def from_curves(cls, curves: TuningCurves, **settings: Any) -> "PoissonBayes":
        """A decoder whose curves are given; dt, bins and periods are theirs.

        The same pseudo-counts are added as in fitting: exact curves have a long `occupancy`, or `pseudo_bins` near
        zero.
        """
        found = cls(curves.shape, dt=curves.dt, period=curves.period, **settings)
        found._take_given(curves)
        found._take_rates()
        found._take_continuity(None, [])
        return found

    def _take_rates(self) -> None:
        if not 0 < self.pseudo_bins < np.inf:
            raise ValueError(
                f"pseudo_bins is {self.pseudo_bins}: it must be above zero, or a spike could be impossible."
            )
        self._take_prior()
        rates = self.curves_.flat[:, self.visited_][self.used_]
        if (rates < 0).any():
            raise ValueError("the curves have rates below zero, which Poisson neurons cannot have.")
        seconds = self.curves_.occupancy.ravel()[self.visited_]
        alpha = self.pseudo_bins * self.curves_.dt
        mean = rates @ seconds / seconds.sum()
        self.expected_ = (rates * seconds + alpha * mean[:, None]) / (seconds + alpha) * self.curves_.dt

    def _log_likelihood(self, X: Float[np.ndarray, "n neurons"]) -> Float[np.ndarray, "n visited"]:
        scores = X[:, self.used_] @ np.log(self.expected_)
        scores -= self.expected_.sum(0)
        return scores
