"""Whether a covariance, or an information, can be inverted, whatever the units of its axes."""

import numpy as np
from jaxtyping import Bool, Float

# Sums of products leave so many units in the last place, times the dimensions, of the largest eigenvalue.
ROUNDING = 4 * float(np.finfo(np.float64).eps)


def is_regular(matrix: Float[np.ndarray, "*n d d"]) -> Bool[np.ndarray, "*n"]:
    """Which symmetric matrices are positive definite beyond rounding, each axis measured in its own unit."""
    finite = np.isfinite(matrix).all((-2, -1))
    known = np.where(finite[..., None, None], matrix, 0.0)
    scale = unit_scales(known)
    scaled = known / scale[..., :, None] / scale[..., None, :]
    return np.asarray(beyond_rounding(np.linalg.eigvalsh(scaled)).all(-1))


def unit_scales(matrix: Float[np.ndarray, "*n d d"]) -> Float[np.ndarray, "*n d"]:
    """The unit of each axis in which the diagonal is one; 1 where it is not above zero."""
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))


def beyond_rounding(eigenvalues: Float[np.ndarray, "*n d"]) -> Bool[np.ndarray, "*n d"]:
    """Which eigenvalues, of matrices with a unit diagonal, are above zero by more than rounding."""
    largest = eigenvalues.max(-1, keepdims=True)
    return eigenvalues > np.maximum(ROUNDING * eigenvalues.shape[-1] * largest, 0.0)
