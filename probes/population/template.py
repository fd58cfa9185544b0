"""`TemplateDecoder`: the value whose mean response is nearest to what is seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from probes.population.grid_decoder import GridDecoder, softmax
from probes.tuning import TuningCurves, tuning_curves

METRICS = ("euclidean", "correlation", "cosine")
# Time bins by which the width of the posterior is found, how many factors of e about a typical distance it may lie,
# and how many widths are tried there.
CALIBRATED, SPAN, TRIED = 2048, 8.0, 17
TINY = np.finfo(float).tiny
# Stretches of a recording that are left out in so many parts, so that each part has been everywhere.
STRETCHES, PARTS = 20, 5


@dataclass(frozen=True)
class _LeftOut:
    """Rows compared with templates that they are no part of; variables as vectors of which squares can be added up.

    Attributes:
        scores: of each row and template, the largest 0.
        grid: of each template.
        truth: of each row.
        circular: where the vectors have the cosine and sine of circular variables.
        within: the squared spread of a vector within a bin.
    """

    scores: Float[np.ndarray, "n others"]
    grid: Float[np.ndarray, "others k"]
    truth: Float[np.ndarray, "n k"]
    circular: list[slice]
    within: float

    def surplus(self, noise: float, mode: bool) -> float:
        """Σ over rows of 1 − the squared error over the square that is told."""
        p = softmax(self.scores / noise)
        mean = p @ self.grid
        estimate = self.grid[p.argmax(1)] if mode else mean.copy()
        for place in self.circular:
            estimate[:, place] /= np.maximum(np.linalg.norm(estimate[:, place], axis=1, keepdims=True), TINY)
        told = p @ (self.grid**2).sum(1) + (estimate * (estimate - 2 * mean)).sum(1) + self.within
        return float((1 - ((self.truth - estimate) ** 2).sum(1) / told).sum())

    @classmethod
    def honest(cls, parts: "list[_LeftOut]", mode: bool) -> float:
        """The noise with which the spread that is told is as large as the errors that are made, row by row."""
        middle = np.log(max(float(np.mean([-one.scores.mean() for one in parts])), TINY))

        def surplus(log_noise: float) -> float:
            return sum(one.surplus(np.exp(log_noise), mode) for one in parts)

        # From the narrowest on: where nothing is known any more, spread and errors are alike again.
        tried = np.linspace(middle - SPAN, middle + SPAN, TRIED)
        below = tried[0]
        for above in tried:
            if surplus(above) >= 0:
                break
            below = above
        return float(np.exp(brentq(surplus, below, above, xtol=1e-3) if below < above else above))


class TemplateDecoder(GridDecoder):
    """`argmin distance(f(x), r)` over the visited bins of a grid.

    Correlation and cosine distance are Euclidean ones between responses of unit length (of the former, less their mean
    over neurons): 1 − ρ = ½‖u − v‖². The uncertainty is that of `p(x) ∝ exp(−‖u − v(x)‖²/2s²)` over the visited bins,
    with the s² under which squared errors over the variance that is told are one in the mean, on training data whose
    stretch of the recording was left out of the templates: a response is nearer to a mean that it is part of than a new
    one will be.

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
        self._take_noise(X, values)
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

    def _take_noise(self, X: Float[np.ndarray, "n neurons"], values: Float[np.ndarray, "n d"]) -> None:
        outputs, step = self.outputs_, -(-len(X) // CALIBRATED)
        edges, linear = self.curves_.edges, ~outputs.is_circular
        centre, size = np.where(linear, values.mean(0), 0.0), np.where(linear, np.maximum(values.std(0), TINY), 1.0)
        width = np.array([edge[1] - edge[0] for edge in edges])
        turned = 2 * (1 - np.sinc(width / (2 * np.pi * outputs.scale)))
        within = float(np.where(linear, (width / size) ** 2 / 12, turned).sum())
        circular = [place for place, one in zip(outputs.places, linear, strict=True) if not one]
        part = np.arange(len(X)) * min(STRETCHES, len(X)) // len(X) % PARTS
        found = []
        for number in np.unique(part):
            others, judged = part != number, np.flatnonzero(part == number)[::step]
            curves = tuning_curves(
                X[others],
                values[others],
                n_bins=self.curves_.shape,
                range=[(edge[0], edge[-1]) for edge in edges],
                period=outputs.period,
                dt=self.dt,
                min_occupancy=self.min_occupancy * others.mean(),
                smoothing=self.smoothing,
            )
            there = np.flatnonzero(curves.visited)
            v = self._placed((curves.flat[:, there] * curves.dt).T)
            scores = self._placed(X[judged]) @ v.T - 0.5 * (v**2).sum(1)
            scores -= scores.max(1, keepdims=True)
            grid, truth = (outputs.encode((y - centre) / size) for y in (curves.grid[there], values[judged]))
            found.append(_LeftOut(scores, grid, truth, circular, within))
        self.noise_ = _LeftOut.honest(found, self.estimate == "mode")

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
