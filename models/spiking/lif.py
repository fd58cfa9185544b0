"""Leaky integrate-and-fire cells: their rate in closed form, and their spikes."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.spiking.neurons import Cells, CellState, Neuron, buffer


@dataclass(frozen=True)
class LIFRate(Neuron):
    """The steady rate of a leaky integrate-and-fire cell, `1/(τ_ref + τ_rc ln(1 + 1/(J − 1)))` for J > 1, else 0.

    Currents are in units of the threshold. A step gives `rate·dt` spikes, at once.

    Attributes:
        tau_rc: the membrane's time constant, in seconds.
        tau_ref: the refractory period, in seconds.
    """

    tau_rc: float = 0.02
    tau_ref: float = 0.002
    name = "lif_rate"
    has_voltage = False
    max_rates = (200.0, 400.0)

    def __post_init__(self) -> None:
        for name in ("tau_rc", "tau_ref"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0 seconds.")

    @property
    def threshold(self) -> float:
        return 1.0

    @property
    def slowest(self) -> float:
        return 0.0

    @property
    def fastest(self) -> float:
        return 1 / self.tau_ref

    def rates(self, current: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        above = current - 1
        fires = above > 0
        rate = 1 / (self.tau_ref + self.tau_rc * torch.log1p(1 / torch.where(fires, above, 1.0)))
        return torch.where(fires, rate, 0.0)

    def currents(self, rates: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        return -1 / torch.expm1((self.tau_ref - 1 / rates) / self.tau_rc)

    def begin(self, start: Float[Tensor, " neuron"], batch: int) -> CellState:
        return CellState(buffer(start, batch))

    def step(self, current: Cells, state: CellState, dt: float) -> None:
        torch.mul(self.rates(current), dt, out=state.spikes)


class LIF(LIFRate):
    """A leaky integrate-and-fire cell that spikes: `τ_rc dv/dt = J − v`; at v = 1 a spike, then v = 0 for τ_ref.

    A step is the exact solution for a constant current. A spike falls inside it: what is left of the refractory period
    counts from the moment at which v crossed 1, so that no time is lost and the rate is the closed form's. v never
    falls below 0. `tau_ref` must be at least `dt`: a cell spikes at most once a step.
    """

    name = "lif"
    has_voltage = True

    def begin(self, start: Float[Tensor, " neuron"], batch: int) -> CellState:
        voltage = start.expand(batch, -1).clone()
        work = {name: torch.empty_like(voltage) for name in ("share", "above", "late")}
        fired = {"fired": torch.empty_like(voltage, dtype=torch.bool)}
        return CellState(buffer(start, batch), voltage, {"refractory": buffer(start, batch)} | work | fired)

    def step(self, current: Cells, state: CellState, dt: float) -> None:
        v, inner = state.voltage, state.inner
        assert v is not None
        refractory, share, above, late, fired = (
            inner[name] for name in ("refractory", "share", "above", "late", "fired")
        )
        refractory.sub_(dt)
        # How long the membrane is free in this step, and so what share of the way to J it goes.
        torch.neg(refractory, out=share).clamp_(0, dt).mul_(-1 / self.tau_rc).expm1_().neg_()
        torch.lerp(v, current, share, out=v).clamp_(min=0)
        torch.gt(v, 1, out=fired)
        # ln(1 − (v − 1)/(J − 1)) is minus the time since v was 1, in τ_rc; where nothing fired it means nothing.
        # A membrane that a hook has put above J was above 1 from the step's start: no longer than dt ago.
        torch.sub(current, 1, out=above).clamp_(min=0)
        torch.sub(v, 1, out=late).div_(above).clamp_(0, -math.expm1(-dt / self.tau_rc)).neg_().log1p_().mul_(
            self.tau_rc
        ).add_(self.tau_ref)
        torch.where(fired, late, refractory, out=refractory)
        state.spikes.copy_(fired)
        v.masked_fill_(fired, 0)
