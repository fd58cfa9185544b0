"""How features lie in a toy model's dimensions, and the optimum of the smallest one (Elhage et al. 2022).

`W` is `[hidden, feature]`: the model gives back ReLU(WᵀWx + b). Features are 0 except with probability 1 − S, their
density, and then uniform between 0 and 1.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

Weights = Float[Tensor, "hidden feature"]
# A feature counts as represented when its column is at least this long: it is near 0 or near 1 when it is trained.
REPRESENTED = 0.5
# Midpoints on which expectations over the uniform distribution are taken: errors are of the order of 1/N².
_X = (np.arange(128) + 0.5) / 128


def in_pairs(W: Weights, cosine: float = -0.9) -> float:
    """The share of represented features with another one that points the other way; NaN where none is represented."""
    norms = W.norm(dim=0)
    kept = W[:, norms >= REPRESENTED] / norms[norms >= REPRESENTED]
    return float(((kept.T @ kept).amin(1) <= cosine).float().mean()) if kept.shape[1] else math.nan


def angles_between(W: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
    """The angles between neighbouring columns in a plane, in degrees, the smallest first; they add up to 360."""
    turn = torch.atan2(W[1], W[0]).sort().values
    gaps = torch.diff(turn, append=turn[:1] + 2 * math.pi)
    return torch.rad2deg(gaps).sort().values


@dataclass(frozen=True)
class Optimum:
    """The best that two features can do in one dimension.

    Attributes:
        loss: the expected loss.
        superposed: both features are represented, in opposite directions; otherwise the less important is ignored.
    """

    loss: float
    superposed: bool


def expected_loss(w: Float[np.ndarray, "2"], b: Float[np.ndarray, "2"], density: float, importance: float) -> float:
    """E Σ Iᵢ (xᵢ − ReLU(wᵢ (w·x) + bᵢ))² of two features in one dimension, whose importances are 1 and `importance`."""
    zero, (t, u) = np.zeros(1), np.meshgrid(_X, _X)
    weights = np.array([1, importance])[:, None]
    cases = [
        ((1 - density) ** 2, (zero, zero)),
        (density * (1 - density), (_X, 0 * _X)),
        (density * (1 - density), (0 * _X, _X)),
        (density**2, (t.ravel(), u.ravel())),
    ]
    total = 0.0
    for probability, inputs in cases:
        x = np.stack(inputs)
        out = np.maximum(w[:, None] * (w @ x) + b[:, None], 0)
        total += probability * float((weights * (x - out) ** 2).sum(0).mean())
    return total


def optimum(density: float, importance: float) -> Optimum:
    """The least expected loss of two features in one dimension, the second no more important than the first.

    Either the second is ignored, for which the best is its variance, `importance · (density/3 − density²/4)`, or the
    two are antipodal, for which weights and biases are found numerically from (1, −1).
    """
    ignored = importance * (density / 3 - density**2 / 4)

    def loss(theta: Float[np.ndarray, "4"]) -> float:
        return expected_loss(theta[:2], theta[2:], density, importance)

    found = minimize(loss, np.array([1.0, -1.0, 0.0, 0.0]), method="L-BFGS-B")
    superposed = bool(found.fun < ignored and np.abs(found.x[:2]).min() >= REPRESENTED)
    return Optimum(min(float(found.fun), ignored), superposed)
