"""What a score of tuning is by chance: the same spikes, moved in time against the variable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from probes.series import stretches
from probes.tuning.curves import (
    TuningCurves,
    binned_sums,
    checked_series,
    smoothed_rates,
    smoothing_in_bins,
    tuning_curves,
)

MIN_SHIFT = 20.0


@dataclass(frozen=True)
class TuningNull:
    """Scores of neurons, and those of their shuffles.

    Attributes:
        score: [neuron].
        shuffled: [shuffle, neuron]; NaN where a shuffle has no score, which says nothing of chance.
    """

    score: Float[np.ndarray, " neuron"]
    shuffled: Float[np.ndarray, "shuffle neuron"]

    @property
    def n_scored(self) -> Int[np.ndarray, " neuron"]:
        """How many shuffles have a score: those that p-values, percentiles and means are of."""
        return (~np.isnan(self.shuffled)).sum(0)

    @property
    def p_value(self) -> Float[np.ndarray, " neuron"]:
        """How often chance scores as much, (1 + #{shuffled ≥ score}) / (1 + shuffles); NaN where there is no score."""
        above = (self.shuffled >= self.score).sum(0)
        return np.where(np.isnan(self.score), np.nan, (1 + above) / (1 + self.n_scored))

    @property
    def percentile(self) -> Float[np.ndarray, " neuron"]:
        """The share of the shuffles, in percent, that a neuron's score is above; NaN where there is none of either."""
        share = self._over_scored((self.shuffled < self.score).sum(0))
        return np.where(np.isnan(self.score), np.nan, 100 * share)

    @property
    def corrected(self) -> Float[np.ndarray, " neuron"]:
        """Scores less the mean of their shuffles: of information, without most of its bias."""
        return self.score - self._over_scored(np.nansum(self.shuffled, axis=0))

    def _over_scored(self, total: Shaped[np.ndarray, " neuron"]) -> Float[np.ndarray, " neuron"]:
        return np.divide(total, self.n_scored, out=np.full(total.shape, np.nan), where=self.n_scored > 0)


def tuning_score_null(
    score: Callable[[TuningCurves], Any],
    counts: Any,
    x: Any,
    *,
    dt: float,
    n_shuffles: int = 200,
    min_shift: float = MIN_SHIFT,
    seed: int = 0,
    groups: Any = None,
    smoothing: Any = None,
    min_occupancy: float = 0.0,
    **binning: Any,
) -> TuningNull:
    """A score of curves, and what it is when the spikes are turned round in time against the variable.

    All neurons are shifted by one draw, at least `min_shift` seconds either way, each group within itself: rates,
    correlations among neurons and the time course of both series stay what they are.

    Args:
        score: of curves, one number a neuron [neuron], such as `spatial_information`.
        counts, x, dt, groups, smoothing, min_occupancy, binning: see `tuning_curves`.
        n_shuffles: how many.
        min_shift: seconds; of each group, at most a quarter of its length.
        seed: of the draws.

    Raises:
        ValueError: what `tuning_curves` refuses; groups of fewer than four time bins; a negative number of shuffles;
            a score of another shape.
    """
    if n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}: it must be a number of zero and above.")
    curves = tuning_curves(counts, x, dt=dt, groups=groups, smoothing=smoothing, min_occupancy=min_occupancy, **binning)
    rows, values = checked_series(counts, x, groups)
    numbers, parts = curves.bins_of(values), stretches(groups, rows.n)
    if min(part.stop - part.start for part in parts) < 4:
        raise ValueError("a group has fewer than four time bins: there is nothing to turn round.")
    observed, widths = _scores(score, curves), smoothing_in_bins(smoothing, curves.edges)
    rng, shape = np.random.default_rng(seed), (rows.d, *curves.shape)
    shuffled = np.empty((n_shuffles, rows.d))
    for number in range(n_shuffles):
        turned = _turned(numbers, parts, round(min_shift / dt), rng)
        sums = binned_sums(rows, turned, curves.occupancy.size).T.reshape(shape)
        rates = smoothed_rates(sums, curves.occupancy, min_occupancy, widths, curves.period)
        shuffled[number] = _scores(score, TuningCurves(rates, curves.occupancy, curves.edges, curves.period, curves.dt))
    return TuningNull(observed, shuffled)


def _turned(
    numbers: Int[np.ndarray, " n"], parts: list[slice], min_shift: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """The bins of the variable, those of each group turned round by a draw."""
    turned = np.empty_like(numbers)
    for part in parts:
        n = part.stop - part.start
        least = max(1, min(min_shift, n // 4))
        turned[part] = np.roll(numbers[part], int(rng.integers(least, n - least + 1)))
    return turned


def _scores(score: Callable[[TuningCurves], Any], curves: TuningCurves) -> Float[np.ndarray, " neuron"]:
    found = np.asarray(score(curves), dtype=np.float64)
    if found.shape != (curves.n_neurons,):
        raise ValueError(
            f"the score has shape {found.shape} where it must be one number for each of {curves.n_neurons}."
        )
    return found
