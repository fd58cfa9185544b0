"""Signals without fast parts: what a population that represents, integrates or oscillates is told, and what is true."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from models.tasks.base import Drawn, Task, check_among, check_at_least

CLOSE = 0.1  # a step is right within this of the truth
OBJECTIVES = ("signal", "integral", "oscillation")


@dataclass(frozen=True)
class BandLimited(Task):
    """White noise below a cutoff, to be given back; or its rate of change, to be integrated; or a kick to oscillate on.

    `signal`: the input x(t), whose largest value in a sequence is between half of `amplitude` and all of it, is the
    target. `integral`: the same x(t) less its first value is the target, and the input is what each step adds to it,
    in units a second: the input's running sum times `dt` is the target. `oscillation`: the target follows
    dx/dt = `omega` (x_1, −x_0) + input from 0 on, and the input is a kick in a random direction that lasts a sixth of a
    turn and brings it to `amplitude`.

    Labels: `x` (`x_0`, `x_1`, … if there are several), the truth; `input` (`input_0`, …); of oscillations `phase`, in
    radians from −π to π.

    Attributes:
        objective: `signal`, `integral` or `oscillation`, which is of two numbers.
        d: numbers a step.
        n_steps: the length of a sequence.
        dt: seconds a step.
        cutoff: the highest frequency of signals, in Hz.
        amplitude: how far from 0 they go at most.
        omega: of oscillations, in radians a second, clockwise.
    """

    name: ClassVar[str] = "band_limited"
    objective: str = "signal"
    d: int = 1
    n_steps: int = 1000
    dt: float = 0.001
    cutoff: float = 2.0
    amplitude: float = 0.8
    omega: float = 10.0

    def __post_init__(self) -> None:
        check_among(self, "objective", OBJECTIVES)
        check_at_least(self, d=1, n_steps=2)
        for name in ("dt", "cutoff", "amplitude", "omega"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")
        if self.objective == "oscillation":
            if self.d != 2:
                raise ValueError(f"d is {self.d}, but an oscillation is of 2 numbers.")
            if self.n_steps <= self._kick:
                raise ValueError(f"n_steps is {self.n_steps}, but the kick alone takes {self._kick} steps.")
        elif self.cutoff * self.n_steps * self.dt < 1 or self.cutoff * self.dt > 0.5:
            raise ValueError(
                f"cutoff is {self.cutoff:g} Hz: {self.n_steps} steps of {self.dt:g} s hold frequencies from "
                f"{1 / (self.n_steps * self.dt):g} to {0.5 / self.dt:g} Hz."
            )

    @property
    def shape(self) -> dict[str, int]:
        return {"d_in": self.d, "d_out": self.d}

    @property
    def _kick(self) -> int:
        """Steps of a sixth of a turn."""
        return max(1, round(np.pi / 3 / self.omega / self.dt))

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        if self.objective == "oscillation":
            return self._oscillation(n, rng)
        x = self._signal(n, rng)
        told = x if self.objective == "signal" else np.diff(x, axis=1, prepend=x[:, :1]) / self.dt
        if self.objective == "integral":
            x = x - x[:, :1]
        return _told(told, x)

    def _signal(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "seq time d"]:
        """Sums of the sequence's own frequencies up to the cutoff; integrals so that they stay inside from 0 on."""
        n_waves = int(self.cutoff * self.n_steps * self.dt + 1e-9)
        waves = rng.standard_normal((n, n_waves, self.d, 2))
        spectrum = np.zeros((n, self.n_steps // 2 + 1, self.d), dtype=complex)
        spectrum[:, 1 : n_waves + 1] = waves[..., 0] + 1j * waves[..., 1]
        x = np.fft.irfft(spectrum, self.n_steps, axis=1)
        reach = np.abs(x - x[:, :1] if self.objective == "integral" else x).max(axis=1, keepdims=True)
        return x / reach * self.amplitude * rng.uniform(0.5, 1, size=(n, 1, 1))

    def _oscillation(self, n: int, rng: np.random.Generator) -> Drawn:
        direction = np.exp(1j * rng.uniform(-np.pi, np.pi, size=(n, 1)))
        time = (np.arange(self.n_steps) + 1) * self.dt  # a step's input has had its effect at its end
        kicked = np.minimum(time, self._kick * self.dt)
        strength = self.amplitude * self.omega / (2 * np.sin(self.omega * self._kick * self.dt / 2))
        # z' = −iωz + u while the kick lasts, then z' = −iωz.
        during = strength * (1 - np.exp(-1j * self.omega * kicked)) / (1j * self.omega)
        z = direction * during * np.exp(-1j * self.omega * (time - kicked))
        told = direction * strength * (np.arange(self.n_steps) < self._kick)
        both = (np.stack([value.real, value.imag], axis=-1) for value in (told, z))
        return _told(*both, phase=np.angle(z))

    def hits(
        self, output: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Bool[Tensor, "seq time"], Bool[Tensor, "seq time"]]:
        """A step is right within a tenth of the truth; of an oscillation, within 30° and half to 1½ times as strong."""
        targets = batch["targets"]
        if self.objective == "oscillation":
            length, strength = output.norm(dim=-1), targets.norm(dim=-1)
            right = (output * targets).sum(-1) >= 0.75**0.5 * length * strength
            right &= (length - strength).abs() <= 0.5 * strength
        else:
            right = (output - targets).norm(dim=-1) <= CLOSE
        return right, right.new_ones(right.shape)


def _told(
    told: Float[np.ndarray, "seq time d"], x: Float[np.ndarray, "seq time d"], **more: Float[np.ndarray, "seq time"]
) -> Drawn:
    truth: dict[str, np.ndarray] = {}
    for i in range(x.shape[-1]):
        place = f"_{i}" if x.shape[-1] > 1 else ""
        truth |= {f"x{place}": x[..., i], f"input{place}": told[..., i]}
    return Drawn(told.astype(np.float32), targets=x.astype(np.float32), truth=truth | more)
