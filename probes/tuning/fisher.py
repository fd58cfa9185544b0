"""Fisher information: how well a population can tell a variable, whoever decodes it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float

from probes.covariances import beyond_rounding, is_regular, unit_scales
from probes.tuning.bins import as_variable
from probes.tuning.curves import TuningCurves

# An estimate of which a smaller share lies along what nothing is told of does not depend on that.
LEAST_PART = 1e-6


def curve_slopes(curves: TuningCurves) -> Float[np.ndarray, " d neuron *bins"]:
    """Derivatives of the curves along each axis, in Hz per unit of the variable.

    Central differences; round the edge of a circular axis; one-sided at the end of a linear one and beside a bin
    without a rate; NaN where neither neighbour has one. Differences of measured rates carry their noise squared into an
    information: smooth the curves, or take many trials.
    """
    slopes = []
    for axis, (edge, period) in enumerate(zip(curves.edges, curves.period, strict=True)):
        rates, width = np.moveaxis(curves.rates, axis + 1, -1), edge[1] - edge[0]
        ahead, behind = np.roll(rates, -1, -1), np.roll(rates, 1, -1)
        if period is None:
            ahead[..., -1], behind[..., 0] = np.nan, np.nan
        one_sided = np.where(np.isnan(ahead), rates - behind, ahead - rates) / width
        central = (ahead - behind) / (2 * width)
        slope = np.where(np.isnan(central), one_sided, central)
        slopes.append(np.moveaxis(np.where(np.isnan(rates), np.nan, slope), -1, axis + 1))
    return np.stack(slopes)


def poisson_information(
    rates: Float[np.ndarray, " neuron *point"],
    slopes: Float[np.ndarray, " d neuron *point"],
    duration: float,
    *,
    floor: float = 0.0,
) -> Float[np.ndarray, "*point d d"]:
    """Of independent Poisson neurons, J = T Σᵢ ∇fᵢ ∇fᵢᵀ / fᵢ.

    Args:
        rates: in Hz, at any points.
        slopes: their derivatives.
        duration: seconds T that are observed.
        floor: rates below it count as it: a measured rate of zero beside spikes would say everything.

    Returns:
        NaN at points where a rate or a slope is NaN.

    Raises:
        ValueError: negative rates, or a rate of zero that changes, whose information has no bound.
    """
    if (rates < 0).any():
        raise ValueError("rates are negative: Poisson neurons have rates of zero and above.")
    if not 0 < duration < np.inf:
        raise ValueError(f"duration is {duration}: it must be the seconds that are observed, above zero.")
    lowest = np.maximum(rates, floor)
    silent = lowest == 0
    if (np.abs(slopes[:, silent]) > 0).any():
        raise ValueError(
            "a rate is zero where it changes, so that its information has no bound: smooth the curves, or give a floor."
        )
    per_rate = np.divide(1.0, lowest, out=np.where(np.isnan(lowest), np.nan, 0.0), where=lowest > 0)
    return duration * np.einsum("an...,bn...,n...->...ab", slopes, slopes, per_rate)


def gaussian_information(
    slopes: Float[np.ndarray, " d neuron *point"],
    covariance: Float[np.ndarray, " neuron neuron *point"],
    covariance_slopes: Float[np.ndarray, " d neuron neuron *point"] | None = None,
) -> Float[np.ndarray, "*point d d"]:
    """Of responses with Gaussian noise, J = ∇fᵀ Σ⁻¹ ∇f + ½ tr(Σ⁻¹ ∇Σ Σ⁻¹ ∇Σ).

    Abbott and Dayan, "The effect of correlated variability on the accuracy of a population code" (1999), eq. 3.5. The
    first term is the linear Fisher information: what the best linear decoder gets at.

    Args:
        slopes: derivatives of the mean responses.
        covariance: of the noise, one for all points [neuron, neuron] or one a point.
        covariance_slopes: its derivatives; None where it does not depend on the variable.

    Raises:
        ValueError: a covariance that cannot be inverted.
    """
    f = rearrange(slopes, "d neuron ... -> ... neuron d")
    noise = rearrange(covariance, "a b ... -> ... a b")
    if not is_regular(noise).all():
        raise ValueError(
            "the covariance of the noise is singular: drop neurons that repeat others, or add a little to its diagonal."
        )
    noise = np.broadcast_to(noise, (*f.shape[:-2], *noise.shape[-2:]))
    information = np.swapaxes(f, -1, -2) @ np.linalg.solve(noise, f)
    if covariance_slopes is not None:
        changes = rearrange(covariance_slopes, "d a b ... -> d ... a b")
        relative = np.linalg.solve(noise, np.broadcast_to(changes, (len(changes), *noise.shape)))
        information = information + 0.5 * np.einsum("k...ab,l...ba->...kl", relative, relative)
    return information


def cramer_rao(
    information: Float[np.ndarray, "*point d d"], bias_slopes: Float[np.ndarray, "*point d d"] | None = None
) -> Float[np.ndarray, "*point d d"]:
    """The smallest covariance that an estimator can have: J⁻¹, or (1 + B) J⁻¹ (1 + B)ᵀ for one whose bias has slopes B.

    An axis of which nothing is told, alone or for it cannot be told from others, has an infinite variance and
    covariances of NaN; those that are told have their bound all the same. NaN where the information is NaN. Units are
    no matter: what is singular is judged with each axis in its own.

    Args:
        information: J.
        bias_slopes: B, the derivative of the bias of each estimate (rows) along each variable (columns).
    """
    d = information.shape[-1]
    known = np.isfinite(information).all((-2, -1), keepdims=True)
    finite = np.where(known, information, 0.0)
    scale = unit_scales(finite)
    values, basis = np.linalg.eigh(finite / scale[..., :, None] / scale[..., None, :])
    told = beyond_rounding(values)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=told)
    # What is estimated, as directions in units that make the diagonal of the information one.
    along = (np.eye(d) if bias_slopes is None else np.eye(d) + bias_slopes) / scale[..., None, :]
    parts = along @ basis
    untold = np.linalg.norm(np.where(told[..., None, :], 0.0, parts), axis=-1)
    lost = untold > LEAST_PART * np.linalg.norm(parts, axis=-1)
    bound = (parts * inverse[..., None, :]) @ np.swapaxes(parts, -1, -2)
    bound = np.where(lost[..., :, None] | lost[..., None, :], np.where(np.eye(d, dtype=bool), np.inf, np.nan), bound)
    return np.where(known, bound, np.nan)


def poisson_error_bound(curves: TuningCurves, duration: float, *, floor: float = 0.0) -> Float[np.ndarray, "*bins d"]:
    """The smallest standard error of an unbiased estimate of each dimension, bin by bin, from Poisson neurons.

    Args:
        curves: in Hz; smooth ones, for noise in them passes for information.
        duration: seconds that are observed.
        floor: see `poisson_information`.
    """
    information = poisson_information(curves.rates, curve_slopes(curves), duration, floor=floor)
    return np.sqrt(np.diagonal(cramer_rao(information), axis1=-2, axis2=-1))


@dataclass(frozen=True)
class LinearInformation:
    """A linear Fisher information that was measured, per squared unit of the variable."""

    value: float
    std_error: float


def linear_information(low: Any, high: Any, distance: float, *, corrected: bool = True) -> LinearInformation:
    """Linear Fisher information f′ᵀΣ⁻¹f′ from trials at two nearby values of a variable, without its bias.

    The plain estimate is too large by far where there are not many more trials than neurons: noise in the difference of
    means looks like signal, and the inverse of a noisy covariance is too large. Kanitscheider, Coen-Cagli, Kohn and
    Pouget, "Measuring Fisher information accurately in correlated neural populations" (2015), eqs. 4 and 5; for
    unequal numbers of trials, the same from the distribution of Hotelling's T².

    Args:
        low: responses [trials, neurons] at the one value.
        high: at the other.
        distance: between the values.
        corrected: take the bias away; an estimate may then be below zero.

    Raises:
        ValueError: too few trials for so many neurons, no distance, or neurons that repeat others.
    """
    low, high = as_variable(low, "low"), as_variable(high, "high")
    n_low, n_high, d = len(low), len(high), low.shape[1]
    freedom = n_low + n_high - 2
    if high.shape[1] != d:
        raise ValueError(f"low has {d} neurons and high {high.shape[1]}: they must be the same.")
    if freedom <= d + 3:
        raise ValueError(f"{n_low} + {n_high} trials are too few for {d} neurons: more than {d + 5} in all are needed.")
    if distance == 0 or not np.isfinite(distance):
        raise ValueError("the distance between the two values must not be zero.")
    left = np.concatenate([low - low.mean(0), high - high.mean(0)])
    covariance = left.T @ left / freedom
    if not is_regular(covariance):
        raise ValueError(
            "the covariance of the responses is singular: drop silent neurons and those that repeat others."
        )
    difference = (high.mean(0) - low.mean(0)) / distance
    plain = float(difference @ np.linalg.solve(covariance, difference))
    noise = (1 / n_low + 1 / n_high) / distance**2
    shrunk = (freedom - d - 1) / freedom
    value = plain * shrunk - d * noise
    share = max(value, 0.0) / noise
    variance = 2 * noise**2 * (share**2 + 2 * share * (freedom - 1) + d * (freedom - 1)) / (freedom - d - 3)
    error = float(np.sqrt(variance))
    return LinearInformation(value, error) if corrected else LinearInformation(plain, error / shrunk)
