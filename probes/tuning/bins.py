"""The bins of a variable of any dimension: their edges, circular axes, and in which bin a value lies."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from probes.base import as_numpy
from probes.series import wrapped

Numbers = float | Sequence[Any] | np.ndarray | None


def as_variable(x: Any, name: str = "x") -> Float[np.ndarray, "n d"]:
    """A variable, one value or vector a time bin, as [n, d] in double precision, checked.

    Raises:
        ValueError: neither [n] nor [n, d], no rows, no numbers, or values that are not finite.
    """
    values = as_numpy(x)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {values.dtype.type.__name__} where numbers are needed.")
    values = values.astype(np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"{name} has shape {values.shape}: it must be [bins] or [bins, dimensions], with values in it."
        )
    wrong = np.flatnonzero(~np.isfinite(values).all(1))
    if len(wrong):
        raise ValueError(
            f"{name} contains NaN or infinity in {len(wrong):,} of {len(values):,} bins (the first is {wrong[0]}): "
            "leave these bins out."
        )
    return values


def bin_edges(
    x: Float[np.ndarray, "n d"],
    n_bins: int | Sequence[int] | np.ndarray,
    range: Any,
    period: tuple[float | None, ...],
) -> tuple[Float[np.ndarray, " _"], ...]:
    """Equal bins along each axis.

    Args:
        x: the values that must lie within.
        n_bins: of all axes, or one number for each.
        range: (low, high) of all axes, or one pair (or None) for each; of a linear axis the smallest and largest value
            where it is None; of a circular one [0, period), or [−period/2, period/2) where a value is negative.
        period: of each axis.

    Raises:
        ValueError: numbers of bins or ranges that do not fit, or a circular range that is not one period long.
    """
    d = x.shape[1]
    numbers = list(n_bins) if isinstance(n_bins, Sequence | np.ndarray) else [n_bins] * d
    if len(numbers) != d or not all(_is_whole(one) for one in numbers):
        raise ValueError(
            f"n_bins is {n_bins}: it must be one whole number above zero, or one for each of {d} dimensions."
        )
    edges = []
    for axis, (pair, one, number) in enumerate(zip(_pairs(range, d), period, numbers, strict=True)):
        low, high = _limits(x[:, axis], one) if pair is None else pair
        if not low < high or not np.isfinite([low, high]).all():
            raise ValueError(f"range of dimension {axis} is ({low:g}, {high:g}): the first number must be the smaller.")
        if one is not None and not np.isclose(high - low, one, rtol=1e-9):
            raise ValueError(
                f"range of dimension {axis} is ({low:g}, {high:g}), which is not one period of {one:g} long."
            )
        # A period that was typed with fewer digits still goes all the way round.
        edges.append(np.linspace(low, high if one is None else low + one, int(number) + 1))
    return tuple(edges)


def bin_numbers(
    x: Float[np.ndarray, "n d"], edges: tuple[np.ndarray, ...], period: tuple[float | None, ...]
) -> Int[np.ndarray, " n"]:
    """The number of the bin of each value, as `ravel` counts them; circular axes are wrapped, last edges belong.

    Raises:
        ValueError: another number of dimensions, or a value outside the range of a linear axis.
    """
    if x.shape[1] != len(edges):
        raise ValueError(f"x has {x.shape[1]} dimensions where there are bins along {len(edges)}.")
    number = np.zeros(len(x), np.int64)
    for axis, (edge, one) in enumerate(zip(edges, period, strict=True)):
        values = x[:, axis] if one is None else wrapped(x[:, axis], edge[0], one)
        outside = np.flatnonzero((values < edge[0]) | (values > edge[-1]))
        if len(outside):
            raise ValueError(
                f"x lies outside the range {edge[0]:g} to {edge[-1]:g} of dimension {axis} in {len(outside):,} of "
                f"{len(x):,} bins (the first is {outside[0]}, at {values[outside[0]]:g}): leave these out, or widen it."
            )
        within = (np.searchsorted(edge, values, side="right") - 1).clip(0, len(edge) - 2)
        number = number * (len(edge) - 1) + within
    return number


def _is_whole(number: Any) -> bool:
    """Whether something is a whole number above zero, whatever its type."""
    return isinstance(number, Real) and float(number).is_integer() and float(number) >= 1


def _pairs(range: Any, d: int) -> list[tuple[float, float] | None]:
    if range is None:
        return [None] * d
    given = list(range)
    if len(given) == 2 and np.ndim(given[0]) == 0 and given[0] is not None:
        given = [given] * d
    if len(given) != d or any(pair is not None and np.shape(pair) != (2,) for pair in given):
        raise ValueError(f"range is {range}: it must be a pair (low, high), or one for each of {d} dimensions.")
    return [None if pair is None else (float(pair[0]), float(pair[1])) for pair in given]


def _limits(values: Float[np.ndarray, " n"], period: float | None) -> tuple[float, float]:
    if period is not None:
        low = -period / 2 if (values < 0).any() else 0.0
        return low, low + period
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise ValueError(f"x is {low:g} in every bin: there is nothing to tune to; give a range.")
    return low, high
