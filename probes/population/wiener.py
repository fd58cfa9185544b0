"""`WienerFilter` and `WienerCascade`: least squares on the bins around each, and a polynomial of what it gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.polynomial import Polynomial
from sklearn.utils.validation import check_is_fitted

from probes.base import Array
from probes.population.base import Decoder, refuse_fractions
from probes.population.lagged import LaggedMoments, weighted_sum
from probes.population.least_squares import PenalisedGram

REMEDY = "give an alpha above zero"


@dataclass(frozen=True)
class Window:
    """The regression on some lags, from the first to the last of them.

    Attributes:
        first: the first lag; earlier bins are negative.
        coef: weights.
        intercept: what is added.
        n_parameters: how many weights were free, as far as the penalty left them.
    """

    first: int
    coef: Float[np.ndarray, "k lag neurons"]
    intercept: Float[np.ndarray, " k"]
    n_parameters: float

    @property
    def last(self) -> int:
        """The last lag."""
        return self.first + self.coef.shape[1] - 1


class WienerFilter(Decoder):
    """Linear regression on the bins from `before` earlier to `after` later: `ŷ_t = b + Σ_l W_l x_{t+l}`.

    Ridge regression, `min Σ‖y − ŷ‖² + α Σ σᵢ²‖Wᵢ‖²` with the intercept free and σᵢ the standard deviation of neuron i
    in the recording: scikit-learn's `Ridge(alpha)` behind a `StandardScaler` of the neurons, so that it is no matter in
    which unit a neuron is. It is fitted to the bins whose whole window lies in their group: lags never reach into
    another. Bins at the edge of a group are estimated too, each by the regression on the lags that it has, which is
    fitted to the same bins; nothing is made up for those that it lacks, and their uncertainty is the larger one of
    fewer lags. Sums of lagged products are computed without the matrix of all lags: memory beside the recording is of
    the order of (lags · neurons)².

    The uncertainty is the mean product of the residuals over (1 − p/n)² for n bins and p effective parameters, what
    leaving bins out would give (generalised cross-validation; Golub, Heath and Wahba, 1979); one covariance for all
    bins with the same lags.

    Args:
        before: earlier bins, the causal part.
        after: later bins.
        alpha: the penalty, scikit-learn's for neurons of variance one: against the number of bins that are fitted,
            so that an alpha far below that changes little.
        period: of circular outputs.

    Attributes:
        coef_: [d, lags, neurons], the earliest lag first; [lags, neurons] of one output. A circular one has two rows.
        intercept_: a number, or [d].
        lags_: [lags], from −before to after.
        moments_: sums of lagged products, from which the regression on any lags follows.
        scale_: the neurons' standard deviations.
    """

    coef_: np.ndarray
    intercept_: Any

    def __init__(self, before: int = 10, after: int = 0, *, alpha: float = 1.0, period: Any = None) -> None:
        self.before = before
        self.after = after
        self.alpha = alpha
        self.period = period

    def fit(self, X: Any, y: Any, groups: Any = None) -> "WienerFilter":
        """Fit to counts or rates X [bins, neurons] and variables y [bins] or [bins, d].

        Raises:
            ValueError: what is not finite or of unequal length, groups that come back or are all shorter than the
                window, weights that are not determined (with alpha = 0).
        """
        refuse_fractions(before=self.before, after=self.after)
        if self.before < 0 or self.after < 0:
            raise ValueError(f"before is {self.before} and after {self.after}: numbers of bins are not below zero.")
        if not (np.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha is {self.alpha}: a penalty must be finite, and not below zero.")
        X, y, runs = self._training(X, y, groups)
        targets = self.outputs_.encode(y)
        self.scale_ = X.std(0)
        self.scale_[self.silent_] = 0
        self.moments_ = LaggedMoments.of(X, targets, runs, self.before, self.after)
        windows = [*self._from_the_last(), *self._from_the_first()]
        self._windows = {(window.first, window.last): window for window in windows}
        full = self._windows[-self.before, self.after]
        inside = _with_window(runs, -self.before, self.after)
        self._fit_outputs(weighted_sum(X, full.coef, inside, full.first) + full.intercept, targets[inside])
        self._covariances = {key: self._covariance(X, y, inside, window) for key, window in self._windows.items()}
        one = len(full.coef) == 1 and self.outputs_.one
        self.coef_, self.intercept_ = (full.coef[0], full.intercept[0]) if one else (full.coef, full.intercept)
        self.lags_ = np.arange(-self.before, self.after + 1)
        return self

    def predict(
        self, X: Any, groups: Any = None, *, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """The variables in every bin from those around it in its group."""
        check_is_fitted(self)
        values, runs = self._reading(X, groups)
        k = len(self.moments_.target_mean)
        vectors, covariance = np.empty((len(values), k)), np.empty((len(values), k, k))
        for (first, last), bins in self._bins_by_lags(runs):
            window = self._windows.get((first, last)) or self._between(first, last)
            linear = weighted_sum(values, window.coef, bins, first) + window.intercept
            vectors[bins] = self._outputs_of(linear)
            # A group shorter than the window lacks lags on both sides: what either alone would leave is known.
            nearest = [key for key in ((first, self.after), (-self.before, last)) if key in self._covariances]
            covariance[bins] = max((self._covariances[key] for key in nearest), key=np.trace)
        return self._answer_of_vectors(vectors, covariance, X, return_std=return_std, return_cov=return_cov)

    def _bins_by_lags(self, runs: Sequence[slice]) -> Iterator[tuple[tuple[int, int], Int[np.ndarray, " bin"]]]:
        """Bins with the same first and last lag inside their group."""
        length = np.concatenate([np.full(run.stop - run.start, run.stop - run.start) for run in runs])
        position = np.concatenate([np.arange(run.stop - run.start) for run in runs])
        lacks = np.maximum(self.before - position, 0) * (self.after + 1)
        lacks += np.maximum(self.after - (length - 1 - position), 0)
        order = np.argsort(lacks, kind="stable")
        edges = np.flatnonzero(np.diff(lacks[order])) + 1
        for bins in np.split(order, edges):
            early, late = divmod(int(lacks[bins[0]]), self.after + 1)
            yield (early - self.before, self.after - late), bins

    def _from_the_last(self) -> list[Window]:
        """Windows that lack early lags: those of one factor whose columns begin with the latest."""
        return self._nested(
            range(self.after, -self.before - 1, -1), range(1 + self.after, self.before + self.after + 2)
        )

    def _from_the_first(self) -> list[Window]:
        """Windows that lack late lags."""
        return self._nested(range(-self.before, self.after + 1), range(1 + self.before, self.before + self.after + 1))

    def _between(self, first: int, last: int) -> Window:
        """A window that lacks some on both sides."""
        lags = range(first, last + 1)
        return self._nested(lags, range(len(lags), len(lags) + 1))[0]

    def _nested(self, lags: Sequence[int], sizes: Sequence[int]) -> list[Window]:
        """The regressions on the first few of these lags, for each size, from one Cholesky factor.

        The factor of a leading block is the leading block of the factor, and so is its inverse; what the first step
        of the solution gives is the beginning of what it gives for all.
        """
        if not len(sizes):
            return []
        moments, n_neurons = self.moments_, self.n_features_in_
        columns = np.concatenate([(lag + self.before) * n_neurons + np.arange(n_neurons) for lag in lags])
        penalty = self.alpha * np.tile(self.scale_**2, len(lags))
        gram = PenalisedGram.of(moments.gram[np.ix_(columns, columns)], penalty, REMEDY)
        half = gram.whitened(moments.products[columns])
        inverse = gram.whitened(np.eye(len(columns)))
        penalised = inverse**2 @ penalty
        found = []
        for size in sizes:
            n_used = int(np.searchsorted(gram.used, size * n_neurons))
            here = columns[: size * n_neurons]
            flat = inverse[:n_used, : len(here)].T @ half[:n_used]
            coef = flat.T.reshape(-1, size, n_neurons)
            intercept = moments.target_mean - moments.mean[here] @ flat
            forward = lags[0] <= lags[-1]
            n_parameters = n_used - penalised[:n_used].sum()
            first = lags[0] if forward else lags[size - 1]
            found.append(Window(first, coef if forward else coef[:, ::-1], intercept, n_parameters))
        return found

    def _covariance(
        self, X: Float[np.ndarray, "n neurons"], y: Float[np.ndarray, "n d"], inside: Int[np.ndarray, " m"], one: Window
    ) -> Float[np.ndarray, "k k"]:
        """Of the errors of new bins with these lags."""
        told = self._outputs_of(weighted_sum(X, one.coef, inside, one.first) + one.intercept)
        n = len(inside)
        left = max(n - one.n_parameters - 1, 1.0) / n
        return self.outputs_.residual_covariance(y[inside], told) / left**2

    def _fit_outputs(self, linear: Float[np.ndarray, "m k"], targets: Float[np.ndarray, "m k"]) -> None:
        """What follows the linear part is fitted here."""

    def _outputs_of(self, linear: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """What the linear part gives, made into the estimate."""
        return linear


class WienerCascade(WienerFilter):
    """A Wiener filter followed by a polynomial of each output: `ŷ = p(b + Σ_l W_l x_{t+l})`.

    A linear–non-linear cascade (Hunter and Korenberg, 1986; of movements Pohlmeyer et al., 2007). The polynomial is
    fitted by least squares to what the filter gives on its training bins. Beyond their range it says nothing, and a
    cubic goes anywhere: there it keeps the value it has at the end.

    Args:
        before, after, alpha, period: of the filter.
        degree: of the polynomial.

    Attributes:
        polynomials_: of each output; of a circular one those of cosine and sine.
        coef_, intercept_, lags_, moments_: of the filter.
    """

    def __init__(
        self, before: int = 10, after: int = 0, *, degree: int = 3, alpha: float = 1.0, period: Any = None
    ) -> None:
        super().__init__(before, after, alpha=alpha, period=period)
        self.degree = degree

    def fit(self, X: Any, y: Any, groups: Any = None) -> "WienerCascade":
        """Fit filter and polynomial, as `WienerFilter` is fitted. Raises `ValueError` for a degree below one too."""
        refuse_fractions(degree=self.degree)
        if self.degree < 1:
            raise ValueError(f"degree is {self.degree}: a polynomial needs at least one.")
        super().fit(X, y, groups)
        return self

    def _fit_outputs(self, linear: Float[np.ndarray, "m k"], targets: Float[np.ndarray, "m k"]) -> None:
        self.polynomials_ = []
        for given, wanted in zip(linear.T, targets.T, strict=True):
            # A filter that gives one value has no more than a constant to offer.
            degree = min(self.degree, len(np.unique(given)) - 1)
            self.polynomials_.append(Polynomial.fit(given, wanted, degree) if degree else Polynomial([wanted.mean()]))

    def _outputs_of(self, linear: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        parts = zip(self.polynomials_, linear.T, strict=True)
        return np.stack([p(np.clip(v, *p.domain) if p.degree() else v) for p, v in parts], axis=1)


def _with_window(runs: Sequence[slice], first: int, last: int) -> Int[np.ndarray, " m"]:
    """The bins that have all of these lags in their group."""
    return np.concatenate([np.arange(run.start - first, run.stop - last) for run in runs])
