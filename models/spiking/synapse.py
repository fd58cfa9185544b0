"""The exponential synapse: a first-order low-pass filter."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LowPass:
    """`τ dy/dt = x − y`, solved for an input that stands still during a step (zero-order hold).

    y ← a y + (1 − a) x, with a = e^(−dt/τ).

    Attributes:
        tau: the time constant, in seconds; None lets everything through as it comes.
    """

    tau: float | None

    def __post_init__(self) -> None:
        if self.tau is not None and not self.tau > 0:
            raise ValueError(f"a synapse of {self.tau} s: it must be above 0 seconds, or None for no filter.")

    def share(self, dt: float) -> float:
        """What part of the way to its input the filter goes in a step: 1 − a."""
        return 1.0 if self.tau is None else -math.expm1(-dt / self.tau)

    def step(self, state: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"], dt: float) -> None:
        """One step, in place."""
        state.lerp_(x, self.share(dt))

    def filter(self, x: Float[Tensor, "batch time *d"], dt: float) -> Float[Tensor, "batch time *d"]:
        """All steps of a sequence, from 0."""
        state, out = torch.zeros_like(x[:, 0]), torch.empty_like(x)
        for t in range(x.shape[1]):
            self.step(state, x[:, t], dt)
            out[:, t] = state
        return out
