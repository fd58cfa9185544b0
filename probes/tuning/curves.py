"""`TuningCurves`: the rate of each neuron in each bin of a variable of any dimension, and the seconds spent there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d

from probes.base import as_numpy
from probes.rows import Rows
from probes.series import periods_of, stretches
from probes.tuning.bins import Numbers, as_variable, bin_edges, bin_numbers


@dataclass(frozen=True)
class TuningCurves:
    """Rates over a grid of bins.

    Attributes:
        rates: [neuron, *bins] in Hz (of activations, their mean over `dt`); NaN where nobody has been.
        occupancy: seconds in each bin [*bins], before any smoothing.
        edges: of the bins of each axis, equally wide.
        period: of each axis; None where it is linear.
        dt: seconds a time bin.
    """

    rates: Float[np.ndarray, " neuron *bins"]
    occupancy: Float[np.ndarray, "*bins"]
    edges: tuple[Float[np.ndarray, " _"], ...]
    period: tuple[float | None, ...]
    dt: float

    def __post_init__(self) -> None:
        sizes = tuple(len(edge) - 1 for edge in self.edges)
        if self.rates.shape[1:] != sizes or self.occupancy.shape != sizes or len(self.period) != len(sizes):
            raise ValueError(
                f"rates are {self.rates.shape}, occupancy {self.occupancy.shape} and the edges those of {sizes} bins: "
                "rates must be [neuron, *bins], occupancy [*bins], with edges and a period for each axis."
            )
        for axis, (edge, one) in enumerate(zip(self.edges, self.period, strict=True)):
            widths = np.diff(edge)
            if not (widths > 0).all() or not np.allclose(widths, widths.mean(), rtol=1e-6, atol=0):
                raise ValueError(f"the edges of axis {axis} do not rise by equal steps: bins must be equally wide.")
            if one is not None and not np.isclose(edge[-1] - edge[0], one, rtol=1e-9):
                raise ValueError(
                    f"the edges of axis {axis} span {edge[-1] - edge[0]:g}, which is not its period of {one:g}."
                )
        if not (self.occupancy >= 0).all():
            raise ValueError("occupancy is below zero or NaN in some bins: it must be the seconds spent in each.")
        if not 0 < self.dt < np.inf:
            raise ValueError(f"dt is {self.dt}: it must be the seconds of a time bin, above zero.")

    @property
    def n_neurons(self) -> int:
        """How many curves there are."""
        return len(self.rates)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of bins along each axis."""
        return self.occupancy.shape

    @property
    def centres(self) -> tuple[Float[np.ndarray, " _"], ...]:
        """Of the bins of each axis."""
        return tuple((edge[1:] + edge[:-1]) / 2 for edge in self.edges)

    @cached_property
    def grid(self) -> Float[np.ndarray, "n_grid d"]:
        """The centre of every bin, in the order in which `ravel` has them."""
        return np.stack([axis.ravel() for axis in np.meshgrid(*self.centres, indexing="ij")], axis=1)

    @property
    def visited(self) -> Any:
        """Which bins have rates: Booleans [*bins]."""
        return np.isfinite(self.rates).all(0)

    @property
    def flat(self) -> Float[np.ndarray, "neuron n_grid"]:
        """The rates with all bins along one axis."""
        return self.rates.reshape(self.n_neurons, -1)

    @property
    def probability(self) -> Float[np.ndarray, "*bins"]:
        """The share of the time that was spent in each bin that has rates; zero in others."""
        time = np.where(self.visited, self.occupancy, 0.0)
        return time / time.sum()

    def bins_of(self, x: Any) -> Int[np.ndarray, " n"]:
        """The number of the bin of each value. Raises `ValueError` outside the range of a linear axis."""
        return bin_numbers(as_variable(x), self.edges, self.period)

    def at(self, x: Any) -> Float[np.ndarray, "n neuron"]:
        """The rates, in Hz, that the curves have at some values; NaN where nobody has been."""
        return self.flat[:, self.bins_of(x)].T

    def of(self, neurons: Any) -> "TuningCurves":
        """Those of some neurons, by number, mask or slice."""
        return TuningCurves(self.rates[neurons], self.occupancy, self.edges, self.period, self.dt)


