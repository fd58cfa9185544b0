"""`Population`: cells that represent a vector together, each along a direction of its own."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from models.hooks import attached
from models.spiking.config import PopulationConfig
from models.spiking.encoding import between, in_ball, on_sphere, usual_points
from models.spiking.neurons import CellState, Neuron
from models.spiking.products import Decoding, encode
from models.spiking.synapse import LowPass
from models.step_hooks import StepHookPoint


class Population(nn.Module):
    """Cells whose current is `gain (x·e)/radius + bias`, x being what they are told (Eliasmith & Anderson 2003).

    What it represents is read from its rates by linear decoders, `x̂ = r D + offset`.

    Hooks, each once a step `[batch, 1, …]`: `hook_input [d]`, what all connections tell it; `hook_current`,
    `hook_voltage` (of cells that have one), `hook_spikes` (counts: 0 or 1, a share of 1 from rate cells)
    `[n_neurons]`; `hook_rate [n_neurons]`, the spikes filtered, in Hz; `hook_decoded [d]`, what is read from that. What
    a hook returns is what the network goes on from: an edited voltage is the cell's, and edited spikes are what others
    hear. Rates and what is decoded from them are a reading, which only the network's output goes on from.

    Attributes:
        encoders: unit vectors `[neuron, d]`.
        gain, bias: `[neuron]`.
        start: of each cell, how far it is at first on its way to a spike, 0 to 1.
        decoders: `[neuron, d]`, per Hz; offset: `[d]`.
        points: where the population is measured, `[sample, d]`.
    """

    encoders: nn.Parameter
    gain: nn.Parameter
    bias: nn.Parameter
    start: nn.Parameter
    decoders: nn.Parameter
    offset: nn.Parameter
    points: Float[Tensor, "sample d"]
    neuron: Neuron

    def __init__(self, cfg: PopulationConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.cfg, self.neuron, self.synapse = cfg, cfg.make_neuron(), LowPass(cfg.synapse)
        n, d = cfg.n_neurons, cfg.d
        for name, shape in {
            "encoders": (n, d), "gain": (n,), "bias": (n,), "start": (n,), "decoders": (n, d), "offset": (d,)
        }.items():  # fmt: skip
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False))
        points = torch.zeros(cfg.n_points or usual_points(n, d), d, dtype=dtype)
        self.register_buffer("points", points, persistent=False)
        self.hook_input, self.hook_current, self.hook_spikes = StepHookPoint(), StepHookPoint(), StepHookPoint()
        if self.neuron.has_voltage:
            self.hook_voltage = StepHookPoint()
        self.hook_rate, self.hook_decoded = StepHookPoint(), StepHookPoint()

    @torch.no_grad()
    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the cells and the points: encoders on the sphere, rates and intercepts uniform, points in the ball."""
        cfg = self.cfg
        if cfg.seed is not None or generator is None:
            generator = torch.Generator().manual_seed(cfg.seed or 0)
        low, high = cfg.max_rates or self.neuron.max_rates
        n = cfg.n_neurons
        self.points.copy_(cfg.radius * in_ball(len(self.points), cfg.d, generator))
        encoders = on_sphere(n, cfg.d, generator)
        rates, intercepts = between(n, low, high, generator), between(n, *cfg.intercepts, generator)
        self.tune(encoders, *self.neuron.gain_and_bias(rates, intercepts))
        self.start.copy_(between(n, 0, 1, generator))

    @torch.no_grad()
    def tune(
        self, encoders: Float[Tensor, "neuron d"], gain: Float[Tensor, " neuron"], bias: Float[Tensor, " neuron"]
    ) -> None:
        """Give the cells these directions (made unit vectors), gains and biases; decoders are to be solved again.

        Raises:
            ValueError: they are of another number of cells, an encoder is zero, or a number is NaN or infinite.
        """
        if encoders.shape != self.encoders.shape or gain.shape != self.gain.shape or bias.shape != self.bias.shape:
            raise ValueError(
                f"encoders are {list(encoders.shape)}, gains {list(gain.shape)} and biases {list(bias.shape)}: "
                f"of these cells they must be {list(self.encoders.shape)}, {list(self.gain.shape)} and as many."
            )
        norms = encoders.norm(dim=1, keepdim=True)
        if not bool((norms > 0).all()):
            raise ValueError("an encoder is zero: a cell must prefer some direction.")
        for mine, given in ((self.encoders, encoders / norms), (self.gain, gain), (self.bias, bias)):
            if not bool(torch.isfinite(given).all()):
                raise ValueError("encoders, gains and biases must be finite numbers.")
            mine.copy_(given)

    @property
    def scaled_encoders(self) -> Float[Tensor, "neuron d"]:
        """What a number that the population is told adds to each cell's current: `gain e / radius`."""
        return self.gain[:, None] * self.encoders / self.cfg.radius

    @torch.no_grad()
    def activities(self, points: Float[Tensor, "sample d"]) -> Float[Tensor, "sample neuron"]:
        """The cells' steady rates at points, in Hz and in double: what decoders are fitted to."""
        return self.neuron.rates(points.double() @ self.scaled_encoders.double().T + self.bias.double())


