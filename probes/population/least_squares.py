"""The regression inside the linear decoders: sums of products in, weights out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.linalg.lapack import dpocon


@dataclass(frozen=True)
class PenalisedGram:
    """A Gram matrix with penalties on its diagonal, factored; columns that are zero throughout are left out of it.

    Attributes:
        used: the columns that are not.
        factor: the lower Cholesky factor of these.
        size: of all columns.
    """

    used: Int[np.ndarray, " used"]
    factor: Float[np.ndarray, "used used"]
    size: int

    @classmethod
    def of(
        cls, gram: Float[np.ndarray, "p p"], penalty: float | Float[np.ndarray, " p"], remedy: str
    ) -> "PenalisedGram":
        """With one penalty, or one a column.

        Raises `ValueError` with the remedy where columns depend on each other too closely for one answer.
        """
        used = np.flatnonzero(gram.diagonal() > 0)
        system = gram[np.ix_(used, used)]
        system[np.diag_indices_from(system)] += np.broadcast_to(penalty, len(gram))[used]
        if not len(used):
            return cls(used, system, len(gram))
        factor = factored(system)
        if factor is None:
            raise ValueError(
                f"the rows determine no weights: neurons repeat each other, or bins are too few; {remedy}."
            )
        return cls(used, factor, len(gram))

    def whitened(self, values: Float[np.ndarray, "p n"]) -> Float[np.ndarray, "used n"]:
        """L⁻¹ of them: their squares add up to VᵀG⁻¹V."""
        return solve_triangular(self.factor, values[self.used], lower=True, check_finite=False)

    def solved(self, whitened: Float[np.ndarray, "used n"]) -> Float[np.ndarray, "p n"]:
        """G⁻¹ of what had these whitened values; zero in columns that were left out."""
        found = np.zeros((self.size, whitened.shape[1]))
        found[self.used] = solve_triangular(self.factor, whitened, lower=True, trans=1, check_finite=False)
        return found


def factored(matrix: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p p"] | None:
    """The lower Cholesky factor of a symmetric matrix, which is written over; None where that is singular.

    Singular is what is so in any unit: scaled to a diagonal of ones, with a smallest eigenvalue that rounding of the
    largest may have made.
    """
    diagonal = matrix.diagonal().copy()
    if not (diagonal > 0).all():
        return None
    scale = np.sqrt(diagonal)
    matrix /= scale
    matrix /= scale[:, None]
    norm = np.abs(matrix).sum(0).max()
    try:
        factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return None
    if dpocon(factor, norm, uplo="L")[0] < len(factor) * np.finfo(float).eps:
        return None
    factor *= scale[:, None]
    return factor
