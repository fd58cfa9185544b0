"""Evidence that comes a little at a time: for one of two signs, or for one of several classes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from models.tasks.base import NOTHING, Drawn, Task, check_among, check_at_least, check_share

OBJECTIVES = ("total", "sign")


@dataclass(frozen=True)
class SignedEvidence(Task):
    """A noisy number a step, whose running total, or its sign at the end, is the answer.

    A network that solves it keeps the total along a line of slow points, with one eigenvalue near 1 (a line
    attractor: Mante et al. 2013; Maheswaranathan et al. 2019, arXiv 1906.10720).

    The input is `drift/√n_steps + noise·ε`, ε standard normal, and the total `Σ input/√n_steps`: at the end its mean is
    `drift` and its standard deviation `noise`, however many the steps. The trial's drift is uniform between
    ± `max_drift`.

    Labels: `total`; `positive`, whether it is above zero; and the trial's `drift`.

    Attributes:
        n_steps: the length of a trial.
        max_drift: the largest mean of a total at the end.
        noise: its standard deviation.
        objective: `total`: the total at every step. `sign`: at the last step, class 1 if it is above zero, else 0.
    """

    name: ClassVar[str] = "signed_evidence"
    n_steps: int = 50
    max_drift: float = 1.0
    noise: float = 0.5
    objective: str = "total"

    def __post_init__(self) -> None:
        check_among(self, "objective", OBJECTIVES)
        check_at_least(self, n_steps=1, max_drift=0, noise=0)
        if self.max_drift == self.noise == 0:
            raise ValueError("max_drift and noise are both 0: there is then no evidence.")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": 1, "d_out": 1 if self.objective == "total" else 2}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        drift = rng.uniform(-self.max_drift, self.max_drift, size=(n, 1))
        scale = self.n_steps**-0.5
        evidence = (drift * scale + self.noise * rng.standard_normal((n, self.n_steps))).astype(np.float32)
        total = evidence.cumsum(axis=1, dtype=np.float64) * scale
        positive = total > 0
        if self.objective == "total":
            targets = total[..., None].astype(np.float32)
        else:
            targets = np.full(total.shape, NOTHING)
            targets[:, -1] = positive[:, -1]
        truth = {"total": total, "positive": positive, "drift": np.broadcast_to(drift, total.shape)}
        return Drawn(evidence[..., None], targets=targets, truth=truth)

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """A total is right when its sign is."""
        if self.objective == "sign":
            return super().hits(output, batch)
        right = ((output > 0) == (batch["targets"] > 0))[..., 0]
        return right, right.new_ones(right.shape)


@dataclass(frozen=True)
class ClassEvidence(Task):
    """A noisy one-hot vector a step; the answer is the class whose running total is largest.

    A network that solves it for K classes keeps the totals' differences: K − 1 directions hold its states, with
    K − 1 eigenvalues near 1, a simplex (Aitken et al. 2020, arXiv 2010.15114).

    A trial has a class of its own. A step shows it with probability `coherence`, and any class at random otherwise;
    to all K numbers noise is added, and the totals are those of the numbers as they are shown. A tie, which can only
    be where there is no noise, has no answer and is not asked.

    Labels: `total_0`, `total_1`, …, and `leader`, the class with the largest, missing in a tie.

    Attributes:
        n_classes: K.
        n_steps: the length of a trial.
        coherence: between 0 and 1.
        noise: standard deviation, on each number at each step.
        every_step: the answer is asked at every step, not only at the last.
    """

    name: ClassVar[str] = "class_evidence"
    n_classes: int = 3
    n_steps: int = 50
    coherence: float = 0.1
    noise: float = 0.1
    every_step: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, n_classes=2, n_steps=1, noise=0)
        check_share(self, "coherence")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": self.n_classes, "d_out": self.n_classes}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        own = rng.integers(self.n_classes, size=(n, 1))
        any_class = rng.integers(self.n_classes, size=(n, self.n_steps))
        shown = np.where(rng.random((n, self.n_steps)) < self.coherence, own, any_class)
        evidence = np.eye(self.n_classes)[shown] + self.noise * rng.standard_normal((*shown.shape, self.n_classes))
        evidence = evidence.astype(np.float32)
        totals = evidence.cumsum(axis=1, dtype=np.float64)
        best = np.sort(totals, axis=-1)
        leader, tied = totals.argmax(-1), best[..., -1] == best[..., -2]
        asked = ~tied
        if not self.every_step:
            asked[:, :-1] = False
        truth = {f"total_{k}": totals[..., k] for k in range(self.n_classes)}
        truth["leader"] = np.ma.masked_array(leader, mask=tied)
        return Drawn(evidence, targets=np.where(asked, leader, NOTHING), truth=truth)
