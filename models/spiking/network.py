"""`SpikingNetwork`: populations of cells that tell one another what they represent, step by step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models.checked_input import checked_vectors
from models.hooks import HookedModel
from models.readout import asked_for, squared_error
from models.spiking.config import INPUT, ConnectionConfig, SpikingNetworkConfig
from models.spiking.connection import Connection, Line
from models.spiking.decoding import fitted, regressor
from models.spiking.functions import FUNCTIONS, GIVEN
from models.spiking.population import Population, Running

__all__ = ["SpikingNetwork", "SpikingNetworkConfig"]

Points = Float[Tensor, "sample d"]


class SpikingNetwork(HookedModel):
    """Populations and decoded connections, by the Neural Engineering Framework (Eliasmith & Anderson 2003).

    Everything follows from the config: cells are drawn from its seed, and decoders are solved for, not learned. In a
    step each population hears what arrives, its cells go on by `dt`, and their spikes go out, to arrive in the next
    step. Nothing is differentiable.

    Hooks, once a step: those of `populations.NAME` (`Population`) and `connections.NAME.hook_decoded` (`Connection`).
    """

    populations: nn.ModuleDict
    connections: nn.ModuleDict

    def __init__(self, cfg: SpikingNetworkConfig) -> None:
        super().__init__()
        self.cfg = cfg = dataclasses.replace(cfg)
        self.populations = nn.ModuleDict({name: Population(p, cfg.dtype) for name, p in cfg.populations.items()})
        self.connections = nn.ModuleDict({made.name: self._make(made) for made in cfg.connections})
        self._draw(cfg.seed)
        self.to(device=cfg.device)
        self.setup()

    def init_weights(self, seed: int) -> None:
        """Draw all cells anew and solve for the decoders; a seed gives the same ones on every device.

        Raises:
            ValueError: decoders were given: they are of the cells that there are.
        """
        given = [made.name for made in self.cfg.connections if made.function == GIVEN]
        if given:
            raise ValueError(
                f"the decoders of {', '.join(given)} were given for these cells: make a network of another seed."
            )
        self._draw(seed)

    def population(self, name: str) -> Population:
        """The population of a name. `ValueError` if there is none."""
        self.cfg.population(name)
        return self._populations()[name]

    @torch.no_grad()
    def solve(self) -> None:
        """Solve for the decoders of what every population represents, and of every function that a config names.

        Decoders that were given are not among them: after `tune`, `connect` anew what was connected by `connect`.
        """
        for name, population in self._populations().items():
            made = [c for c in self._connections() if c.cfg.pre == name and c.cfg.function != GIVEN]
            functions = ["identity", *(c.cfg.function for c in made)]
            points = population.points.double()
            values = [FUNCTIONS[function].call(points) for function in functions]
            activities = population.activities(points)
            usual = regressor(activities, population.cfg.regularisation)
            coef, offset = fitted(usual, activities, torch.cat(values, 1))  # one solution for them all
            widths = [value.shape[1] for value in values]
            parts = list(zip(coef.split(widths, 1), offset.split(widths), strict=True))
            population.decoders.copy_(parts[0][0])
            population.offset.copy_(parts[0][1])
            for connection, part in zip(made, parts[1:], strict=True):
                _put(connection, *part)
        for connection in self._connections():
            if connection.cfg.pre == INPUT:
                _put(connection, torch.eye(self.cfg.d_in, dtype=torch.float64), torch.zeros(self.cfg.d_in).double())

    @torch.no_grad()
    def connect(
        self,
        pre: str,
        post: str,
        decoder: Any = None,
        function: Callable[[Points], Points] | None = None,
        transform: Any = None,
        synapse: float | None = 0.005,
        name: str = "",
    ) -> Connection:
        """Lead a function of what one population represents to another; a connection of the same name is replaced.

        Args:
            pre, post: names of populations.
            decoder: a linear regressor with `coef_ [d, n_pre]` and `intercept_`: fitted, in Hz, to
                `population(pre).activities(points)`; or unfitted, to be fitted to `function` at the population's own
                points. None for the network's own.
            function: of points `[sample, d_pre]`, `[sample, d]`; what they are themselves where neither it nor a
                fitted decoder is given.
            transform: a matrix `[d_post, d]`.
            synapse: time constant of the filter, in seconds; None for no filter.
            name: `PRE_to_POST` where nothing is said.

        Raises:
            ValueError: there is no such population; the decoder is not linear or not of these cells; what it gives
                does not fit `post`.
        """
        rows = None if transform is None else torch.as_tensor(transform).double().tolist()
        made = ConnectionConfig(pre=pre, post=post, function=GIVEN, transform=rows, synapse=synapse, name=name)
        self.cfg.check_connection(made)
        speaker, d_post = self.population(pre), self.population(post).cfg.d
        coef, offset = self._decoded(speaker, decoder, function)
        d = coef.shape[1]
        shape = list(np.shape(rows)) if rows is not None else [d, d]
        if shape != [d_post, d]:
            raise ValueError(
                f"{made.name} brings {d} numbers to the {d_post} of {post}: its transform must be [{d_post}, {d}]."
            )
        connection = self._make(made)
        _put(connection, coef, offset)
        if made.name in self.connections:
            del self.connections[made.name]  # it goes to the end, as in the config: the order of sums is one network's
        self.connections[made.name] = connection.to(speaker.gain.device)
        others = tuple(c for c in self.cfg.connections if c.name != made.name)
        self.cfg = dataclasses.replace(self.cfg, connections=(*others, made))
        self.artifact_id = None
        self.setup()
        return connection

    @torch.no_grad()
    def weights(self, connection: str) -> Float[Tensor, "n_post n_pre"]:
        """The weights `[n_post, n_pre]` that a connection stands for: the current that each cell gives each per Hz.

        `ValueError` if there is no such connection.
        """
        known = {made.cfg.name: made for made in self._connections()}
        if connection not in known:
            raise ValueError(f"there is no connection {connection!r}: there are {', '.join(known) or 'none'}.")
        made = known[connection]
        return self.population(made.cfg.post).scaled_encoders @ made.decoders.T

    @torch.no_grad()
    def forward(
        self,
        input: Tensor,
        return_type: str | None = "logits",
        loss_per_token: bool = False,
        mask: Bool[Tensor, "batch pos"] | None = None,
        targets: Tensor | None = None,
    ) -> Any:
        """Run the network, from rest.

        Args:
            input: vectors `[batch, time, d_in]`, one a step of `dt`.
            return_type: `"logits"`: what the output population says, `[batch, time, d_out]`. `"loss"`: its mean squared
                error against the targets. `"both"`: the pair. None: nothing, for those who only want the hooks.
            loss_per_token: the loss of each step, 0 at padding.
            mask: True where a step is real; others are not compared.
            targets: vectors `[batch, time, d_out]`.

        Raises:
            ValueError: the input is empty, too long, not of `d_in` numbers, NaN or infinite; mask or targets do not
                fit it.
        """
        cfg = self.cfg
        x = checked_vectors(input, cfg.d_in, cfg.n_ctx, cfg.device, cfg.dtype)
        asked = asked_for(x, mask, targets, return_type, cfg.d_out or 0)
        output = self._run(x)
        if return_type is None:
            return None
        if asked is None:
            return output
        loss = squared_error(output, asked, loss_per_token)
        return loss if return_type == "loss" else (output, loss)

    def _run(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_out"]:
        cfg, (batch, n_steps, _) = self.cfg, x.shape
        running = {
            name: Running(population, batch, n_steps, cfg.dt, read=name == cfg.output)
            for name, population in self._populations().items()
        }
        made = [(Line(c, batch, n_steps, cfg.dt, 1.0 if c.cfg.pre == INPUT else cfg.dt), c.cfg)
                for c in self._connections()]  # fmt: skip
        from_input = [(line, running[c.post]) for line, c in made if c.pre == INPUT]
        between = [(line, running[c.pre], running[c.post]) for line, c in made if c.pre != INPUT]
        output = x.new_empty(batch, n_steps, cfg.d_out or 0)
        for t in range(n_steps):
            for population in running.values():
                population.told.zero_()
            for line, listener in from_input:
                line.hear(x[:, t])
                line.tell(listener.told, t)
            for line, _, listener in between:
                line.tell(listener.told, t)
            for population in running.values():
                population.step(t)
            for line, speaker, _ in between:
                line.hear(speaker.cells.spikes)
            for name, population in running.items():
                if population.reads:
                    decoded = population.read(t)
                    if name == cfg.output:
                        output[:, t] = decoded
        return output

    def _draw(self, seed: int) -> None:
        super().init_weights(seed)
        self.solve()

    def _make(self, made: ConnectionConfig) -> Connection:
        n_pre = self.cfg.d_in if made.pre == INPUT else self.cfg.population(made.pre).n_neurons
        return Connection(made, n_pre, self.cfg.population(made.post).d, self.cfg.dtype)

    def _populations(self) -> dict[str, Population]:
        return {name: made for name, made in self.populations.items() if isinstance(made, Population)}

    def _connections(self) -> list[Connection]:
        return [made for made in self.connections.values() if isinstance(made, Connection)]

    def _decoded(self, speaker: Population, decoder: Any, function: Callable | None) -> tuple[Tensor, Tensor]:
        points = speaker.points.double()
        activities = speaker.activities(points)
        if decoder is None:
            decoder, function = regressor(activities, speaker.cfg.regularisation), function or (lambda x: x)
        values = None if function is None else torch.as_tensor(function(points))
        if values is not None and (values.ndim != 2 or len(values) != len(points)):
            raise ValueError(
                f"the function makes {list(values.shape)} of points {list(points.shape)}: it must make [{len(points)}, "
                "d]."
            )
        return fitted(decoder, activities, values)


def _put(connection: Connection, coef: Tensor, offset: Tensor) -> None:
    """Decoders, with the connection's transform in them."""
    if connection.cfg.transform is not None:
        rows = torch.tensor(connection.cfg.transform, dtype=torch.float64, device=coef.device)
        coef, offset = coef @ rows.T, rows @ offset
    connection.decoders.copy_(coef)
    connection.offset.copy_(offset)
