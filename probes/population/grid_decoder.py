"""What decoders on a grid have in common: a probability for every bin of a variable, and what follows from it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from einops import einsum
from jaxtyping import Float, Int
from sklearn.utils.validation import check_is_fitted

from probes.base import Array
from probes.population.base import Decoder, as_given
from probes.population.outputs import Outputs, circular_std
from probes.tuning import TuningCurves, tuning_curves

# Probabilities of so many bytes are held at once: they stay in the cache from one pass over them to the next.
CHUNK_BYTES = 4 << 20
# Bins along each axis, by the number of axes.
BINS = {1: 50, 2: 20, 3: 10}
MOST_AXES_BINS = 5
ESTIMATES = ("mean", "mode")


class GridDecoder(Decoder):
    """A decoder that compares a population's activity with what each bin of the variables would give.

    A subclass says how well each visited bin explains the activity (`_log_likelihood`). Bins that nobody visited in
    training have no probability; within a bin all values are equally likely, which bounds what can be known.

    Attributes:
        curves_: the tuning curves that were learned, or given.
        visited_: the numbers of the bins [V] that have a probability, as `curves_.grid` counts them.
        used_: the numbers of the neurons whose curves are not flat.
    """

    n_bins: int | Sequence[int] | None
    range: Any
    dt: float
    smoothing: Any
    min_occupancy: float
    estimate: str
    curves_: TuningCurves
    visited_: Int[np.ndarray, " visited"]
    used_: Int[np.ndarray, " used"]

    def __sklearn_tags__(self) -> Any:
        """A grid needs many rows a bin: more than scikit-learn's check of scores brings."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags

    def _fit_grid(self, X: Any, y: Any, groups: Any) -> tuple[np.ndarray, np.ndarray, list[slice]]:
        """Curves of the training data; the activity, the variables and the stretches, checked."""
        self._refuse_settings()
        X, values, runs = self._training(X, y, groups)
        d = values.shape[1]
        self._take_curves(
            tuning_curves(
                X,
                values,
                n_bins=default_bins(d) if self.n_bins is None else self.n_bins,
                range=self.range,
                period=self.outputs_.period,
                dt=self.dt,
                min_occupancy=self.min_occupancy,
                smoothing=self.smoothing,
            )
        )
        if not len(self.used_):
            raise ValueError("no neuron's activity changes with y: there is nothing to decode.")
        self._warn_of_silent()
        return X, values, runs

    def _take_curves(self, curves: TuningCurves) -> None:
        self.curves_ = curves
        self.visited_ = np.flatnonzero(curves.visited)
        if not len(self.visited_):
            raise ValueError(
                f"no bin was visited for {self.min_occupancy:g} seconds: take fewer bins, or ask for less time."
            )
        self.used_ = np.flatnonzero(np.ptp(curves.flat[:, self.visited_], axis=1) > 0)

    def _take_given(self, curves: TuningCurves) -> None:
        """Curves that were not learned from data: what fitting would have set."""
        self._refuse_settings()
        self._take_curves(curves)
        self.n_features_in_ = curves.n_neurons
        signed = tuple(bool(edge[0] < 0) for edge in curves.edges)
        self.outputs_ = Outputs(curves.period, signed, len(curves.period) == 1)
        self.silent_ = np.setdiff1d(np.arange(curves.n_neurons), self.used_)

    def _refuse_settings(self) -> None:
        if self.estimate not in ESTIMATES:
            raise ValueError(f"estimate is {self.estimate!r}: choose mean or mode.")

    def _log_likelihood(self, X: Float[np.ndarray, "n neurons"]) -> Float[np.ndarray, "n visited"]:
        """How well each visited bin explains each row, up to a constant of the row."""
        raise NotImplementedError

    def _log_prior(self) -> Float[np.ndarray, " visited"]:
        return np.full(len(self.visited_), -np.log(len(self.visited_)))

    def _posteriors(
        self, X: Float[np.ndarray, "n neurons"], runs: list[slice]
    ) -> Iterator[tuple[Int[np.ndarray, " some"], Float[np.ndarray, "some visited"]]]:
        """Some rows at a time, in any order: their numbers, and the probability of each visited bin."""
        size, log_prior = max(1, CHUNK_BYTES // (8 * len(self.visited_))), self._log_prior()
        for start in range(0, len(X), size):
            rows = np.arange(start, min(start + size, len(X)))
            yield rows, softmax(self._log_likelihood(X[rows]) + log_prior)

    def posterior(self, X: Any, groups: Any = None) -> Array:
        """The probability of every bin [n, *bins] given the activity; zero where nobody was in training."""
        check_is_fitted(self)
        values, runs = self._reading(X, groups)
        found = np.zeros((len(values), self.curves_.occupancy.size))
        for rows, p in self._posteriors(values, runs):
            found[rows[:, None], self.visited_] = p
        return as_given(found.reshape(len(values), *self.curves_.shape), X)

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The mean (round a circle, the circular mean) or the mode of the posterior, bin by bin.

        Args:
            X: activity [n, neurons].
            groups: the session or trial of each row [n]; nothing is carried from one to the next.
            return_std: whether to return the posterior's standard deviation [n] or [n, d] about the estimate too (of
                the mode that is more than about the mean); of a circular variable √(−2 ln R), R the mean cosine of the
                difference from the estimate.
            return_cov: whether to return its covariance, [n] or [n, d, d]; with a circular variable that of the sine of
                the difference from the estimate, scaled to its standard deviation.
        """
        check_is_fitted(self)
        values, runs = self._reading(X, groups)
        grid = self.curves_.grid[self.visited_]
        centre = np.where(self.outputs_.is_circular, 0.0, grid.mean(0))
        vectors = self.outputs_.encode(grid - centre)
        wanted = return_std or return_cov
        a, b = np.triu_indices(vectors.shape[1])
        features = np.concatenate([vectors, vectors[:, a] * vectors[:, b]], axis=1) if wanted else vectors
        moments = np.empty((len(values), features.shape[1]))
        modes = np.empty(len(values), np.int64)
        for rows, p in self._posteriors(values, runs):
            moments[rows] = p @ features
            modes[rows] = p.argmax(1)
        k = vectors.shape[1]
        if self.estimate == "mean":
            estimate, about = self.outputs_.decode(moments[:, :k]) + centre, moments[:, :k]
        else:
            estimate, about = self.outputs_.wrapped(grid[modes]), vectors[modes]
        covariance = None
        if wanted:
            products = np.empty((len(values), k, k))
            products[:, a, b] = products[:, b, a] = moments[:, k:]
            covariance = self._covariance(moments[:, :k], products, about)
        return self._answer(estimate, covariance, X, return_std=return_std, return_cov=return_cov)

    def _covariance(
        self, mean: Float[np.ndarray, "n k"], products: Float[np.ndarray, "n k k"], about: Float[np.ndarray, "n k"]
    ) -> Float[np.ndarray, "n d d"]:
        """Of the variables about an estimate, from the mean of their vectors and of the products of these."""
        n, outputs = len(mean), self.outputs_
        jacobian = np.zeros((n, outputs.d, mean.shape[1]))
        variance = np.empty((n, outputs.d))
        scale = np.ones((n, outputs.d))
        off = mean - about
        centred = products - mean[:, :, None] * mean[:, None, :] + off[:, :, None] * off[:, None, :]
        widths = [edge[1] - edge[0] for edge in self.curves_.edges]
        for j, (place, period, width) in enumerate(zip(outputs.places, outputs.period, widths, strict=True)):
            if period is None:
                jacobian[:, j, place] = 1
                variance[:, j] = centred[:, place.start, place.start].clip(min=0) + width**2 / 12
                continue
            part = about[:, place]
            size = np.linalg.norm(part, axis=1, keepdims=True)
            unit = np.divide(part, size, out=np.tile([1.0, 0.0], (n, 1)), where=size > 0)
            length = (mean[:, place] * unit).sum(1)
            jacobian[:, j, place] = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
            across = einsum(jacobian[:, j], centred, jacobian[:, j], "row k, row k l, row l -> row")
            scale[:, j] = np.divide(
                circular_std(length, period), np.sqrt(across.clip(min=0)), out=scale[:, j], where=across > 0
            )
            variance[:, j] = circular_std(length * np.sinc(width / period), period) ** 2
        linear = einsum(jacobian, centred, jacobian, "row a k, row k l, row b l -> row a b")
        covariance = linear * scale[:, :, None] * scale[:, None, :]
        each = np.arange(outputs.d)
        covariance[:, each, each] = variance
        return covariance


def default_bins(d: int) -> int:
    """Bins along each of so many axes."""
    return BINS.get(d, MOST_AXES_BINS)


def softmax(scores: Float[np.ndarray, "n visited"]) -> Float[np.ndarray, "n visited"]:
    """Probabilities of log scores, row by row; the scores are overwritten."""
    scores -= scores.max(1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(1, keepdims=True)
    return scores
