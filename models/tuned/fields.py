"""What cells are tuned to: the shape of a tuning curve between 0 and 1, with its slope, one class a kind.

Shapes are `[..., neuron]` of inputs `[..., d_in]`; slopes, with respect to the kind's variables, are
`[..., neuron, variable]`.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

Inputs = Float[Tensor, "*points d_in"]
Shape = Float[Tensor, "*points neuron"]
Slopes = Float[Tensor, "*points neuron variable"]


class Field(nn.Module, ABC):
    """One kind of tuning, for all cells of a population.

    Attributes:
        variables: what the slopes are with respect to, in metres and radians, or the inputs themselves.
    """

    variables: tuple[str, ...]

    @abstractmethod
    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the cells anew."""

    @abstractmethod
    def shape_and_slopes(self, x: Inputs) -> tuple[Shape, Slopes]:
        """The tuning curves at points, and their slopes."""

    def _drawn(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(shape), requires_grad=False)


class Place(Field):
    """A Gaussian bump around the cell's own place: `exp(−|p − c|²/2σ²)` at p, the first two inputs."""

    variables = ("x", "y")

    def __init__(self, n: int, side: float, width: float) -> None:
        super().__init__()
        self.side, self.width = side, width
        self.centres = self._drawn(n, 2)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.uniform_(self.centres, -self.side / 2, self.side / 2, generator=generator)

    def shape_and_slopes(self, x: Inputs) -> tuple[Shape, Slopes]:
        away = x[..., None, :2] - self.centres
        shape = torch.exp(-away.square().sum(-1) / (2 * self.width**2))
        return shape, -away / self.width**2 * shape[..., None]


class Grid(Field):
    """Bumps on a hexagonal lattice: `(Σ_j cos(k_j·(p − φ)) + 3/2)/(9/2)` with three waves at 60°, |k| = 4π/(√3 scale).

    The nearest peaks are exactly `scale` apart. Cells of one scale share an orientation and differ by their phase φ.
    """

    variables = ("x", "y")

    def __init__(self, n: int, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.scales = scales
        self.phases = self._drawn(n, 2)
        self.waves = self._drawn(n, 3, 2)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        n = len(self.phases)
        module = torch.arange(n) * len(self.scales) // n
        scale = torch.tensor(self.scales, dtype=torch.float64)[module]
        orientation = torch.rand(len(self.scales), dtype=torch.float64, generator=generator)[module] * math.pi / 3
        angle = orientation[:, None] + torch.arange(3) * math.pi / 3
        length = 4 * math.pi / (math.sqrt(3) * scale)
        self.waves.copy_(length[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1))
        # Within a cell of the lattice, whose sides lie 30° off the waves, every phase is as likely.
        sides = torch.stack([angle[:, 0] + math.pi / 6, angle[:, 0] + math.pi / 2], 1)
        lattice = scale[:, None, None] * torch.stack([sides.cos(), sides.sin()], -1)
        share = torch.rand(n, 2, 1, dtype=torch.float64, generator=generator)
        self.phases.copy_((share * lattice).sum(1))

    def shape_and_slopes(self, x: Inputs) -> tuple[Shape, Slopes]:
        angle = _along(x[..., None, None, :2] - self.phases[:, None], self.waves)
        shape = (angle.cos().sum(-1) + 1.5) / 4.5
        return shape, -torch.einsum("... n w, n w d -> ... n d", angle.sin(), self.waves) / 4.5


class Heading(Field):
    """A von Mises bump around the cell's own direction: `exp(κ (cos(h − φ) − 1))` at the head direction h.

    Its cosine and sine are the last two inputs.
    """

    variables = ("heading",)

    def __init__(self, n: int, concentration: float) -> None:
        super().__init__()
        self.concentration = concentration
        self.preferred = self._drawn(n)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.uniform_(self.preferred, -math.pi, math.pi, generator=generator)

    def shape_and_slopes(self, x: Inputs) -> tuple[Shape, Slopes]:
        away = torch.atan2(x[..., -1], x[..., -2])[..., None] - self.preferred
        shape = torch.exp(self.concentration * (away.cos() - 1))
        return shape, (-self.concentration * away.sin() * shape)[..., None]


class Linear(Field):
    """A rectified line along the cell's own direction, `max(0, (1 + x·e/reach)/2)`: cosine tuning on a circle."""

    def __init__(self, n: int, d_in: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.variables = tuple(f"x_{i}" for i in range(d_in))
        self.encoders = self._drawn(n, d_in)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.encoders, generator=generator)
        self.encoders.div_(self.encoders.norm(dim=1, keepdim=True))

    def shape_and_slopes(self, x: Inputs) -> tuple[Shape, Slopes]:
        shape = ((1 + _along(x[..., None, :], self.encoders) / self.reach) / 2).clamp(min=0)
        return shape, (shape > 0).to(x)[..., None] * self.encoders / (2 * self.reach)


class Mixed(Field):
    """Conjunctive cells: a place field times a head direction, so that neither alone says what the cell does."""

    variables = ("x", "y", "heading")

    def __init__(self, n: int, side: float, width: float, concentration: float) -> None:
        super().__init__()
        self.place, self.heading = Place(n, side, width), Heading(n, concentration)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Its two parts draw themselves."""

    def shape_and_slopes(self, x: Inputs) -> tuple[Shape, Slopes]:
        (place, by_place), (heading, by_heading) = (part.shape_and_slopes(x) for part in (self.place, self.heading))
        slopes = torch.cat([by_place * heading[..., None], by_heading * place[..., None]], -1)
        return place * heading, slopes


def _along(x: Tensor, direction: Tensor) -> Tensor:
    """Inner products, summed one by one: a matrix product rounds otherwise in batches of another size."""
    return (x * direction).sum(-1)
