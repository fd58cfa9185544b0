"""Scores of spatial tuning: information, sparsity, selectivity, coherence; and where a neuron's fields lie."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import label, uniform_filter1d

from probes.series import wrapped
from probes.tuning.curves import TuningCurves

# A field is where a neuron fires at this share of its peak and above; fields below this peak are noise.
FIELD_SHARE, FIELD_HZ = 0.2, 1.0
# Along each axis: 3 bins on a track, 9 in an arena.
FIELD_BINS = 3


def spatial_information(curves: TuningCurves, *, per: str = "spike") -> Float[np.ndarray, " neuron"]:
    """Skaggs's information: Σ p λ log₂(λ/λ̄) bits a second, over λ̄ bits a spike.

    Skaggs, McNaughton, Gothard and Markus, "An information-theoretic approach to deciphering the hippocampal code"
    (1993). Few spikes give information by chance: hold it against `tuning_score_null`, or subtract the mean of that.

    Args:
        curves: rates of zero and above.
        per: `spike`, or `second`.

    Returns:
        Of a silent neuron NaN bits a spike and zero bits a second.
    """
    if per not in ("spike", "second"):
        raise ValueError(f"per is {per!r}: choose spike or second.")
    rates, p, mean = _rates_and_means(curves)
    relative = np.divide(rates, mean[:, None], out=np.ones_like(rates), where=(rates > 0) & (mean[:, None] > 0))
    bits = (p * rates * np.log2(relative)).sum(1)
    return bits if per == "second" else _over(bits, mean)


def sparsity(curves: TuningCurves) -> Float[np.ndarray, " neuron"]:
    """⟨λ⟩²/⟨λ²⟩: the share of the arena in which the neuron fires. NaN for a silent one.

    Skaggs, McNaughton, Wilson and Barnes, "Theta phase precession in hippocampal neuronal populations" (1996).
    """
    rates, p, mean = _rates_and_means(curves)
    return _over(mean**2, rates**2 @ p)


def selectivity(curves: TuningCurves) -> Float[np.ndarray, " neuron"]:
    """The highest rate over the mean rate. NaN for a silent neuron."""
    rates, _, mean = _rates_and_means(curves)
    return _over(rates.max(1), mean)


def coherence(curves: TuningCurves) -> Float[np.ndarray, " neuron"]:
    """Fisher's z of the correlation between the rate of a bin and the mean of the bins around it.

    Muller and Kubie, "The firing of hippocampal place cells predicts the future position of freely moving rats" (1989).
    Of curves that are not smoothed: smoothing is what it measures. All 3^d − 1 neighbours count, those without a rate
    do not. NaN where a rate does not vary.
    """
    known = np.isfinite(curves.rates)
    own = np.where(known, curves.rates, 0.0)
    total, number = own, known.astype(np.float64)
    for axis, period in enumerate(curves.period):
        mode = "constant" if period is None else "wrap"
        total, number = (3 * uniform_filter1d(values, 3, axis=axis + 1, mode=mode) for values in (total, number))
    number = np.rint(number - known)
    around = np.divide(total - own, number, out=np.zeros_like(total), where=number > 0)
    used = (known & (number > 0)).reshape(curves.n_neurons, -1)
    z = np.full(curves.n_neurons, np.nan)
    for neuron, (a, b, both) in enumerate(zip(curves.flat, around.reshape(used.shape), used, strict=True)):
        if both.sum() > 2 and np.ptp(a[both]) > 0 and np.ptp(b[both]) > 0:
            z[neuron] = np.arctanh(np.corrcoef(a[both], b[both])[0, 1].clip(-1 + 1e-15, 1 - 1e-15))
    return z


@dataclass(frozen=True)
class PlaceField:
    """One stretch of space in which a neuron fires.

    Attributes:
        neuron: its number.
        bins: which belong to the field [*bins].
        peak: the highest rate, in Hz.
        peak_at: where [d].
        centre: the mean of the places [d], by their rates.
        size: the volume of its bins, in the unit of the variable to the power of its dimensions.
    """

    neuron: int
    bins: Bool[np.ndarray, "*bins"]
    peak: float
    peak_at: Float[np.ndarray, " d"]
    centre: Float[np.ndarray, " d"]
    size: float


def place_fields(
    curves: TuningCurves, *, share: float = FIELD_SHARE, min_bins: int | None = None, min_peak: float = FIELD_HZ
) -> list[PlaceField]:
    """Connected bins in which a neuron fires at a share of its highest rate and above, the strongest field first.

    Bins are connected by their faces, round the edge of a circular axis too; bins without a rate belong to none.

    Args:
        curves: best smoothed a little.
        share: of the neuron's highest rate.
        min_bins: fields of fewer are left out; where None, 3 to the power of the dimensions.
        min_peak: so are those that never reach so many Hz.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}: it must be above 0 and below 1.")
    min_bins = FIELD_BINS ** len(curves.shape) if min_bins is None else min_bins
    volume = float(np.prod([edge[1] - edge[0] for edge in curves.edges]))
    fields = []
    for neuron, rates in enumerate(curves.rates):
        known = np.where(np.isfinite(rates), rates, -np.inf)
        if known.max() < max(min_peak, np.finfo(float).tiny):
            continue
        numbers = _connected(known >= share * known.max(), curves.period)
        found = []
        for number in np.unique(numbers[numbers > 0]):
            mask = numbers == number
            if mask.sum() < min_bins or known[mask].max() < min_peak:
                continue
            where, inside = curves.grid[mask.ravel()], rates[mask]
            centre = _centre(where, inside, curves.period, curves.edges)
            size = float(mask.sum()) * volume
            found.append(PlaceField(neuron, mask, float(inside.max()), where[inside.argmax()], centre, size))
        fields += sorted(found, key=lambda field: -field.peak)
    return fields


