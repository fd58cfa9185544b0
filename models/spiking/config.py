"""The shape of a `SpikingNetwork`: its populations and what runs between them, as plain JSON."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from models.checked_input import whole_number
from models.config_json import config_from_dict, config_to_dict
from models.spiking.functions import FUNCTIONS, GIVEN
from models.spiking.hodgkin_huxley import HodgkinHuxley
from models.spiking.lif import LIF, LIFRate
from models.spiking.neurons import Neuron
from models.spiking.synapse import LowPass

INPUT = "input"
NEURONS: dict[str, type[Neuron]] = {kind.name: kind for kind in (LIF, LIFRate, HodgkinHuxley)}


@dataclass(kw_only=True)
class PopulationConfig:
    """Cells that represent a vector together (Eliasmith & Anderson 2003).

    Attributes:
        n_neurons: how many.
        d: numbers that they represent.
        radius: how long the vectors are that they represent well.
        neuron: `lif` (spikes), `lif_rate` or `hodgkin_huxley`.
        tau_rc, tau_ref: of LIF cells, in seconds.
        max_rates: the range of the cells' rates where they are told most, in Hz; None for what is usual for the cell.
        intercepts: the range of where along their encoders the cells begin to fire, from −1 to below 1.
        synapse: time constant of the filter through which the population is read, in seconds; None for no filter.
        regularisation: σ of the decoders' noise, as a share of the largest activity.
        n_points: where the population is measured to solve for decoders; None for 500 a dimension within 750 and 2500,
            but two a neuron at least.
        seed: of its cells; None to draw them from the network's.

    Raises:
        ValueError: the fields contradict each other or name what there is not.
    """

    n_neurons: int
    d: int = 1
    radius: float = 1.0
    neuron: str = "lif"
    tau_rc: float = 0.02
    tau_ref: float = 0.002
    max_rates: tuple[float, float] | None = None
    intercepts: tuple[float, float] = (-1.0, 0.9)
    synapse: float | None = 0.005
    regularisation: float = 0.1
    n_points: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("n_neurons", 1), ("d", 1), ("n_points", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None:
                whole_number(value, name, least=least)
        for name in ("radius", "regularisation"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")
        for name in ("max_rates", "intercepts"):
            if (value := getattr(self, name)) is not None and np.shape(value) != (2,):
                raise ValueError(f"{name} are {value}: they must be two numbers, the lowest and the highest.")
        if self.neuron not in NEURONS:
            raise ValueError(f"neuron {self.neuron!r} is unknown: there are {', '.join(NEURONS)}.")
        low, high = self.max_rates or NEURONS[self.neuron].max_rates
        self.max_rates = (low, high)
        cell = self.make_neuron()
        if not cell.slowest < low <= high < cell.fastest:
            raise ValueError(
                f"max_rates are {low:g} to {high:g} Hz: of {self.neuron} cells they must lie in order between "
                f"{cell.slowest:g} and {cell.fastest:g} Hz."
            )
        low, high = self.intercepts
        self.intercepts = (low, high)
        if not -1 <= low <= high < 1:
            raise ValueError(f"intercepts are {low:g} to {high:g}: they must lie in order from -1 to below 1.")
        LowPass(self.synapse)

    def make_neuron(self) -> Neuron:
        """The kind of its cells."""
        if self.neuron == HodgkinHuxley.name:
            return HodgkinHuxley()
        return (LIF if self.neuron == LIF.name else LIFRate)(tau_rc=self.tau_rc, tau_ref=self.tau_ref)


@dataclass(kw_only=True)
class ConnectionConfig:
    """What one population, or the network's input, tells another.

    Attributes:
        pre: the population that speaks, or `input`.
        post: the population that listens.
        function: of what `pre` represents, decoded from its activity: a name of `FUNCTIONS`; `given` where decoders
            were given and are among the network's weights. The input is told as it is: `identity`.
        transform: a matrix `[d of post, d of the function]`; None where these are as many.
        synapse: time constant of the filter, in seconds; None for no filter.
        name: `PRE_to_POST` where nothing is said.

    Raises:
        ValueError: the function or the filter makes no sense.
    """

    pre: str
    post: str
    function: str = "identity"
    transform: list[list[float]] | None = None
    synapse: float | None = 0.005
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or f"{self.pre}_to_{self.post}"
        if self.function not in (*FUNCTIONS, GIVEN):
            raise ValueError(f"function {self.function!r} is unknown: there are {', '.join(FUNCTIONS)} and {GIVEN}.")
        if self.pre == INPUT and self.function != "identity":
            raise ValueError(f"the input is no population, and no {self.function} can be decoded from it.")
        if (
            self.transform is not None
            and not np.isfinite(np.concatenate([np.ravel(row) for row in self.transform])).all()
        ):
            raise ValueError(f"the transform of {self.name} holds NaN or infinite numbers.")
        LowPass(self.synapse)


@dataclass(kw_only=True)
class SpikingNetworkConfig:
    """Populations of cells, and decoded connections between them.

    Attributes:
        d_in: numbers a step that the network is told.
        populations: by name.
        connections: what runs between them; an input reaches the populations that one from `input` leads to.
        output: the population whose decoded value is the network's output; the last one where nothing is said.
        d_out: as many numbers as that population represents.
        dt: seconds a step.
        n_ctx: the longest sequence it takes; None for any length.
        seed: of the cells and the points at which they are measured.
        dtype: of the weights.
        device: of the weights.

    Raises:
        ValueError: the fields contradict each other or name what there is not.
    """

    d_in: int
    populations: dict[str, PopulationConfig]
    connections: tuple[ConnectionConfig, ...] = ()
    output: str = ""
    d_out: int | None = None
    dt: float = 0.001
    n_ctx: int | None = None
    seed: int = 0
    dtype: torch.dtype = field(default=torch.float32)
    device: str = "cpu"
    model_name: str = "spiking"

    def __post_init__(self) -> None:
        if not self.populations:
            raise ValueError("there is no population: a network has at least one.")
        for name, least in (("d_in", 1), ("n_ctx", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None:
                whole_number(value, name, least=least)
        if not 0 < self.dt < math.inf:
            raise ValueError(f"dt is {self.dt}: it must be above 0 seconds.")
        for name, population in self.populations.items():
            _check_name("population", name)
            if name == INPUT:
                raise ValueError(f"a population cannot be called {INPUT!r}: connections call the network's input that.")
            if population.neuron == LIF.name and population.tau_ref < self.dt:
                raise ValueError(
                    f"tau_ref of {name} is {population.tau_ref} s, but a step is {self.dt} s: a cell may not spike "
                    "twice in one."
                )
        names = [made.name for made in self.connections]
        for made in self.connections:
            self.check_connection(made)
            if names.count(made.name) > 1:
                raise ValueError(f"two connections are called {made.name}: give one of them another name.")
        self.output = self.output or list(self.populations)[-1]
        d_out = self.population(self.output).d
        if self.d_out is None:
            self.d_out = d_out
        if self.d_out != d_out:
            raise ValueError(f"d_out is {self.d_out}, but the population {self.output} represents {d_out} numbers.")

    def population(self, name: str) -> PopulationConfig:
        """The population of a name. `ValueError` if there is none."""
        if name not in self.populations:
            raise ValueError(f"there is no population {name!r}: there are {', '.join(self.populations)}.")
        return self.populations[name]

    def check_connection(self, made: ConnectionConfig) -> None:
        """`ValueError` if a connection's ends do not exist or its transform fits neither."""
        _check_name("connection", made.name)
        d_pre = self.d_in if made.pre == INPUT else self.population(made.pre).d
        d_post = self.population(made.post).d
        if made.function == GIVEN:
            return
        size = d_pre if made.pre == INPUT else FUNCTIONS[made.function].size(d_pre)
        rows = made.transform if made.transform is not None else [[0.0] * size] * size
        if len(rows) != d_post or any(len(row) != size for row in rows):
            raise ValueError(
                f"{made.name} brings {size} numbers to the {d_post} of {made.post}: its transform must be "
                f"[{d_post}, {size}]."
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON. `device` is left out: it belongs to a machine, not to a model."""
        values = config_to_dict(self)
        values["connections"] = list(values["connections"])
        for made in values["populations"].values():
            made["max_rates"], made["intercepts"] = list(made["max_rates"]), list(made["intercepts"])
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SpikingNetworkConfig":
        """What `to_dict` gave. `ValueError` if a field is unknown or missing."""
        made = {name: _population(population) for name, population in values.get("populations", {}).items()}
        lines = tuple(config_from_dict(ConnectionConfig, line) for line in values.get("connections", ()))
        return config_from_dict(cls, values | {"populations": made, "connections": lines})


def _population(values: dict[str, Any]) -> PopulationConfig:
    ranges = ("max_rates", "intercepts")
    pairs = {name: tuple(values[name]) for name in ranges if values.get(name) is not None}
    return config_from_dict(PopulationConfig, values | pairs)


def _check_name(what: str, name: str) -> None:
    if not name.isidentifier() or hasattr(nn.ModuleDict, name):
        raise ValueError(f"a {what} cannot be called {name!r}: a name is of letters, digits and underscores.")
