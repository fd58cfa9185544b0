"""`MassMeanProbe`: the difference of the class means, and nothing fitted beyond it."""

from jaxtyping import Float
from torch import Tensor

from probes.class_moments import ClassMoments
from probes.summed import SummedClassifierProbe


class MassMeanProbe(SummedClassifierProbe):
    """A direction from one class's mean to that of the other rows, with the boundary half way.

    Marks and Tegmark, "The geometry of truth" (2024), arXiv:2310.06824. It ignores how the rows vary, and so is biased
    where classes differ in other things too; but what it finds is more often the direction that a subject uses than
    what a regression finds. With their correction for the covariance it is `LDAProbe`. Of K > 2 classes each is held
    against all others. Rows that do not fit in memory may come in parts (`partial_fit`).

    Attributes:
        coef_: [1, d], [K, d] or [t, d], as long as the means are apart.
        intercept_: as many.
        classes_: [K], or the two of all targets.
        moments_: what the rows have added up to.
    """

    _squares = False

    def _solved(self, moments: ClassMoments) -> tuple[Float[Tensor, "t d"], Float[Tensor, " t"]]:
        mine, others = moments.class_means, moments.other_means
        coef = mine - others
        return coef, -(coef * (mine + others) / 2).sum(1)
