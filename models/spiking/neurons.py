"""`Neuron`: what a cell makes of its input current, as a rate and step by step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

Cells = Float[Tensor, "batch neuron"]


@dataclass
class CellState:
    """What the cells of a population are in, step by step; every tensor is changed in place.

    Attributes:
        spikes: what the last step gave, as a count: 0 or 1, or a rate's share of a step.
        voltage: of each membrane, where the cells have one.
        inner: whatever else a kind of cell keeps.
    """

    spikes: Cells
    voltage: Cells | None = None
    inner: dict[str, Tensor] = field(default_factory=dict)


class Neuron(ABC):
    """A kind of cell, over `[batch, neuron]` at once.

    Attributes:
        name: what a config calls it.
        has_voltage: whether it has a membrane that can be read and edited.
        max_rates: the range that a population's maximal rates come from where nothing else is said, in Hz.
    """

    name: ClassVar[str]
    has_voltage: ClassVar[bool]
    max_rates: ClassVar[tuple[float, float]]

    @property
    @abstractmethod
    def threshold(self) -> float:
        """The current above which a cell fires."""

    @property
    @abstractmethod
    def slowest(self) -> float:
        """The rate at which firing sets in, in Hz; a cell that fires is faster."""

    @property
    @abstractmethod
    def fastest(self) -> float:
        """The rate that no cell of this kind reaches, in Hz."""

    @abstractmethod
    def rates(self, current: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The steady firing rate at constant currents, in Hz."""

    @abstractmethod
    def currents(self, rates: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
        """The constant currents at which cells fire at the given rates, above 0 Hz."""

    @abstractmethod
    def begin(self, start: Float[Tensor, " neuron"], batch: int) -> CellState:
        """The cells before the first step, `start` of the way (0 to 1) to their first spike where that is meant."""

    @abstractmethod
    def step(self, current: Cells, state: CellState, dt: float) -> None:
        """Go on by `dt` seconds at a constant current, in place."""

    def gain_and_bias(
        self, max_rates: Float[Tensor, " neuron"], intercepts: Float[Tensor, " neuron"]
    ) -> tuple[Float[Tensor, " neuron"], Float[Tensor, " neuron"]]:
        """The line from what a cell is told (−1 to 1 along its encoder) to its current (Eliasmith & Anderson 2003).

        Args:
            max_rates: Hz at 1.
            intercepts: where it begins to fire, below 1.

        Returns:
            Gains and biases: `current = gain·x + bias`.

        Raises:
            ValueError: a rate is none that such a cell reaches, or an intercept is not below 1.
        """
        if not bool(((max_rates > self.slowest) & (max_rates < self.fastest)).all()):
            raise ValueError(
                f"maximal rates run from {float(max_rates.min()):g} to {float(max_rates.max()):g} Hz: a {self.name} "
                f"cell can only be asked for rates above {self.slowest:g} and below {self.fastest:g} Hz."
            )
        if not bool((intercepts < 1).all()):
            raise ValueError(f"an intercept is {float(intercepts.max()):g}: a cell must begin to fire below 1.")
        gain = (self.currents(max_rates) - self.threshold) / (1 - intercepts)
        return gain, self.threshold - gain * intercepts


def buffer(start: Tensor, batch: int, value: float = 0.0) -> Tensor:
    """`[batch, neuron]`, filled."""
    return torch.full((batch, len(start)), value, dtype=start.dtype, device=start.device)
