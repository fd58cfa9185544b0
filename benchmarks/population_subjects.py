"""How fast populations tell each other what they represent, spike, and how fast a network's fixed points are found.

A part of `benchmarks.population`. N cells tell N others d numbers, decoded and encoded again, beside the product
with the N × N weights that this stands for. Spiking LIF cells with a decoded recurrent connection,
1 ms steps, beside a second of the clock and a loop in NumPy. Fixed and slow points of a GRU of 64 units that keeps a
direction (half of its recipe's training, done here), from 1,024 states.
"""

import copy
import statistics
import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks import population_loops
from benchmarks.bars import row
from benchmarks.turns import take_turns
from models import Recurrent, train
from models.recipes import get
from models.spiking import ConnectionConfig, PopulationConfig, SpikingNetwork, SpikingNetworkConfig, integrator
from models.spiking.connection import Connection, Line
from workbench.dynamics import FixedPoints, StateMap, draw_starts, find_fixed_points, run_states, state_map

SIZES, TRIALS, D, POINTS = (500, 1_000, 2_000, 4_000), 32, 4, 1_000
SPIKING, STEPS, TAU = 10_000, 1_000, 0.1
STARTS, RECIPE, TRAINING = 1_024, "head-direction-gru", 500
BAR_SLOPE, BAR_SECONDS, BAR_REAL_TIME, BAR_SAME = 1.2, 20.0, 1.0, 1e-6


