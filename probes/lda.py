"""`LDAProbe`: linear discriminant analysis, the mass-mean direction corrected for how rows vary within classes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.base import LogLinearProbe
from probes.class_moments import ClassMoments
from probes.rows import Rows
from probes.summed import SummedClassifierProbe


class LDAProbe(SummedClassifierProbe, LogLinearProbe):
    """Gaussian classes of one covariance: `w = Σ⁻¹ (μ₁ − μ₀)`, or of K classes `w_k = Σ⁻¹ μ_k`.

    Σ is the pooled covariance within classes, drawn towards a multiple of the identity by `shrinkage` (Hastie et al.,
    The Elements of Statistical Learning, 4.3). Of many targets each has its own Σ: the covariance of all rows less
    what lies between its two means, which costs one solution for all (Sherman and Morrison). Rows that do not fit in
    memory may come in parts (`partial_fit`).

    Args:
        shrinkage: 0 for the covariance as it is, 1 for a multiple of the identity.

    Attributes:
        coef_: [1, d], [K, d] or [t, d].
        intercept_: as many.
        classes_: [K], or the two of all targets.
        moments_: what the rows have added up to.
    """

    def __init__(self, shrinkage: float = 1e-3) -> None:
        self.shrinkage = shrinkage

    def _add(self, before: ClassMoments | None, rows: Rows, codes: Int[Tensor, "n t"], sample_weight: Any) -> None:
        if not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage is {self.shrinkage}: it must lie between 0 and 1.")
        super()._add(before, rows, codes, sample_weight)

    def _solved(self, moments: ClassMoments) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        several = self.n_targets_ is None and len(self.classes_) > 2
        return self._of_classes(moments) if several else self._binary(moments)

    def _binary(self, moments: ClassMoments) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        """Each target's second class against its first."""
        mine, others = moments.class_means, moments.other_means
        apart, share = mine - others, moments.counts / moments.count
        between = (1 - self.shrinkage) * share * (1 - share)
        # In the basis of the covariance of all rows, Σ is diagonal but for what lies between the target's two means.
        scales, basis = torch.linalg.eigh(moments.covariance)
        delta = apart @ basis
        size = (scales.sum() - (share * (1 - share)) * apart.square().sum(1)) / len(scales)
        diagonal = (1 - self.shrinkage) * scales.clamp(min=0) + self.shrinkage * size[:, None]
        _refuse_singular(diagonal.min(), diagonal.max())
        solved = delta / diagonal
        coef = (solved / (1 - between * (delta * solved).sum(1))[:, None]) @ basis.T
        odds = torch.log(share) - torch.log1p(-share)
        return coef, odds - (coef * (mine + others) / 2).sum(1)

    def _of_classes(self, moments: ClassMoments) -> tuple[Float[Tensor, "K d"], Float[Tensor, " K"]]:
        """One target of several classes."""
        share, means = moments.counts / moments.count, moments.class_means
        centred = means - moments.mean
        within = moments.covariance - (centred.T * share) @ centred
        size = within.diagonal().mean()
        scales, basis = torch.linalg.eigh(within)
        diagonal = (1 - self.shrinkage) * scales.clamp(min=0) + self.shrinkage * size
        _refuse_singular(diagonal.min(), diagonal.max())
        coef = (means @ basis / diagonal) @ basis.T
        return coef, torch.log(share) - (coef * means).sum(1) / 2


def _refuse_singular(least: Float[Tensor, ""], most: Float[Tensor, ""]) -> None:
    if not least > torch.finfo(torch.float64).eps * most:
        raise ValueError(
            "within the classes the rows do not vary in every direction (a constant column, or fewer rows than "
            "columns): give a shrinkage above zero."
        )
