"""The flip-flop: a memory of n bits, each set by the last pulse on its own line."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from models.tasks.base import Drawn, Task, check_at_least, check_share


@dataclass(frozen=True)
class FlipFlop(Task):
    """Inputs of −1, 0 and 1 on n lines; the output of each is the sign of its last pulse.

    A network that solves it has a stable fixed point for each of the 2ⁿ memories, at the corners of a cube, with
    saddles between them (Sussillo & Barak 2013). The first step has a pulse on every line, so that the answer is
    known from the start (Golub & Sussillo 2018's convention).

    Labels: `bit_0`, `bit_1`, …, whether the line's last pulse was positive, and `memory`, Σ 2ⁱ bitᵢ: the corner.

    Attributes:
        n_bits: lines.
        n_steps: the length of a trial.
        p: the probability of a pulse, on each line at each step.
    """

    name: ClassVar[str] = "flip_flop"
    n_bits: int = 3
    n_steps: int = 64
    p: float = 0.5

    def __post_init__(self) -> None:
        check_at_least(self, n_bits=1, n_steps=1)
        check_share(self, "p")
        if self.n_bits > 32:
            raise ValueError(f"n_bits is {self.n_bits}: more than 32 do not fit the label that numbers the memories.")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": self.n_bits, "d_out": self.n_bits}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        pulse = rng.random((n, self.n_steps, self.n_bits)) < self.p
        pulse[:, 0] = True
        sign = 1 - 2 * rng.integers(2, size=pulse.shape)
        last = np.maximum.accumulate(np.where(pulse, np.arange(self.n_steps)[:, None], 0), axis=1)
        held = np.take_along_axis(sign, last, axis=1)
        bits = held > 0
        truth = {f"bit_{i}": bits[..., i] for i in range(self.n_bits)}
        truth["memory"] = bits @ (1 << np.arange(self.n_bits))
        return Drawn((pulse * sign).astype(np.float32), targets=held.astype(np.float32), truth=truth)

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """A step is right when the sign of every line is."""
        right = (output.sign() == batch["targets"]).all(-1)
        return right, right.new_ones(right.shape)
