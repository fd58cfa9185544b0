"""How near decoded variables are to true ones, linear and circular, output by output."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Period = Sequence[float | None]


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
        found[j] = 1 - left / spread if spread > 1e-12 * max(1.0, share @ y[:, j] ** 2) else np.nan
    return found


def correlation(
    y: Float[np.ndarray, "n d"], predicted: Float[np.ndarray, "n d"], period: Period
) -> Float[np.ndarray, " d"]:
    """Pearson's ρ of each output; of a circular one Jammalamadaka and SenGupta's; NaN where one of the two is constant.

    The circular one is Σ sin(a − ā) sin(b − b̄) / √(Σ sin²(a − ā) Σ sin²(b − b̄)) about the circular means.
    """
    found = np.empty(y.shape[1])
    for j, each in enumerate(period):
        a, b = (_deviation(values[:, j], each) for values in (y, predicted))
        size = np.sqrt((a @ a) * (b @ b))
        found[j] = a @ b / size if size > 0 else np.nan
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


def _cost(missed: Float[np.ndarray, " n"], period: float | None) -> Float[np.ndarray, " n"]:
    return missed**2 if period is None else 1 - np.cos(2 * np.pi * missed / period)


def _deviation(values: Float[np.ndarray, " n"], period: float | None) -> Float[np.ndarray, " n"]:
    if period is None:
        return values - values.mean()
    return np.sin(2 * np.pi * (values - circular_mean(values, period)) / period)
