"""Sparse features planted along known directions, for dictionaries to find."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri
from torch import Tensor

from models.tasks.base import Drawn, Task, check_among, check_at_least, check_share
from models.tasks.sparse_features import active_labels

OBJECTIVES = ("codes", "vectors")
CLOSE = 0.1
MEAN_SQUARE = 1 + 1 / 12  # of a number uniform between ½ and 1½


@dataclass(frozen=True)
class PlantedFeatures(Task):
    """Vectors x = Σ fᵢ dᵢ + noise, of more unit directions dᵢ than there are dimensions, few of them active at once.

    The true dictionary is known, so that a sparse autoencoder trained on x can be marked: mean maximal cosine
    similarity both ways, matching, false and missed activations (Sharkey et al. 2022, "Taking features out of
    superposition with sparse autoencoders"). A rare child under a frequent parent is what makes dictionaries absorb
    (Chanin et al. 2024, arXiv 2409.14507).

    Feature i is active with probability pᵢ ∝ (i + 1)^−zipf, scaled so that `n_active` are active on average, and then
    fᵢ is uniform between ½ and 1½. Features `g·group_size` to `(g + 1)·group_size − 1` are a group: each is active
    where a Gaussian of its own is low enough, and within a group these have `correlation`. The last `n_children`
    features, the rarest, are children of the first: only where the parent is active may the child be, just so often
    that it is active with probability pᵢ.

    Sequences are of one step. Labels: `n_active`, and `feature_0`, … up to `n_labelled`: whether each is active.

    Attributes:
        n_features: directions.
        d_in: dimensions of x.
        n_active: features active at once, on average.
        zipf: the exponent of Zipf's law; 0 for features alike.
        group_size: features in a group; the last group may be smaller.
        correlation: within a group, between the Gaussians.
        n_children: how many features have a parent.
        noise: standard deviation, in each dimension.
        objective: the targets: `codes` (f) or `vectors` (x without its noise).
        n_labelled: of the first features.
        seed: of the directions.
    """

    name: ClassVar[str] = "planted_features"
    n_features: int = 128
    d_in: int = 64
    n_active: float = 4.0
    zipf: float = 0.5
    group_size: int = 1
    correlation: float = 0.0
    n_children: int = 0
    noise: float = 0.0
    objective: str = "codes"
    n_labelled: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_among(self, "objective", OBJECTIVES)
        check_at_least(self, n_features=1, d_in=1, zipf=0, group_size=1, n_children=0, noise=0, n_labelled=0, seed=0)
        check_share(self, "correlation")
        if not 0 < self.n_active <= self.n_features:
            raise ValueError(f"n_active is {self.n_active}: it must be above 0, and at most {self.n_features}.")
        if self.probabilities[0] > 1:
            raise ValueError(
                f"the most frequent feature would be active with probability {self.probabilities[0]:.2f}: "
                "a smaller n_active or zipf is needed."
            )
        if self.correlation > 0 and self.group_size == 1:
            raise ValueError("a correlation needs groups: give a group_size above 1.")
        if 2 * self.n_children > self.n_features:
            raise ValueError(
                f"{self.n_children} children need as many parents, but there are {self.n_features} features."
            )
        if self.n_labelled > self.n_features:
            raise ValueError(f"{self.n_labelled} features cannot be labelled: there are {self.n_features}.")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": self.d_in, "d_out": self.n_features if self.objective == "codes" else self.d_in}

    @cached_property
    def dictionary(self) -> Float[np.ndarray, "feature d_in"]:
        """The true directions, of length 1."""
        directions = np.random.default_rng(self.seed).standard_normal((self.n_features, self.d_in))
        return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)

    @cached_property
    def probabilities(self) -> Float[np.ndarray, " feature"]:
        """How often each feature is active."""
        weight = np.arange(1, self.n_features + 1) ** -float(self.zipf)
        return self.n_active * weight / weight.sum()

    @cached_property
    def parents(self) -> Int[np.ndarray, " feature"]:
        """The parent of each feature; −1 where it has none."""
        parents = np.full(self.n_features, -1)
        parents[self.n_features - self.n_children :] = np.arange(self.n_children)
        return parents

    @cached_property
    def _thresholds(self) -> Float[np.ndarray, " feature"]:
        given_parent = np.where(self.parents >= 0, self.probabilities[self.parents], 1)
        return ndtri(self.probabilities / given_parent)

    def active(self, n: int, rng: np.random.Generator) -> Bool[np.ndarray, "seq feature"]:
        """Which features are active in each of `n` draws."""
        low = rng.standard_normal((n, self.n_features))
        if self.correlation > 0:
            groups = np.arange(self.n_features) // self.group_size
            shared = rng.standard_normal((n, int(groups[-1]) + 1))[:, groups]
            low = np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * low
        active = low < self._thresholds
        first = self.n_features - self.n_children
        active[:, first:] &= active[:, : self.n_children]
        return active

    def codes(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "seq feature"]:
        """The true code f of each of `n` draws."""
        active = self.active(n, rng)
        return np.where(active, 0.5 + rng.random(active.shape, dtype=np.float32), np.float32(0))

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        codes = self.codes(n, rng)
        # In float64, whose rounding differs between processors far below the digits that are kept.
        x = (codes.astype(np.float64) @ self.dictionary).astype(np.float32)
        noisy = x + np.float32(self.noise) * rng.standard_normal(x.shape, dtype=np.float32) if self.noise > 0 else x
        targets = codes if self.objective == "codes" else x
        truth = active_labels(codes[:, None] > 0, self.n_labelled)
        return Drawn(noisy[:, None], targets=targets[:, None].copy(), truth=truth)

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """A vector is right when its squared error is at most a tenth of the mean squared length, `n_active`·E f²."""
        right = (output - batch["targets"]).square().sum(-1) <= CLOSE * self.n_active * MEAN_SQUARE
        return right, right.new_ones(right.shape)
