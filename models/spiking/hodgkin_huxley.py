"""The cell of Hodgkin and Huxley: a membrane with sodium, potassium and leak currents, in small steps."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.spiking.neurons import Cells, CellState, Neuron, buffer

C, G_NA, G_K, G_LEAK = 1.0, 120.0, 36.0, 0.3  # µF/cm², mS/cm²
E_NA, E_K, E_LEAK = 50.0, -77.0, -54.387  # mV
REST = -65.0  # mV, where all currents cancel
SPIKE = -20.0  # mV, crossed upward


@dataclass(frozen=True)
class HodgkinHuxley(Neuron):
    """The squid's giant axon (Hodgkin & Huxley 1952, J. Physiol. 117), at 6.3 °C, with rest at −65 mV.

    `C dV/dt = J − ḡ_Na m³h (V − E_Na) − ḡ_K n⁴ (V − E_K) − ḡ_L (V − E_L)`, with C = 1 µF/cm², conductances of 120, 36
    and 0.3 mS/cm² and reversals of 50, −77 and −54.387 mV. Currents are in µA/cm², voltages in mV, times in seconds.

    A step of the network is cut into steps of at most `substep`. In each of them gates and membrane go exponentially
    to where they would settle if the other stood still (Rush & Larsen 1978), which no step makes unstable.

    Firing sets in at once, at about 52 Hz. `rates` reads the curve below, which was measured on this very cell by
    counting; between its points it is linear. Beyond its end, 90 µA/cm²,
    the last rate stands, where a real cell soon falls silent.

    Attributes:
        substep: seconds, at most.
    """

    substep: float = 2e-5
    name = "hodgkin_huxley"
    has_voltage = True
    max_rates = (70.0, 110.0)

    def __post_init__(self) -> None:
        if not 0 < self.substep <= 1e-4:
            raise ValueError(f"substep is {self.substep}: it must be above 0 and at most 0.0001 seconds.")

    @property
    def threshold(self) -> float:
        return CURVE[0][0]

    @property
    def slowest(self) -> float:
        return CURVE[0][1]

    @property
    def fastest(self) -> float:
        return CURVE[-1][1]

    def rates(self, current: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        at, rate = _curve(current)
        return torch.where(current >= at[0], _line(current, at, rate), 0.0)

    def currents(self, rates: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        at, rate = _curve(rates)
        return _line(rates, rate, at)

    def begin(self, start: Float[Tensor, " neuron"], batch: int) -> CellState:
        voltage = buffer(start, batch, REST)
        gates = {name: up / (up + down) for name, (up, down) in gate_rates(voltage).items()}
        return CellState(buffer(start, batch), voltage, gates)

    def step(self, current: Cells, state: CellState, dt: float) -> None:
        v, gates = state.voltage, state.inner
        assert v is not None
        n = max(1, math.ceil(dt / self.substep - 1e-9))
        ms = 1000 * dt / n
        state.spikes.zero_()
        for _ in range(n):
            for name, (up, down) in gate_rates(v).items():
                total = up.add(down)
                gates[name].lerp_(up / total, -torch.expm1(-ms * total))
            sodium = G_NA * gates["m"] ** 3 * gates["h"]
            potassium = G_K * gates["n"].square().square()
            conductance = sodium + potassium + G_LEAK
            settled = (current + sodium * E_NA + potassium * E_K + G_LEAK * E_LEAK) / conductance
            below = v < SPIKE
            v.lerp_(settled, -torch.expm1(-ms / C * conductance))
            state.spikes.add_(below & (v >= SPIKE))


def gate_rates(v: Float[Tensor, "*cells"]) -> dict[str, tuple[Float[Tensor, "*cells"], Float[Tensor, "*cells"]]]:
    """How fast the gates m, h, n open and close at a voltage in mV: (α, β), in 1/ms."""
    return {
        "m": (_ratio((-40 - v) / 10), 4 * torch.exp((-65 - v) / 18)),
        "h": (0.07 * torch.exp((-65 - v) / 20), torch.sigmoid((v + 35) / 10)),
        "n": (0.1 * _ratio((-55 - v) / 10), 0.125 * torch.exp((-65 - v) / 80)),
    }


def _ratio(x: Tensor) -> Tensor:
    """`x/(eˣ − 1)`, which is 1 at 0."""
    near = x.abs() < 1e-3
    return torch.where(near, 1 - x / 2 + x.square() / 12, x / torch.expm1(torch.where(near, 1.0, x)))


def _curve(like: Tensor) -> tuple[Tensor, Tensor]:
    at, rate = zip(*CURVE, strict=True)
    return torch.tensor(at, dtype=torch.float64).to(like), torch.tensor(rate, dtype=torch.float64).to(like)


def _line(x: Tensor, at: Tensor, value: Tensor) -> Tensor:
    """Linear between the points of a curve, constant beyond them."""
    place = torch.searchsorted(at, x.contiguous()).clamp(1, len(at) - 1)
    low, high = at[place - 1], at[place]
    share = ((x - low) / (high - low)).clamp(0, 1)
    return torch.lerp(value[place - 1], value[place], share)


# Steady currents (µA/cm²) and the rates they give (Hz), from rest, the first half second left out.
CURVE = (
    (6.3, 52.34),
    (6.35, 53.31),
    (6.5, 55.04),
    (6.75, 56.9),
    (7.0, 58.28),
    (8.0, 62.44),
    (9.0, 65.62),
    (10.0, 68.33),
    (12.0, 72.88),
    (16.0, 80.33),
    (20.0, 86.48),
    (24.0, 91.74),
    (28.0, 96.51),
    (32.0, 100.82),
    (36.0, 104.88),
    (40.0, 108.66),
    (50.0, 117.0),
    (60.0, 124.43),
    (70.0, 131.07),
    (80.0, 136.95),
    (90.0, 142.34),
)
