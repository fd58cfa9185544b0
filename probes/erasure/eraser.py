"""What erases: an affine map that takes some directions out of rows."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from probes.base import Array, Probe
from probes.rows import returned


@dataclass(frozen=True)
class Eraser:
    """`x − left right (x − mean)`: two thin factors, for their product would be d² numbers of a small rank.

    Attributes:
        left: the directions that are taken out.
        right: what reads how much of them is there; `right left` is the identity.
        mean: where nothing is taken out.
    """

    left: Float[Tensor, "d rank"]
    right: Float[Tensor, "rank d"]
    mean: Float[Tensor, " d"]

    def __call__(self, x: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """Rows without those directions, in the precision that they have."""
        left, right, mean = (part.to(x) for part in (self.left, self.right, self.mean))
        return x - ((x - mean) @ right.T) @ left.T

    @property
    def rank(self) -> int:
        """How many directions are taken out."""
        return self.left.shape[1]


class ErasureProbe(TransformerMixin, Probe):
    """A transformer whose `transform` erases what `y` says.

    Attributes:
        eraser_: what does it, in double precision; a hook can call it on activations of any shape.
    """

    eraser_: Eraser

    def __sklearn_tags__(self) -> Any:
        """There is nothing to erase without labels."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def transform(self, X: Any) -> Array:
        """The rows [n, d] without the concept, of the type and precision that they have."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        return returned(torch.cat([self.eraser_(x) for _, x in rows.chunks()]), rows.source)


def orthonormal(directions: Float[Tensor, "k d"], tol: float) -> Float[Tensor, "d rank"]:
    """A basis of what they span; lengths below `tol` of the longest are rounding."""
    u, sizes, _ = torch.linalg.svd(directions.double().T, full_matrices=False)
    return u[:, sizes > tol * sizes.max()] if len(sizes) else u[:, :0]
