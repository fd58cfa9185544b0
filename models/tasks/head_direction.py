"""Head direction: an angle that is the sum of the turns that were told."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from models.tasks.base import Drawn, Task, check_at_least

CLOSE = 0.05  # a direction is right within this share of a full turn


@dataclass(frozen=True)
class HeadDirection(Task):
    """From the angle turned at every step, the direction that the head points in.

    A network that solves it keeps the angle along a closed curve of slow points: a ring attractor, round which its
    input moves the state (Zhang 1996, J. Neurosci. 16:2112; in trained networks Cueva et al. 2020, arXiv 1912.10189).

    The angular velocity is an Ornstein–Uhlenbeck process of mean 0, and directions at step 0 are uniform. At that step
    nothing turns.

    Inputs: the step's turn in radians; and cosine and sine of the direction at step 0, zero at all others. Targets:
    cosine and sine of the direction. Labels: `heading` in radians from −π to π, `turn` in radians.

    Attributes:
        n_steps: the length of a trial, step 0 included.
        dt: seconds a step.
        turning: standard deviation of the angular velocity, in radians a second.
        turning_time: seconds in which it forgets itself (to 1/e).
    """

    name: ClassVar[str] = "head_direction"
    circular: ClassVar[dict[str, float]] = {"heading": 2 * np.pi}
    n_steps: int = 100
    dt: float = 0.05
    turning: float = 2.0
    turning_time: float = 0.3

    def __post_init__(self) -> None:
        check_at_least(self, n_steps=2, turning=0)
        for name in ("dt", "turning_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": 3, "d_out": 2}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        keep = np.exp(-self.dt / self.turning_time)
        velocity = rng.standard_normal((self.n_steps, n))
        velocity[1:] *= np.sqrt(1 - keep**2)
        for t in range(1, self.n_steps):
            velocity[t] += keep * velocity[t - 1]
        turn = self.turning * self.dt * velocity.T
        turn[:, 0] = 0
        heading = rng.uniform(-np.pi, np.pi, size=(n, 1)) + turn.cumsum(axis=1)
        targets = np.stack([np.cos(heading), np.sin(heading)], axis=-1).astype(np.float32)
        told = np.zeros((n, self.n_steps, 3), dtype=np.float32)
        told[..., 0] = turn
        told[:, 0, 1:] = targets[:, 0]
        truth = {"heading": np.arctan2(np.sin(heading), np.cos(heading)), "turn": turn}
        return Drawn(told, targets=targets, truth=truth)

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """A step is right when the output points within a twentieth of a turn of the true direction."""
        targets = batch["targets"]
        crossed = output[..., 0] * targets[..., 1] - output[..., 1] * targets[..., 0]
        off = crossed.atan2((output * targets).sum(-1)).abs()
        right = (off <= CLOSE * 2 * np.pi) & (output != 0).any(-1)
        return right, right.new_ones(right.shape)
