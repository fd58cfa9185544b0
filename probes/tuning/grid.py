"""Grid cells: the spatial autocorrelogram, gridness in both definitions, and a grid's scale and orientation."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import maximum_filter

from probes.tuning.curves import TuningCurves

# Maps that overlap in fewer bins have no correlation.
MIN_OVERLAP = 20
ANGLES = (30, 60, 90, 120, 150)
DEFINITIONS = ("mean", "extremes")
# The ring of peaks lies at 1.9 times the radius of the trough about the centre: samples reach at least so far.
LEAST_REACH = 1.9
PEAKS = 6
# Neurons that are scored at once.
BLOCK = 64


def autocorrelogram(curves: TuningCurves, *, min_overlap: int = MIN_OVERLAP) -> Float[np.ndarray, "neuron lag_x lag_y"]:
    """Of each map Pearson's correlation with itself shifted, over the bins in which both have rates.

    Sargolini et al., "Conjunctive representation of position, direction, and velocity in entorhinal cortex" (2006). No
    shift in the middle; all shifts at once by Fourier transforms.

    Args:
        curves: of two linear variables; bins that nobody visited are NaN and count nowhere.
        min_overlap: with fewer bins in common, NaN.
    """
    _refuse_other_than_maps(curves)
    known = np.isfinite(curves.rates)
    mean = np.where(known, curves.rates, 0).sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True).clip(1)
    a = np.where(known, curves.rates - mean, 0.0)
    size = tuple(2 * n - 1 for n in curves.shape)
    fast = tuple(next_fast_len(n, real=True) for n in size)
    of_one, of_a, of_square = (rfft2(values, fast) for values in (known.astype(np.float64), a, a**2))

    def shifted(left: np.ndarray, right: np.ndarray) -> Float[np.ndarray, "neuron lag_x lag_y"]:
        found = irfft2(left * np.conj(right), fast)
        return np.roll(found, [n - 1 for n in curves.shape], (1, 2))[:, : size[0], : size[1]]

    n = np.rint(shifted(of_one, of_one))
    # A map against itself: what one copy has at a shift, the other has at the opposite one.
    total, squares = shifted(of_a, of_one), shifted(of_square, of_one)
    total_other, squares_other = total[:, ::-1, ::-1], squares[:, ::-1, ::-1]
    over = np.maximum(n, 1)
    covariance = shifted(of_a, of_a) / over - total * total_other / over**2
    variance, other = squares / over - (total / over) ** 2, squares_other / over - (total_other / over) ** 2
    noise = 1e-10 * (a**2).sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True).clip(1)
    defined = (n >= min_overlap) & (variance > noise) & (other > noise)
    product = np.sqrt(np.where(defined, variance * other, 1.0))
    return np.where(defined, covariance / product, np.nan).clip(-1, 1)


def grid_score(curves: TuningCurves, *, definition: str = "mean") -> Float[np.ndarray, " neuron"]:
    """Gridness: how much more a map's autocorrelogram is like itself turned by 60° and 120° than by 30°, 90° and 150°.

    The correlations are of a ring without the central peak, whose outer radius grows bin by bin; the highest score
    counts (Langston et al., "Development of the spatial representation system in the rat", 2010). The inner radius is
    the first minimum below zero of the radial mean. A best radius favours every map a little: judge by
    `tuning_score_null`, not by zero.

    Args:
        curves: of two linear variables; axes may have different units a bin. Smooth them.
        definition: `mean`, (r60 + r120)/2 − (r30 + r90 + r150)/3; or `extremes`,
            min(r60, r120) − max(r30, r90, r150).

    Returns:
        NaN of a map without a trough, and of one whose ring lies outside the arena.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"definition is {definition!r}: choose mean or extremes.")
    lags = _Lags.of(curves)
    turns = [lags.turn(angle) for angle in ANGLES]
    blocks = (curves.of(slice(first, first + BLOCK)) for first in range(0, curves.n_neurons, BLOCK))
    return np.concatenate([_scores(autocorrelogram(block), lags, turns, definition) for block in blocks])


