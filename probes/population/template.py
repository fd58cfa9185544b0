"""`TemplateDecoder`: the value whose mean response is nearest to what is seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from probes.population.grid_decoder import GridDecoder
from probes.tuning import TuningCurves

METRICS = ("euclidean", "correlation", "cosine")
# Time bins by which the width of the posterior is found, and how many factors of e about a typical distance it may lie.
CALIBRATED, SPAN = 4096, 12.0


class TemplateDecoder(GridDecoder):
    """`argmin distance(f(x), r)` over the visited bins of a grid.

    Correlation and cosine distance are Euclidean ones between responses of unit length (of the former, less their mean
    over neurons): 1 − ρ = ½‖u − v‖². The uncertainty is that of `p(x) ∝ exp(−‖u − v(x)‖²/2s²)` over the visited bins,
    with the s² under which the bins of the training data are likeliest.

    Args:
        n_bins: along all axes, or one number for each; see `PoissonBayes`.
        metric: `euclidean`, `correlation` or `cosine`.
        estimate: `mode`, the nearest template; or the `mean` over the posterior.
        range, dt, period, smoothing, min_occupancy: see `tuning_curves`.

    Attributes:
        curves_: `TuningCurves`, as measured.
        templates_: of each visited bin [V, used], of unit length where the metric asks for it.
        noise_: s².
    """

    def __init__(
        self,
        n_bins: int | Sequence[int] | None = None,
        *,
        metric: str = "euclidean",
        estimate: str = "mode",
        range: Any = None,
        dt: float = 1.0,
        period: Any = None,
        smoothing: Any = None,
        min_occupancy: float = 0.0,
    ) -> None:
        self.n_bins = n_bins
        self.metric = metric
        self.estimate = estimate
        self.range = range
        self.dt = dt
        self.period = period
        self.smoothing = smoothing
        self.min_occupancy = min_occupancy

    def fit(self, X: Any, y: Any, groups: Any = None) -> "TemplateDecoder":
        """Fit to activity X [n, neurons] and variables y [n] or [n, d]; groups change nothing.

        Raises:
            ValueError: what is not finite or of unequal length, or a variable outside the range.
        """
        X, values, _ = self._fit_grid(X, y, groups)
        self._take_templates()
        place = np.full(self.curves_.occupancy.size, -1)
        place[self.visited_] = np.arange(len(self.visited_))
        numbers = place[self.curves_.bins_of(values)]
        chosen = np.flatnonzero(numbers >= 0)
        chosen = chosen[:: -(-len(chosen) // CALIBRATED)]
        self._take_noise(self._placed(X[chosen]), numbers[chosen])
        return self

    @classmethod
    def from_curves(cls, curves: TuningCurves, noise: float, **settings: Any) -> "TemplateDecoder":
        """A decoder whose templates, `rates · dt`, and s² are given."""
        found = cls(curves.shape, dt=curves.dt, period=curves.period, **settings)
        found._take_given(curves)
        found._take_templates()
        if not 0 < noise < np.inf:
            raise ValueError(f"noise is {noise}: it must be a squared distance above zero.")
        found.noise_ = float(noise)
        return found

    def _refuse_settings(self) -> None:
        super()._refuse_settings()
        if self.metric not in METRICS:
            raise ValueError(f"metric is {self.metric!r}: choose euclidean, correlation or cosine.")

    def _take_templates(self) -> None:
        self.templates_ = self._placed((self.curves_.flat[:, self.visited_] * self.curves_.dt).T)

    def _take_noise(self, u: Float[np.ndarray, "n used"], numbers: Int[np.ndarray, " n"]) -> None:
        scores = u @ self.templates_.T - 0.5 * (self.templates_**2).sum(1)
        scores -= scores.max(1, keepdims=True)
        own = np.take_along_axis(scores, numbers[:, None], axis=1)[:, 0]

        def unlikely(log_noise: float) -> float:
            noise = np.exp(log_noise)
            return float((np.log(np.exp(scores / noise).sum(1)) - own / noise).mean())

        typical = max(float(-scores.mean()), np.finfo(float).tiny)
        middle = np.log(typical)
        found = minimize_scalar(unlikely, bounds=(middle - SPAN, middle + SPAN), method="bounded")
        self.noise_ = float(np.exp(found.x))

    def _placed(self, X: Float[np.ndarray, "n neurons"]) -> Float[np.ndarray, "n used"]:
        """Responses where the metric is Euclidean; one of no length stays at the origin, as far from all as can be."""
        r = X[:, self.used_]
        if self.metric == "euclidean":
            return r
        r = r - r.mean(1, keepdims=True) if self.metric == "correlation" else r
        length = np.linalg.norm(r, axis=1, keepdims=True)
        return np.divide(r, length, out=np.zeros_like(r), where=length > 0)

    def _log_likelihood(self, X: Float[np.ndarray, "n neurons"]) -> Float[np.ndarray, "n visited"]:
        u, v = self._placed(X), self.templates_
        return (u @ v.T - 0.5 * (v**2).sum(1)) / self.noise_