def _connected(mask: Bool[np.ndarray, "*bins"], period: tuple[float | None, ...]) -> Int[np.ndarray, "*bins"]:
    """Regions by number, zero for none; those that meet round a circular edge are one."""
    numbers = label(mask)[0]
    for axis, one in enumerate(period):
        if one is None:
            continue
        first, last = np.take(numbers, 0, axis), np.take(numbers, -1, axis)
        for a, b in {(int(a), int(b)) for a, b in zip(first.ravel(), last.ravel(), strict=True) if a and b}:
            here, there = (
                np.unique(np.take(numbers, k, axis)[edge == n]) for k, edge, n in ((0, first, a), (-1, last, b))
            )
            numbers[np.isin(numbers, np.concatenate([here, there]))] = here[0]
    return numbers.astype(np.int64)


def _centre(
    where: Float[np.ndarray, "bin d"],
    weight: Float[np.ndarray, " bin"],
    period: tuple[float | None, ...],
    edges: tuple[np.ndarray, ...],
) -> Float[np.ndarray, " d"]:
    centre = np.average(where, axis=0, weights=weight)
    for axis, one in enumerate(period):
        if one is not None:
            turn = 2 * np.pi / one
            angle = np.angle(weight @ np.exp(1j * turn * where[:, [axis]])) / turn
            centre[[axis]] = wrapped(angle, edges[axis][0], one)
    return centre


def _rates_and_means(
    curves: TuningCurves,
) -> tuple[Float[np.ndarray, "neuron visited"], Float[np.ndarray, " visited"], Float[np.ndarray, " neuron"]]:
    """Rates where somebody has been, the share of time there, and mean rates."""
    visited = curves.visited.ravel()
    rates, p = curves.flat[:, visited], curves.probability.ravel()[visited]
    if (rates < 0).any():
        neuron = int((rates < 0).any(1).argmax())
        raise ValueError(f"the rates of neuron {neuron} fall below zero: this score is of rates of zero and above.")
    return rates, p, rates @ p


def _over(a: Float[np.ndarray, " neuron"], b: Float[np.ndarray, " neuron"]) -> Float[np.ndarray, " neuron"]:
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