def _scores(
    maps: Float[np.ndarray, "neuron lag_x lag_y"], lags: "_Lags", turns: list[sp.csc_array], definition: str
) -> Float[np.ndarray, " neuron"]:
    flat = maps.reshape(len(maps), -1)[:, lags.order]
    inner = np.array([lags.trough(one) for one in flat])
    known = np.isfinite(flat)
    values = np.where(known, flat, 0.0)
    r30, r60, r90, r120, r150 = (lags.similarity(values, known, turn, inner) for turn in turns)
    if definition == "mean":
        score = (r60 + r120) / 2 - (r30 + r90 + r150) / 3
    else:
        score = np.minimum(r60, r120) - np.maximum(np.maximum(r30, r90), r150)
    score[~(lags.reaches >= LEAST_REACH * inner[:, None])] = np.nan
    best = np.where(np.isnan(score), -np.inf, score).max(1)
    return np.where(np.isfinite(best), best, np.nan)


@dataclass(frozen=True)
class GridGeometry:
    """What the six peaks about the centre of an autocorrelogram say; NaN where there are not six.

    Attributes:
        scale: the median distance of the six peaks from the centre, in the unit of the variables.
        orientation: degrees from the first axis to the nearest axis of the grid, counter-clockwise, in [0, 60).
        peaks: [neuron, 6, 2] by angle.
    """

    scale: Float[np.ndarray, " neuron"]
    orientation: Float[np.ndarray, " neuron"]
    peaks: Float[np.ndarray, "neuron 6 2"]


def grid_geometry(curves: TuningCurves) -> GridGeometry:
    """Scale and orientation of each neuron's grid, from peaks located between bins by parabolas."""
    lags = _Lags.of(curves)
    peaks = np.full((curves.n_neurons, PEAKS, 2), np.nan)
    for neuron, one in enumerate(autocorrelogram(curves)):
        found = _peaks(one, lags)
        if len(found) == PEAKS:
            peaks[neuron] = found[np.argsort(np.arctan2(found[:, 1], found[:, 0]))]
    scale = np.median(np.linalg.norm(peaks, axis=2), axis=1)
    # Six angles that repeat every 60°: their mean on the circle of sixths.
    angle = np.arctan2(peaks[..., 1], peaks[..., 0])
    turned = np.rad2deg(np.angle(np.exp(6j * angle).mean(1)) / 6) % 60
    return GridGeometry(scale, np.where(turned >= 60, 0.0, turned), peaks)


def _peaks(one: Float[np.ndarray, "lag_x lag_y"], lags: "_Lags") -> Float[np.ndarray, "peak 2"]:
    """The six local maxima nearest to the centre, beyond the trough about it."""
    inner = lags.trough(one.ravel()[lags.order])
    filled = np.where(np.isfinite(one), one, -np.inf)
    top = (filled == maximum_filter(filled, 3, mode="constant", cval=-np.inf)) & np.isfinite(one) & (filled > 0)
    top &= lags.radius > inner
    where = np.argwhere(top)
    where = where[np.argsort(lags.radius[top], kind="stable")][:PEAKS]
    middle = np.array(one.shape) // 2
    return np.array([(at + _offset(one, at) - middle) * lags.widths for at in where]).reshape(-1, 2)


def _offset(one: Float[np.ndarray, "lag_x lag_y"], at: np.ndarray) -> Float[np.ndarray, " 2"]:
    """How far the top of a parabola through a maximum and its neighbours lies from it, along each axis, in bins."""
    offset = np.zeros(2)
    for axis in range(2):
        line = np.take(one, at[1 - axis], axis=1 - axis)
        if 0 < at[axis] < len(line) - 1:
            before, here, after = line[at[axis] - 1 : at[axis] + 2]
            bend = before - 2 * here + after
            if np.isfinite(bend) and bend < 0:
                offset[axis] = 0.5 * (before - after) / bend
    return offset


