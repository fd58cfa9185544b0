"""The inputs of the toy model of superposition."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from models.tasks.base import Drawn, Task, check_at_least

CLOSE = 0.1  # an output is right within this of its input


@dataclass(frozen=True)
class SparseFeatures(Task):
    """Independent features, each 0 with probability S and else uniform between 0 and 1, to be given back.

    Through fewer dimensions than features, ReLU(WᵀWx + b) keeps only the most important ones while they are dense;
    the sparser they are, the more it keeps, in superposition: antipodal pairs, triangles, pentagons, by importance and
    sparsity (Elhage et al. 2022, arXiv 2209.10652). How important each is, is for the subject's config to say.

    Sequences are of one step. Labels: `n_active`, how many are not 0, and `feature_0`, … up to `n_labelled`: whether
    each is.

    Attributes:
        n_features: how many.
        sparsity: S.
        n_labelled: of the first features.
    """

    name: ClassVar[str] = "sparse_features"
    n_features: int = 5
    sparsity: float = 0.9
    n_labelled: int = 5

    def __post_init__(self) -> None:
        check_at_least(self, n_features=1, n_labelled=0)
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity is {self.sparsity}: it must be at least 0 and below 1.")
        if self.n_labelled > self.n_features:
            raise ValueError(f"{self.n_labelled} features cannot be labelled: there are {self.n_features}.")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": self.n_features, "d_out": self.n_features}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        active = rng.random((n, 1, self.n_features)) >= self.sparsity
        x = np.where(active, 1 - rng.random(active.shape, dtype=np.float32), np.float32(0))
        return Drawn(x, targets=x.copy(), truth=active_labels(active, self.n_labelled))

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """An input is right when every feature is given back within a tenth."""
        right = ((output - batch["targets"]).abs() <= CLOSE).all(-1)
        return right, right.new_ones(right.shape)


def active_labels(active: Bool[np.ndarray, "seq 1 feature"], n_labelled: int) -> dict[str, np.ndarray]:
    """How many features are active, and whether each of the first is."""
    return {"n_active": active.sum(-1)} | {f"feature_{i}": active[..., i] for i in range(n_labelled)}
