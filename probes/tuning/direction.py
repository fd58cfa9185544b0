"""Head direction: how strongly a neuron prefers one direction, which, and whether chance would do it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from probes.series import wrapped
from probes.tuning.curves import TuningCurves

# Mean vector lengths above which a neuron is taken for a head-direction cell.
STRICT, LOOSE = 0.4, 0.2


@dataclass(frozen=True)
class DirectionTuning:
    """Scores of direction tuning, neuron by neuron.

    Attributes:
        length: of the mean vector: 0 for no preference, 1 for a single direction; NaN for a silent neuron.
        preferred: the direction of the mean vector, in the unit and range of the variable.
        p_value: Rayleigh's, of as many spikes at random, independent directions. Spikes of one pass are no independent
            draws, so that it is small too easily: hold `length` against `tuning_score_null` where it matters.
    """

    length: Float[np.ndarray, " neuron"]
    preferred: Float[np.ndarray, " neuron"]
    p_value: Float[np.ndarray, " neuron"]

    def is_head_direction(self, threshold: float = STRICT) -> Bool[np.ndarray, " neuron"]:
        """Which neurons' mean vectors are longer: .4 is the strict criterion, .2 the loose one."""
        return self.length > threshold


def direction_tuning(curves: TuningCurves) -> DirectionTuning:
    """Mean vector, preferred direction and Rayleigh's test, of rates: how long each direction was faced has no say.

    The p-value is that of Zar's approximation, exp(√(1 + 4n + 4(n² − R²)) − (1 + 2n)) for n spikes whose vectors add up
    to R (Zar, "Biostatistical Analysis", 1999, eq. 27.4).

    Raises:
        ValueError: curves that are not of one circular variable, or rates below zero.
    """
    if len(curves.period) != 1 or curves.period[0] is None:
        raise ValueError("direction tuning is of one circular variable: make the curves with its period.")
    visited, period, (edge,) = curves.visited, float(curves.period[0]), curves.edges
    rates = curves.rates[:, visited]
    if (rates < 0).any():
        raise ValueError("rates fall below zero: direction tuning is of rates of zero and above.")
    turn = 2 * np.pi / period
    total = rates.sum(1)
    summed = rates @ np.exp(1j * turn * curves.centres[0][visited])
    mean = np.divide(summed, total, out=np.full(total.shape, np.nan + 0j), where=total > 0)
    length = np.abs(mean)
    n = rates @ curves.occupancy[visited]
    p = np.exp(np.sqrt(1 + 4 * n + 4 * n**2 * (1 - length**2)) - (1 + 2 * n))
    return DirectionTuning(length, wrapped(np.angle(mean) / turn, edge[0], period), p.clip(max=1.0))