def rows(quick: bool) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`."""
    return [*_connections(quick), *_spiking(quick), *_fixed_points(quick)]


def _connections(quick: bool) -> list[dict[str, Any]]:
    sizes, rounds = (SIZES[:-1], 10) if quick else (SIZES, 50)
    found, times = [], []
    for n in sizes:
        (ours, a), (theirs, b) = _told(n, rounds)
        times.append((ours, theirs))
        same = float((a - b).abs().max() / b.abs().max())
        found.append(
            row(f"population: {n:,} cells tell {n:,}, d {D}, {TRIALS} trials", ours * 1e6, "μs", theirs / ours)
        )
        found.append(
            row("population: currents less the dense product's", same, "of the largest", bar=1e-5, at_most=True)
        )
    slopes = [float(np.polyfit(np.log(sizes), np.log(taken), 1)[0]) for taken in zip(*times, strict=True)]
    found.append(row("population: log seconds against log N, decoded", slopes[0], "", bar=BAR_SLOPE, at_most=True))
    found.append(row("population: log seconds against log N, dense", slopes[1], ""))
    return found


def _told(n: int, rounds: int) -> list[tuple[float, Tensor]]:
    """Spikes of n cells made into currents of n others, through d numbers and through the weights."""
    network = _pair(n)
    connection, listener, dt = network.connections["a_to_b"], network.population("b"), network.cfg.dt
    assert isinstance(connection, Connection)
    spikes = (torch.rand(TRIALS, n, generator=torch.Generator().manual_seed(0)) < 0.05).float()
    line = Line(connection, TRIALS, 1, dt, per=dt)
    encoders, weights = listener.scaled_encoders.T.contiguous(), network.weights("a_to_b").T.contiguous() / dt
    told, current, dense = torch.zeros(TRIALS, D), torch.empty(TRIALS, n), torch.empty(TRIALS, n)

    def decoded() -> Tensor:
        line.hear(spikes)
        line.tell(told.zero_(), 0)
        return torch.addmm(listener.bias, told, encoders, out=current)

    return take_turns(rounds, decoded, lambda: torch.addmm(listener.bias, spikes, weights, out=dense))


def _pair(n: int) -> SpikingNetwork:
    cells = {name: PopulationConfig(n_neurons=n, d=D, n_points=POINTS) for name in ("a", "b")}
    return SpikingNetwork(
        SpikingNetworkConfig(
            d_in=D, populations=cells, connections=(ConnectionConfig(pre="a", post="b", synapse=None),)
        )
    )


def _spiking(quick: bool) -> list[dict[str, Any]]:
    network = integrator(SPIKING, d=2, tau=TAU, n_points=POINTS)
    told = torch.zeros(1, STEPS, 2)
    told[:, :200] = torch.tensor([3.0, -2.0])
    exact = integrator(SPIKING, d=2, tau=TAU, n_points=POINTS).double()
    exact.cfg.dtype = torch.float64
    rounds = 1 if quick else 3
    (ours, single), (_, double), (theirs, (truth, n_spikes)) = take_turns(
        rounds, lambda: network(told), lambda: exact(told.double()), lambda: _loop(exact, told[0].double().numpy())
    )
    what = f"population: {SPIKING:,} spiking cells that hear themselves, {STEPS * network.cfg.dt:g} s"
    apart = float(np.abs(double[0].numpy() - truth).max())
    return [
        row(f"{what}, against the clock", ours, "s", STEPS * network.cfg.dt / ours, BAR_REAL_TIME),
        row("population: the same, against a loop in NumPy", theirs, "s", theirs / ours),
        row("population: their spikes", n_spikes / 1e3, "thousand"),
        row("population: decoded, distance from the loop's (both double)", apart, "", bar=BAR_SAME, at_most=True),
        row("population: decoded in single less double", float((single - double).abs().max()), ""),
    ]


def _loop(network: SpikingNetwork, told: Float[np.ndarray, "step d"]) -> tuple[Float[np.ndarray, "step d"], int]:
    cells = network.population("state")
    lines = {name: network.connections[name].decoders.numpy() for name in ("input_to_state", "state_to_state")}
    return population_loops.lif_recurrent(
        told @ lines["input_to_state"],
        cells.scaled_encoders.numpy(),
        cells.bias.numpy(),
        cells.start.numpy(),
        lines["state_to_state"],
        cells.decoders.numpy(),
        tau=TAU,
        tau_read=cells.cfg.synapse,
        tau_rc=cells.cfg.tau_rc,
        tau_ref=cells.cfg.tau_ref,
        dt=network.cfg.dt,
    )


class _Counted(StateMap):
    """A state map that counts its Jacobians."""

    counted = 0

    def jacobians(self, states: Float[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
        _Counted.counted += len(states)
        return super().jacobians(states)


def _fixed_points(quick: bool) -> list[dict[str, Any]]:
    recipe = get(RECIPE)
    data = recipe.data()
    model = recipe.build(data)
    train(model, data, recipe.with_changes(n_steps=200 if quick else TRAINING).training, task=recipe.task)
    step = state_map(model)
    counted = _Counted(step.function, step.d, step.parts, step.input)
    starts = draw_starts(run_states(model, data.split("test")).at_real(), STARTS)
    begin = time.perf_counter()
    found = find_fixed_points(counted, starts)
    seconds = time.perf_counter() - begin
    # What the search cannot do without: the rest are products, factors and spectra of the same matrices.
    states = found.starts[:256]
    each = statistics.median(taken for taken, _ in (take_turns(1, lambda: step.jacobians(states))[0] for _ in range(3)))
    what = f"population: points of a GRU of {step.d}, {STARTS:,} starts"
    return [
        row(what, seconds, "s", bar=BAR_SECONDS, at_most=True),
        row("population: Jacobians that the search took", _Counted.counted, ""),
        row("population: of these seconds, Jacobians alone", each / 256 * _Counted.counted, "s"),
        row("population: points found, fixed and slow", len(found), ""),
        row("population: of them fixed", int((~found.is_slow).sum()), ""),
        row("population: share of starts that led to one", float((found.led_to >= 0).double().mean()), ""),
        row(
            "population: the greatest q there, measured by the subject",
            _measured(model, found),
            "",
            bar=1e-6,
            at_most=True,
        ),
    ]


def _measured(model: Recurrent, found: FixedPoints) -> float:
    """The largest q of the points, by a step that the subject itself takes, in double precision."""
    exact = copy.deepcopy(model).double()
    exact.cfg.dtype = torch.float64
    with torch.inference_mode():
        _, after = exact.run_steps(
            torch.zeros(len(found), 1, model.cfg.d_in or 0, dtype=torch.float64), [(found.states,)]
        )
    return float(0.5 * (found.states - after[0][0]).square().sum(1).max())