class Running:
    """A population in the middle of a run: its cells' state, and the hooks that somebody listens at."""

    def __init__(self, population: Population, batch: int, n_steps: int, dt: float, read: bool) -> None:
        self.population, self.dt = population, dt
        cfg, like = population.cfg, population.gain
        names = ("input", "current", "voltage", "spikes", "rate", "decoded")
        points = {name: getattr(population, f"hook_{name}", None) for name in names}
        self.points = {name: point for name, point in points.items() if point is not None and attached(point)}
        for point in self.points.values():
            point.begin(n_steps)
        self.encoders = population.scaled_encoders.T.contiguous()
        self.decode = Decoding(population.decoders, batch)
        self.cells: CellState = population.neuron.begin(population.start, batch)
        self.told = like.new_zeros(batch, cfg.d)
        self.current = like.new_zeros(batch, cfg.n_neurons)
        self.reads = read or bool(self.points.keys() & {"rate", "decoded"})
        # Filtering and decoding commute: the rates themselves are kept only where somebody asks for them.
        self.rate = like.new_zeros(batch, cfg.n_neurons) if "rate" in self.points else None
        self.decoded = like.new_zeros(batch, cfg.d)
        self.filtered = like.new_zeros(batch, cfg.d)

    def step(self, t: int) -> None:
        """From what the population is told to its spikes."""
        self._through("input", self.told, t)
        encode(self.population.bias, self.told, self.encoders, out=self.current)
        self._through("current", self.current, t)
        self.population.neuron.step(self.current, self.cells, self.dt)
        if "voltage" in self.points:
            self._through("voltage", self.cells.voltage, t)
        self._through("spikes", self.cells.spikes, t)

    def read(self, t: int) -> Float[Tensor, "batch d"]:
        """What the population says, from its spikes so far."""
        population = self.population
        if self.rate is not None:
            population.synapse.step(self.rate, self.cells.spikes / self.dt, self.dt)
            self._through("rate", self.rate, t)
            self.decoded.copy_(self.decode(self.rate))
        else:
            spoken = self.decode(self.cells.spikes).div_(self.dt)
            population.synapse.step(self.filtered, spoken, self.dt)
            self.decoded.copy_(self.filtered)
        self.decoded.add_(population.offset)
        self._through("decoded", self.decoded, t)
        return self.decoded

    def _through(self, name: str, value: Any, t: int) -> None:
        pass_through(self.points.get(name), value, t)


def pass_through(point: StepHookPoint | None, value: Tensor, t: int) -> None:
    """Show a value to a step's hooks and put what they return in its place; they get a copy that stays."""
    if point is not None:
        value.copy_(point.at(value.clone(), t))
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"values at {point.name} are NaN or infinite after its hooks.")
