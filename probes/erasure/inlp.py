"""`INLP`: a linear probe is fitted, its directions are projected away, and again, until it is no better than chance."""

from typing import Any

import torch

from probes.base import class_codes
from probes.class_moments import ClassMoments
from probes.erasure.eraser import Eraser, ErasureProbe, orthonormal
from probes.logistic import LogisticProbe

LEAST_LENGTH = 1e-6


class INLP(ErasureProbe):
    """Iterative null-space projection (Ravfogel et al., "Null it out", 2020, arXiv:2004.07667).

    Each round takes out the directions of one more logistic probe. It ends after `n_rounds`, or when the probe is right
    on no more rows than the most frequent class is. LEACE does in one step, and with less change, what this does in
    many.

    Args:
        n_rounds: at most.
        C: the inverse of the probes' penalty.

    Attributes:
        eraser_: see `Eraser`.
        accuracies_: of each round's probe, on the rows themselves.
    """

    def __init__(self, n_rounds: int = 20, *, C: float = 1.0) -> None:
        self.n_rounds = n_rounds
        self.C = C

    def fit(self, X: Any, y: Any) -> "INLP":
        """Learn from rows X [n, d] and classes y [n]."""
        if self.n_rounds < 1:
            raise ValueError(f"n_rounds is {self.n_rounds}: at least one is needed.")
        rows = self._rows(X, reset=True)
        _, codes = class_codes(y, rows)
        chance = torch.bincount(codes).max().item() / rows.n
        mean = ClassMoments.of(rows, codes[:, None], None, squares=False).mean
        x = torch.cat([chunk - mean.to(chunk) for _, chunk in rows.chunks()])
        basis = x.new_zeros(rows.d, 0, dtype=torch.float64)
        self.accuracies_: list[float] = []
        for _ in range(self.n_rounds):
            if basis.shape[1] >= rows.d:
                break
            probe = LogisticProbe(self.C).fit(x, codes)
            self.accuracies_.append((probe.predict(x) == codes).double().mean().item())
            if self.accuracies_[-1] <= chance:
                break
            basis = orthonormal(torch.cat([basis.T, torch.as_tensor(probe.coef_).double()]), LEAST_LENGTH)
            q = basis.to(x)
            x = x - (x @ q) @ q.T
        self.eraser_ = Eraser(basis, basis.T, mean)
        return self
