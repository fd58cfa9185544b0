"""How near decoded variables are to true ones, linear and circular, output by output."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Period = Sequence[float | None]
# A variable whose values lie within so many units of rounding of their mean does not vary.
ROUNDING = 16 * np.finfo(float).eps


def r2(
    y: Float[np.ndarray, "n d"],
    predicted: Float[np.ndarray, "n d"],
    period: Period,
    *,
    weight: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " d"]:
    """The share of each output's spread that the predictions explain; NaN of one that does not vary.

    Of a linear output 1 − Σ(y − ŷ)² / Σ(y − ȳ)²; of a circular one 1 − Σ(1 − cos(y − ŷ)) / Σ(1 − cos(y − ȳ)) about the
    circular mean ȳ.
    """
    share = np.ones(len(y)) if weight is None else weight
    found = np.empty(y.shape[1])
    for j, each in enumerate(period):
        centre = circular_mean(y[:, j], each, share) if each else np.average(y[:, j], weights=share)
        left, spread = (share @ _cost(y[:, j] - other, each) for other in (predicted[:, j], centre))
        found[j] = 1 - left / spread if spread > _rounding(y[:, j], each) * share.sum() else np.nan
    return found


def correlation(
    y: Float[np.ndarray, "n d"], predicted: Float[np.ndarray, "n d"], period: Period
) -> Float[np.ndarray, " d"]:
    """Pearson's ρ of each output; of a circular one Fisher and Lee's ρ_T; NaN where one of the two is constant.

    The circular one is Σ sin(aᵢ − aⱼ) sin(bᵢ − bⱼ) / √(Σ sin²(aᵢ − aⱼ) Σ sin²(bᵢ − bⱼ)) over all pairs of bins ("A
    correlation coefficient for circular data", 1983). It needs no mean direction, which a variable that goes evenly
    round the circle has not. Of small angles it is Pearson's; of an even one told with an error Δ it is the squared
    length of the mean of exp(iΔ).
    """
    found = np.empty(y.shape[1])
    for j, each in enumerate(period):
        parts = [(values[:, j], _spanned(values[:, j], each)) for values in (y, predicted)]
        floor = [_rounding(values, each) * len(values) ** part.shape[1] for values, part in parts]
        a, b = (part for _, part in parts)
        size = [np.linalg.det(part.T @ part) for part in (a, b)]
        varies = all(one > least for one, least in zip(size, floor, strict=True))
        found[j] = np.linalg.det(a.T @ b) / (np.sqrt(size[0]) * np.sqrt(size[1])) if varies else np.nan
    return found


def errors(
    y: Float[np.ndarray, "n d"], predicted: Float[np.ndarray, "n d"], period: Period
) -> Float[np.ndarray, "n d"]:
    """Predicted less true; of a circular output the shorter way round."""
    found = predicted - y
    for j, each in enumerate(period):
        if each is not None:
            found[:, j] = np.mod(found[:, j] + each / 2, each) - each / 2
    return found


def typical_error(missed: Float[np.ndarray, "n d"], period: Period) -> Float[np.ndarray, " d"]:
    """Of each output the root mean square error; of a circular one the mean absolute error."""
    squares, sizes = np.sqrt((missed**2).mean(0)), np.abs(missed).mean(0)
    return np.where([each is None for each in period], squares, sizes)


def circular_mean(
    values: Float[np.ndarray, " n"], period: float, weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """The direction of the mean vector, in the unit of the values."""
    vectors = np.exp(2j * np.pi * values / period)
    mean = vectors.mean() if weight is None else np.average(vectors, weights=weight)
    return float(np.angle(mean) * period / (2 * np.pi))


def memory(y: Float[np.ndarray, " n"], period: float | None, runs: Sequence[slice]) -> float:
    """Bins until a variable agrees with itself by less than 1/e, over its stretches; at least one."""
    vector = np.stack([y] if period is None else [np.cos(2 * np.pi * y / period), np.sin(2 * np.pi * y / period)])
    vector = vector - vector.mean(1, keepdims=True)
    longest = max(run.stop - run.start for run in runs)
    products, pairs = np.zeros(longest), np.zeros(longest)
    for run in runs:
        length = run.stop - run.start
        spectrum = np.abs(np.fft.rfft(vector[:, run], 2 * length)) ** 2
        products[:length] += np.fft.irfft(spectrum.sum(0), 2 * length)[:length]
        pairs[:length] += np.arange(length, 0, -1)
    agreement = products / pairs
    less = np.flatnonzero(agreement < agreement[0] / np.e)
    return float(max(1, less[0] if len(less) else longest))


def _cost(missed: Float[np.ndarray, " n"], period: float | None) -> Float[np.ndarray, " n"]:
    # 1 − cos, without what it loses of small angles.
    return missed**2 if period is None else 2 * np.sin(np.pi * missed / period) ** 2


def _rounding(values: Float[np.ndarray, " n"], period: float | None) -> float:
    """What rounding alone may make of the cost of a value that does not vary."""
    largest = np.abs(values).max()
    return (ROUNDING * largest) ** 2 if period is None else (ROUNDING * max(1.0, largest / period)) ** 2


def _spanned(values: Float[np.ndarray, " n"], period: float | None) -> Float[np.ndarray, "n k"]:
    """Columns whose determinants of products are sums over single bins of deviations, over pairs of sines between."""
    if period is None:
        return (values - values.mean())[:, None]
    # Any direction would do in the place of the mean, but for rounding.
    angle = 2 * np.pi * (values - circular_mean(values, period)) / period
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
