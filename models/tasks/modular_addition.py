"""Modular addition, the task that transformers grok by trigonometry."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.dataset import Dataset
from models.tasks.base import NOTHING, Drawn, Task, check_at_least, join


@dataclass(frozen=True)
class ModularAddition(Task):
    """`[BOS, a, b, =]`, and at the last position the token of c = (a + b) mod p.

    Trained on a share of all p² pairs, a one-layer transformer first learns them by heart and long after answers the
    others: it has then turned a and b into cos and sin of a few frequencies w = 2πk/p, made from them cos w(a + b) and
    sin w(a + b), and reads c off as the maximum of Σ cos w(a + b − c) (Nanda et al. 2023, arXiv 2301.05217). Which
    frequencies differs from seed to seed. The paper has no BOS.

    Token ids: BOS 0, the number i is i + 1, "=" is p + 1. Labels: `a`, `b`, `c`, the same along a row.

    Attributes:
        p: the modulus.
        train_share: of the p² pairs; `dataset` keeps the others for testing.
    """

    name: ClassVar[str] = "modular_addition"
    p: int = 59
    train_share: float = 0.4

    def __post_init__(self) -> None:
        check_at_least(self, p=2)
        if not 1 <= self._n_train < self.p**2:
            raise ValueError(
                f"train_share is {self.train_share}: it must leave some of the {self.p**2} pairs for training and some "
                "for testing."
            )

    @property
    def shape(self) -> dict[str, int]:
        return {"d_vocab": self.p + 2, "n_ctx": 4}

    @property
    def numbers(self) -> slice:
        """Where the numbers 0 to p − 1 stand among the token ids, and so among the logits."""
        return slice(1, self.p + 1)

    @property
    def _n_train(self) -> int:
        return round(self.train_share * self.p**2)

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """`n` of all pairs, those for testing among them: to see grokking, train on `dataset` alone."""
        return self._pairs(rng.integers(self.p**2, size=n))

    def dataset(self, n_train: int | None = None, n_test: int | None = None, seed: int = 0) -> Dataset:
        """The pairs in two parts by the seed: `train_share` of them and the others, where no numbers are given.

        Raises:
            ValueError: there are not so many pairs, or none is asked for.
        """
        n_train = self._n_train if n_train is None else n_train
        n_test = self.p**2 - n_train if n_test is None else n_test
        if n_train < 1 or n_test < 0 or n_train + n_test > self.p**2:
            raise ValueError(
                f"{n_train} pairs for training and {n_test} for testing: at least 1 and 0 are needed, and there are "
                f"{self.p**2} pairs of numbers below {self.p}."
            )
        order = np.random.default_rng(seed).permutation(self.p**2)
        train = self._pairs(order[:n_train]).dataset("train")
        if n_test == 0:
            return train
        return join(train, self._pairs(order[n_train : n_train + n_test]).dataset("test"))

    def all_pairs(self) -> Int[Tensor, "pair 4"]:
        """All p² inputs; row `a·p + b` asks for a + b."""
        return torch.from_numpy(self._pairs(np.arange(self.p**2)).tokens)

    def fourier_basis(self) -> Float[np.ndarray, "p p"]:
        """The orthonormal rows 1, cos wx, sin wx, cos 2wx, sin 2wx, … of w = 2π/p over x = 0 … p − 1.

        For an even p the last is cos(πx), whose sine is zero everywhere.
        """
        angle = 2 * np.pi / self.p * np.outer(np.arange(self.p // 2 + 1), np.arange(self.p))
        waves = np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, self.p)
        basis = np.delete(waves, 1, axis=0)[: self.p]  # the sine of frequency 0 is zero
        return basis / np.linalg.norm(basis, axis=1, keepdims=True)

    def fourier_frequencies(self) -> Int[np.ndarray, " p"]:
        """The frequency k of each row of `fourier_basis`: 0, 1, 1, 2, 2, …"""
        return (np.arange(self.p) + 1) // 2

    def _pairs(self, index: Int[np.ndarray, " pair"]) -> Drawn:
        a, b = np.divmod(index, self.p)
        c = (a + b) % self.p
        tokens = np.stack([np.zeros_like(a), a + 1, b + 1, np.full_like(a, self.p + 1)], axis=1)
        targets = np.full_like(tokens, NOTHING)
        targets[:, -1] = c + 1
        truth = {name: np.broadcast_to(x[:, None], tokens.shape) for name, x in {"a": a, "b": b, "c": c}.items()}
        return Drawn(tokens, targets=targets, truth=truth)
