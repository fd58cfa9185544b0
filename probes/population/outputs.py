"""What a decoder tells: linear and circular variables side by side, a circular one computed with as a unit vector."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import einsum
from jaxtyping import Bool, Float
from scipy.special import ive

from probes.series import periods_of, wrapped

# Below this length a mean direction is rounding: its standard deviation is that of a direction nobody knows.
LEAST_RESULTANT = 1e-12
FAR = 1e6


@dataclass(frozen=True)
class Outputs:
    """The variables that are decoded.

    Attributes:
        period: of each, None where it is linear.
        signed: whether a circular one lies in [-period/2, period/2) rather than in [0, period).
        one: whether they came as [n], without an axis of outputs.
    """

    period: tuple[float | None, ...]
    signed: tuple[bool, ...]
    one: bool

    @classmethod
    def of(cls, y: Float[np.ndarray, "bin *d"], period: Any) -> "Outputs":
        """Of training values. Raises `ValueError` for periods that do not fit them."""
        columns = y[:, None] if y.ndim == 1 else y
        periods = periods_of(period, columns.shape[1])
        return cls(periods, tuple((columns.min(0) < 0).tolist()), y.ndim == 1)

    @property
    def d(self) -> int:
        """How many."""
        return len(self.period)

    @property
    def is_circular(self) -> Bool[np.ndarray, " d"]:
        """Which of them are."""
        return np.array([period is not None for period in self.period])

    @property
    def scale(self) -> Float[np.ndarray, " d"]:
        """Units of each circular variable in a radian; 1 of linear ones."""
        return np.array([1.0 if period is None else period / (2 * np.pi) for period in self.period])

    @property
    def places(self) -> list[slice]:
        """Where each stands among the columns of `encode`: one of a linear variable, two of a circular one."""
        ends = np.cumsum(1 + self.is_circular)
        return [slice(end - 1 - circular, end) for end, circular in zip(ends, self.is_circular, strict=True)]

    def encode(self, y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Linear variables as they are, circular ones as (cos, sin)."""
        parts = []
        for column, period, scale in zip(y.T, self.period, self.scale, strict=True):
            parts += [column] if period is None else [np.cos(column / scale), np.sin(column / scale)]
        return np.stack(parts, axis=1)

    def decode(self, vectors: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n d"]:
        """Back from vectors of any length: the angles of circular variables."""
        found = np.empty((len(vectors), self.d))
        for j, place in enumerate(self.places):
            part = vectors[:, place]
            found[:, j] = part[:, 0] if self.period[j] is None else np.arctan2(part[:, 1], part[:, 0])
        return self.wrapped(found * self.scale)

    def decode_covariance(
        self, vectors: Float[np.ndarray, "n k"], covariance: Float[np.ndarray, "*n k k"]
    ) -> Float[np.ndarray, "n d d"]:
        """The covariance of the variables from that of their vectors, one for all rows or one a row.

        A direction is told by the vector's component across it: the angle of a Gaussian vector (the projected normal
        distribution) with variance s² across and length r has the mean resultant length
        R = √(πg/8) e^{−g/4} (I₀(g/4) + I₁(g/4)), g = r²/s². Its variance is −2 ln R, which goes to s²/r² where the
        direction is well known. Covariances with other variables are those of the linearised angle, scaled to it.
        """
        n, k = vectors.shape
        covariance = np.broadcast_to(covariance, (n, k, k))
        jacobian = np.zeros((n, self.d, k))
        scale = np.ones((n, self.d))
        for j, place in enumerate(self.places):
            if self.period[j] is None:
                jacobian[:, j, place] = 1
                continue
            part = vectors[:, place]
            length = np.linalg.norm(part, axis=1, keepdims=True)
            unit = np.divide(part, length, out=np.tile([1.0, 0.0], (n, 1)), where=length > 0)
            across = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
            jacobian[:, j, place] = across
            spread = einsum(across, covariance[:, place, place], across, "row i, row i j, row j -> row")
            certainty = np.divide(length[:, 0] ** 2, spread, out=np.full(n, np.inf), where=spread > 0)
            scale[:, j] = np.sqrt(projected_variance(certainty) / np.where(spread > 0, spread, 1)) * self.scale[j]
        linear = einsum(jacobian, covariance, jacobian, "row a k, row k l, row b l -> row a b")
        return linear * scale[:, :, None] * scale[:, None, :]

    def wrapped(self, y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Circular variables brought into their range."""
        found = y.copy()
        for j, (period, signed) in enumerate(zip(self.period, self.signed, strict=True)):
            if period is not None:
                found[:, j] = wrapped(y[:, j], -period / 2 if signed else 0.0, period)
        return found

    def lengths(self, along: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """How long estimated vectors of circular variables are along the true ones, column by column; 1 of linear ones.

        Args:
            along: of each column the mean product of truth and estimate.
        """
        found = np.ones(len(along))
        for place, circular in zip(self.places, self.is_circular, strict=True):
            if circular:
                found[place] = along[place].sum()
        return found

    def residual_covariance(
        self,
        y: Float[np.ndarray, "n d"],
        vectors: Float[np.ndarray, "n k"],
        weight: Float[np.ndarray, " n"] | None = None,
        noise: Float[np.ndarray, "k k"] | None = None,
    ) -> Float[np.ndarray, "k k"]:
        """The mean products of the errors of estimated vectors.

        An estimate of a unit vector may be long or short without being wrong about the direction. Its errors are those
        about the true direction times the length that it has along it in the mean, and as large every way as they are
        across that direction: those along it are no errors of the variable.

        Args:
            y: true values.
            vectors: estimates.
            weight: of the rows.
            noise: a covariance that comes upon the estimates.
        """
        truth = self.encode(y)
        share = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
        noise = np.zeros((truth.shape[1],) * 2) if noise is None else noise
        missed = truth * self.lengths(share @ (truth * vectors)) - vectors
        covariance = (missed.T * share) @ missed + noise
        for place, circular in zip(self.places, self.is_circular, strict=True):
            if not circular:
                continue
            across = truth[:, place][:, ::-1] * [-1, 1]
            size = share @ (across * vectors[:, place]).sum(1) ** 2
            size += share @ einsum(across, noise[place, place], across, "row i, i j, row j -> row")
            values, basis = np.linalg.eigh(covariance[place, place])
            if values[0] > 0:  # a change of coordinates: what it shares with other variables goes with it
                rescaled = (basis / np.sqrt(values)) @ basis.T * np.sqrt(size)
                covariance[place] = rescaled @ covariance[place]
                covariance[:, place] = covariance[:, place] @ rescaled
        return covariance


def projected_variance(certainty: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """−2 ln R of the angle of a Gaussian vector, by its squared length over the variance across it."""
    # Far out −2 ln R is 1/g, and the Bessel functions round to less than that; at no certainty ln 0 is kept finite.
    quarter = np.minimum(certainty, FAR) / 4
    resultant = np.sqrt(np.pi * quarter / 2) * (ive(0, quarter) + ive(1, quarter))
    return np.where(
        certainty < FAR, -2 * np.log(np.maximum(resultant, LEAST_RESULTANT)), 1 / np.maximum(certainty, FAR)
    )


def circular_std(resultant: Float[np.ndarray, "*n"], period: float) -> Float[np.ndarray, "*n"]:
    """√(−2 ln R) of a mean resultant length, in the unit of a variable with that period."""
    return np.sqrt(-2 * np.log(np.clip(resultant, LEAST_RESULTANT, 1))) * period / (2 * np.pi)
