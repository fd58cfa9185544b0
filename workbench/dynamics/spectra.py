"""What a Jacobian says: modes with left and right vectors, time constants, frequencies, and how far from normal."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

Jacobians = Float[Tensor, "*n d d"]
Eigenvalues = Complex[np.ndarray, "*n d"] | Float[np.ndarray, "*n d"] | Complex[Tensor, "*n d"] | Float[Tensor, "*n d"]
# Right vectors so near to dependent have no left vectors that mean anything: the matrix is defective.
MOST_DEPENDENT = 1e12


@dataclass(frozen=True)
class Spectrum:
    """The modes of matrices J, the slowest (the largest |λ|) first.

    Attributes:
        eigenvalues: λ.
        right: columns r with J r = λ r, of length 1.
        left: rows l with l J = λ l and `left @ right` the identity; NaN where a matrix has no full set of modes.
    """

    eigenvalues: Complex[Tensor, "*n d"]
    right: Complex[Tensor, "*n d d"]
    left: Complex[Tensor, "*n d d"]


def spectrum(jacobians: Jacobians) -> Spectrum:
    """The eigenvalues and vectors of each matrix, sorted by |λ|; of a complex pair the one of positive angle first."""
    values, right = torch.linalg.eig(jacobians.double())
    # Rounding first, so that the two of a pair are one after the other in the same order everywhere.
    keys = torch.stack([-values.abs().round(decimals=12), -values.imag], -1).numpy()
    order = torch.from_numpy(np.lexsort((keys[..., 1], keys[..., 0]), axis=-1))
    values = values.gather(-1, order)
    right = right.gather(-1, order[..., None, :].expand_as(right))
    left, failed = torch.linalg.inv_ex(right)
    size = torch.linalg.matrix_norm(left) * torch.linalg.matrix_norm(right)
    defective = (failed != 0) | ~(size < MOST_DEPENDENT)
    return Spectrum(values, right, torch.where(defective[..., None, None], torch.nan, left))


def time_constants(eigenvalues: Eigenvalues) -> Float[np.ndarray, "*n d"]:
    """τ = −1/ln|λ|, in steps: negative where a mode grows, infinite where it stays, 0 for λ = 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(np.asarray(eigenvalues)))
        return np.divide(-1.0, logs, out=np.full(logs.shape, np.inf), where=logs != 0) + 0.0


def frequencies(eigenvalues: Eigenvalues) -> Float[np.ndarray, "*n d"]:
    """Cycles a step, |arg λ|/2π, between 0 and ½."""
    return np.abs(np.angle(np.asarray(eigenvalues))) / (2 * np.pi)


def non_normality(jacobians: Jacobians) -> Float[np.ndarray, "*n"]:
    """Henrici's departure from normality √(‖J‖² − Σ|λ|²)/‖J‖ (1962, Numerische Mathematik 4:24): 0 for normal matrices.

    It is at most 1, of a matrix that only hands on (nilpotent); then all that grows for a time does so without modes.
    """
    matrices = jacobians.double()
    whole = matrices.square().sum((-2, -1))
    own = torch.linalg.eigvals(matrices).abs().square().sum(-1)
    share = (whole - own).clamp(min=0) / torch.where(whole > 0, whole, 1)
    return share.sqrt().numpy()
