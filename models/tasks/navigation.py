"""Dead reckoning: where a walker in a box is, from how fast it goes and how it turns."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from models.tasks.base import Drawn, Task, check_at_least

CLOSE = 0.05  # a position is right within this share of the box's side


@dataclass(frozen=True)
class Navigation(Task):
    """A random walk in a square box; from speed and turns, the position and the head direction at every step.

    Networks trained on it have been found with grid, head-direction and border units (Banino et al. 2018; Cueva & Wei
    2018, arXiv 1803.07770); which of them appear depends on what is read out (Schaeffer et al. 2022).

    The walk: angular velocity is an Ornstein–Uhlenbeck process, and speed the length of a vector of two, so that it is
    Rayleigh-distributed with scale `speed`. A walker about to leave the box turns as light is reflected, and goes on
    as in a mirror; the turn is part of its input. At step 0 it stands still.

    Inputs: speed in metres a second; cosine and sine of the step's turn; and x, y and cosine and sine of the head
    direction at step 0, zero at all others. Targets: x, y in metres from the middle of the box, cosine and sine of the
    head direction. Labels: `x`, `y`, `heading` in radians from −π to π, `speed`, `turn` in radians.

    Attributes:
        n_steps: the length of a walk, step 0 included.
        side: of the box, in metres.
        dt: seconds a step.
        speed: the most frequent speed, in metres a second.
        turning: standard deviation of the angular velocity, in radians a second.
        speed_time, turning_time: seconds in which each forgets itself (to 1/e).
    """

    name: ClassVar[str] = "navigation"
    circular: ClassVar[dict[str, float]] = {"heading": 2 * np.pi}
    n_steps: int = 100
    side: float = 2.2
    dt: float = 0.05
    speed: float = 0.2
    turning: float = 2.0
    speed_time: float = 0.7
    turning_time: float = 0.3

    def __post_init__(self) -> None:
        check_at_least(self, n_steps=2, turning=0)
        for name in ("side", "dt", "speed", "speed_time", "turning_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")
        if 10 * self.speed * self.dt > self.side:
            raise ValueError(
                f"at {self.speed} m/s a step of {self.dt} s is {self.speed * self.dt:g} m: a box with sides of "
                f"{self.side} m is too small for it, ten such steps must fit."
            )

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": 7, "d_out": 4}

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        wander = self._wander(n, rng)
        # Ten times the scale is beyond what 10²¹ draws reach; it keeps a step shorter than the box.
        speed = self.speed * np.minimum(np.hypot(wander[..., 0], wander[..., 1]), 10)
        turn = self.turning * self.dt * wander[..., 2]
        speed[0] = turn[0] = 0
        heading = rng.uniform(-np.pi, np.pi, size=n) + turn.cumsum(axis=0)
        ahead = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        place, mirrored = self._bounce(ahead * (speed * self.dt)[..., None], rng)
        return _told(place.swapaxes(0, 1), (ahead * mirrored).swapaxes(0, 1), speed.T)

    def _wander(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "time walk 3"]:
        """Ornstein–Uhlenbeck processes of mean 0 and variance 1, stationary from step 0: two for speed, one turning."""
        keep = np.exp(-self.dt / np.array([self.speed_time, self.speed_time, self.turning_time]))
        values = rng.standard_normal((self.n_steps, n, 3))
        values[1:] *= np.sqrt(1 - keep**2)
        for t in range(1, self.n_steps):
            values[t] += keep * values[t - 1]
        return values

    def _bounce(
        self, steps: Float[np.ndarray, "time walk 2"], rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "time walk 2"], Float[np.ndarray, "time walk 2"]]:
        """The places that steps lead to from a random one, and by which signs each step was mirrored to stay inside."""
        places, signs = np.empty_like(steps), np.empty_like(steps)
        place = rng.uniform(-self.side / 2, self.side / 2, size=steps.shape[1:])
        sign = np.ones_like(place)
        for t, free in enumerate(steps):
            step = sign * free
            out = np.abs(place + step) > self.side / 2
            np.negative(step, out=step, where=out)
            np.negative(sign, out=sign, where=out)
            place = np.add(place, step, out=places[t])
            signs[t] = sign
        return places, signs

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """A step is right when the position is within a twentieth of the box's side."""
        right = (output - batch["targets"])[..., :2].norm(dim=-1) <= CLOSE * self.side
        return right, right.new_ones(right.shape)


def _told(
    place: Float[np.ndarray, "seq time 2"], ahead: Float[np.ndarray, "seq time 2"], speed: Float[np.ndarray, "seq time"]
) -> Drawn:
    """What the walker is told, what it is asked, and the truth, from the unit vectors of its head direction."""
    before = np.concatenate([ahead[:, :1], ahead[:, :-1]], axis=1)
    cos_turn = (before * ahead).sum(-1)
    sin_turn = before[..., 0] * ahead[..., 1] - before[..., 1] * ahead[..., 0]
    targets = np.concatenate([place, ahead], axis=-1, dtype=np.float32)
    told = np.zeros((*speed.shape, 7), dtype=np.float32)
    told[..., 0], told[..., 1], told[..., 2] = speed, cos_turn, sin_turn
    told[:, 0, 3:] = targets[:, 0]
    truth = {
        "x": place[..., 0],
        "y": place[..., 1],
        "heading": np.arctan2(ahead[..., 1], ahead[..., 0]),
        "speed": speed,
        "turn": np.arctan2(sin_turn, cos_turn),
    }
    return Drawn(told, targets=targets, truth=truth)