def tuning_curves(
    counts: Any,
    x: Any,
    *,
    n_bins: int | Sequence[int] | np.ndarray = 20,
    range: Any = None,
    period: Numbers = None,
    dt: float,
    min_occupancy: float = 0.0,
    smoothing: Numbers = None,
    groups: Any = None,
) -> TuningCurves:
    """The mean rate of each neuron in each bin of a variable.

    Args:
        counts: of spikes, or any activations [n, neurons]: NumPy or torch, in memory or mapped.
        x: the variable [n], or variables [n, d].
        n_bins: along all axes, or one number for each.
        range: (low, high) of all axes, or one pair for each. Of a linear axis the smallest and the largest value where
            None; of a circular one [0, period), or [−period/2, period/2) where a value is negative.
        period: of circular axes: one number for all, or one for each axis and None where it is linear.
        dt: seconds a time bin. Of activations, 1 makes the rates their means.
        min_occupancy: seconds below which a bin has no rate (NaN), and no say in that of its neighbours.
        smoothing: standard deviation of a Gaussian in the unit of `x`, one number or one for each axis. Spikes and
            seconds are smoothed alike, then divided, so that what nobody saw does not count as silence; a bin that
            nobody visited stays NaN. Smoothed maps are for scores and pictures: counts come from the rates as they
            are, and the likelihood of counts under smoothed ones is not that of the data.
        groups: session or trial of each time bin; each must be one stretch. Curves are means over all of them.

    Raises:
        ValueError: lengths that differ, values that are not finite or outside the range, groups that come back.
    """
    rows, values = checked_series(counts, x, groups)
    if not 0 < dt < np.inf:
        raise ValueError(f"dt is {dt}: it must be the seconds of a time bin, above zero.")
    period = periods_of(period, values.shape[1])
    edges = bin_edges(values, n_bins, range, period)
    sizes = tuple(len(edge) - 1 for edge in edges)
    numbers = bin_numbers(values, edges, period)
    sums = binned_sums(rows, numbers, int(np.prod(sizes))).T.reshape(rows.d, *sizes)
    seconds = np.bincount(numbers, minlength=int(np.prod(sizes))).reshape(sizes) * float(dt)
    widths = smoothing_in_bins(smoothing, edges)
    return TuningCurves(smoothed_rates(sums, seconds, min_occupancy, widths, period), seconds, edges, period, float(dt))


def checked_series(counts: Any, x: Any, groups: Any = None) -> tuple[Rows, Float[np.ndarray, "n d"]]:
    """Counts and a variable of the same time bins; groups that are one stretch each."""
    counts = counts if hasattr(counts, "detach") else as_numpy(counts)
    if counts.ndim != 2 or 0 in counts.shape:
        raise ValueError(
            f"counts have shape {tuple(counts.shape)}: they must be [bins, neurons]; of one neuron, `counts[:, None]`."
        )
    values = as_variable(x)
    if len(values) != len(counts):
        raise ValueError(f"counts have {len(counts):,} time bins and x has {len(values):,}: they must be the same.")
    stretches(groups, len(values))
    rows = Rows(counts)
    rows.refuse_not_finite()
    return rows, values


def binned_sums(rows: Rows, numbers: Int[np.ndarray, " n"], n_grid: int) -> Float[np.ndarray, "n_grid neuron"]:
    """The sum of the rows of each bin."""
    sums = np.zeros((n_grid, rows.d))
    for where, part in rows.chunks():
        size = len(part)
        member = sp.csr_array((np.ones(size), (numbers[where], np.arange(size))), shape=(n_grid, size))
        sums += member @ part.double().cpu().numpy()
    return sums


def smoothed_rates(
    sums: Float[np.ndarray, " neuron *bins"],
    seconds: Float[np.ndarray, "*bins"],
    min_occupancy: float,
    widths: tuple[float, ...],
    period: tuple[float | None, ...],
) -> Float[np.ndarray, " neuron *bins"]:
    """Sums over seconds, both smoothed by as many bins along each axis; NaN where there are too few seconds."""
    visited = (seconds > 0) & (seconds >= min_occupancy)
    top, below = np.where(visited, sums, 0.0), np.where(visited, seconds, 0.0)
    for axis, (width, one) in enumerate(zip(widths, period, strict=True)):
        if width > 0:
            mode = "constant" if one is None else "wrap"
            top = gaussian_filter1d(top, width, axis=axis + 1, mode=mode)
            below = gaussian_filter1d(below, width, axis=axis, mode=mode)
    return np.divide(top, below, out=np.full(top.shape, np.nan), where=np.broadcast_to(visited, top.shape))


def smoothing_in_bins(smoothing: Numbers, edges: tuple[np.ndarray, ...]) -> tuple[float, ...]:
    """Standard deviations along each axis, in bins, from what a caller gave in the unit of the variable."""
    given = list(smoothing) if isinstance(smoothing, Sequence | np.ndarray) else [smoothing] * len(edges)
    widths = [0.0 if one is None else float(one) for one in given]
    if len(widths) != len(edges) or not all(0 <= one < np.inf for one in widths):
        raise ValueError(
            f"smoothing is {smoothing}: it must be a standard deviation in the unit of x, one or one an axis."
        )
    return tuple(width / (edge[1] - edge[0]) for width, edge in zip(widths, edges, strict=True))