@dataclass(frozen=True)
class _Lags:
    """Where the shifts of an autocorrelogram lie.

    Attributes:
        widths: of a bin along each axis.
        radius: of each shift [lag_x, lag_y].
        order: shifts within the arena, from the centre out.
        reaches: outer radii that are tried, a bin apart.
    """

    widths: Float[np.ndarray, " 2"]
    radius: Float[np.ndarray, "lag_x lag_y"]
    order: np.ndarray
    reaches: Float[np.ndarray, " reach"]

    @classmethod
    def of(cls, curves: TuningCurves) -> "_Lags":
        _refuse_other_than_maps(curves)
        widths = np.array([edge[1] - edge[0] for edge in curves.edges])
        x, y = (np.arange(1 - n, n) * width for n, width in zip(curves.shape, widths, strict=True))
        radius = np.hypot(x[:, None], y[None, :])
        farthest = min(x[-1], y[-1])
        within = np.flatnonzero(radius.ravel() <= farthest)
        order = within[np.argsort(radius.ravel()[within], kind="stable")]
        return cls(widths, radius, order, np.arange(widths.max(), farthest + 1e-9, widths.max()))

    def trough(self, ordered: Float[np.ndarray, " shift"]) -> float:
        """The radius of the first minimum below zero of the mean over rings a bin wide; NaN where there is none."""
        ring = np.rint(self.radius.ravel()[self.order] / self.widths.max()).astype(np.int64)
        known = np.isfinite(ordered)
        number = np.bincount(ring[known], minlength=ring.max() + 1)
        total = np.bincount(ring[known], ordered[known], minlength=ring.max() + 1)
        mean = np.divide(total, number, out=np.full(len(total), np.inf), where=number > 0)
        lowest = (mean[1:-1] < 0) & (mean[1:-1] <= mean[:-2]) & (mean[1:-1] <= mean[2:])
        return float((1 + lowest.argmax()) * self.widths.max()) if lowest.any() else np.nan

    def similarity(
        self,
        values: Float[np.ndarray, "neuron shift"],
        known: Bool[np.ndarray, "neuron shift"],
        turn: sp.csc_array,
        inner: Float[np.ndarray, " neuron"],
    ) -> Float[np.ndarray, "neuron reach"]:
        """The correlation with the turned autocorrelogram, between the inner radius and each outer one."""
        weight = known @ turn
        both = known & (weight > 1 - 1e-6)
        other = np.where(both, values @ turn, 0.0)
        own = np.where(both, values, 0.0)
        parts = np.stack([both.astype(np.float64), own, other, own**2, other**2, own * other])
        sums = np.concatenate([np.zeros((*parts.shape[:2], 1)), parts.cumsum(2)], axis=2)
        radius = self.radius.ravel()[self.order]
        from_here = np.searchsorted(radius, np.where(np.isnan(inner), np.inf, inner), side="right")
        to_here = np.searchsorted(radius, self.reaches + 1e-9, side="right")
        start = np.take_along_axis(sums, np.broadcast_to(from_here[None, :, None], (6, len(values), 1)), axis=2)
        n, a, b, aa, bb, ab = np.maximum(to_here[None, None, :] > from_here[None, :, None], 0) * (
            sums[:, :, to_here] - start
        )
        over = np.maximum(n, 1)
        variances = (aa / over - (a / over) ** 2) * (bb / over - (b / over) ** 2)
        defined = (n >= MIN_OVERLAP) & (variances > 1e-16)
        root = np.sqrt(np.where(defined, variances, 1.0))
        return np.where(defined, (ab / over - a * b / over**2) / root, np.nan)

    def turn(self, angle: float) -> sp.csc_array:
        """[shift, shift]: the weights of the four shifts about the place that each shift is turned to."""
        shape, middle = self.radius.shape, np.array(self.radius.shape) // 2
        index = np.stack(np.unravel_index(self.order, shape), axis=1) - middle
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        turned = (index * self.widths) @ np.array([[c, s], [-s, c]]) / self.widths + middle
        low = np.floor(turned + 1e-9).astype(np.int64)
        share = (turned - low).clip(0, 1)
        place = np.full(shape, -1)
        place.ravel()[self.order] = np.arange(len(self.order))
        rows, columns, weights = [], [], []
        for dx, dy in np.ndindex(2, 2):
            at = low + np.array([dx, dy])
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            inside = ((at >= 0) & (at < shape)).all(1) & (weight > 1e-12)
            source = np.full(len(at), -1)
            source[inside] = place[at[inside, 0], at[inside, 1]]
            used = source >= 0
            rows.append(source[used])
            columns.append(np.flatnonzero(used))
            weights.append(weight[used])
        size = (len(self.order), len(self.order))
        return sp.csc_array((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=size)


def _refuse_other_than_maps(curves: TuningCurves) -> None:
    if len(curves.period) != 2 or any(period is not None for period in curves.period):
        raise ValueError(
            "gridness is of maps over two linear variables: make the curves of a position in two dimensions."
        )
    if min(curves.shape) < 4:
        raise ValueError(
            f"the maps are {curves.shape[0]} × {curves.shape[1]} bins: gridness needs at least 4 along each."
        )
