"""Networks whose recurrent connection makes a population follow a differential equation.

A synapse is a low-pass filter with a time constant τ of its own: `dx/dt = (told − x)/τ`. A population that tells itself
`τ f(x) + x` through it therefore follows `dx/dt = f(x)`; of a linear system `dx/dt = A x + B u` the recurrent transform
is A′ = τA + I and the input's B′ = τB (Eliasmith & Anderson 2003).
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models.spiking.config import INPUT, ConnectionConfig, PopulationConfig, SpikingNetworkConfig
from models.spiking.network import SpikingNetwork

NAME = "state"
Matrix = list[list[float]]


def integrator(n_neurons: int = 100, d: int = 1, *, tau: float = 0.1, seed: int = 0, **cells: Any) -> SpikingNetwork:
    """`dx/dt = u` for `|x| ≤ radius`: the input's running integral, held where the input is 0.

    Args:
        n_neurons: of its one population, `state`.
        d: numbers that are integrated.
        tau: the recurrent synapse, in seconds.
        seed: of the cells.
        **cells: more of `PopulationConfig`.
    """
    return SpikingNetwork(linear_system([[0.0] * d] * d, _identity(d), n_neurons, tau, seed, **cells))


def oscillator(
    n_neurons: int = 200, *, omega: float = 10.0, tau: float = 0.1, seed: int = 0, **cells: Any
) -> SpikingNetwork:
    """Two numbers that turn at `omega` radians a second once the input has kicked them: `dx/dt = ω(x₂, −x₁) + u`.

    A tenth of a second of a vector of length 10 starts it; amplitudes settle near the radius, where cells saturate.

    Args:
        n_neurons: of its one population, `state`.
        omega: radians a second.
        tau: the recurrent synapse, in seconds.
        seed: of the cells.
        **cells: more of `PopulationConfig`.
    """
    A = [[0.0, omega], [-omega, 0.0]]
    return SpikingNetwork(linear_system(A, _identity(2), n_neurons, tau, seed, **cells))


def linear_system(
    A: Matrix, B: Matrix, n_neurons: int = 200, tau: float = 0.1, seed: int = 0, **cells: Any
) -> SpikingNetworkConfig:
    """The config of `dx/dt = A x + B u` with one population, `state`.

    Args:
        A: `[d, d]`, in 1/s.
        B: `[d, d_in]`, in 1/s where u is of x's unit.
        n_neurons: of the population.
        tau: the synapse of both connections, in seconds.
        seed: of the cells.
        **cells: more of `PopulationConfig`.

    Raises:
        ValueError: A is not square, or B not of as many rows.
    """
    d = len(A)
    if d < 1:
        raise ValueError("A has no row: a system has at least one number.")
    if any(len(row) != d for row in A) or len(B) != d:
        raise ValueError(f"A must be square and B of as many rows, not {d} rows of {len(A[0])} and {len(B)} rows.")
    again = [[tau * a + (i == j) for j, a in enumerate(row)] for i, row in enumerate(A)]
    return SpikingNetworkConfig(
        d_in=len(B[0]),
        populations={NAME: PopulationConfig(n_neurons=n_neurons, d=d, **cells)},
        connections=(
            ConnectionConfig(pre=INPUT, post=NAME, transform=[[tau * b for b in row] for row in B], synapse=tau),
            ConnectionConfig(pre=NAME, post=NAME, transform=again, synapse=tau),
        ),
        seed=seed,
    )


def dynamical_system(
    f: Callable[[Float[Tensor, "sample d"], Float[Tensor, "sample d_in"]], Float[Tensor, "sample d"]],
    d: int,
    d_in: int = 1,
    *,
    n_neurons: int = 500,
    tau: float = 0.1,
    input_synapse: float | None = 0.005,
    seed: int = 0,
    **cells: Any,
) -> SpikingNetwork:
    """Any `dx/dt = f(x, u)`: one population represents x and u together, and tells itself `τ f(x, u) + x`.

    Args:
        f: of states `[sample, d]` and inputs `[sample, d_in]`, in 1/s.
        d: numbers of x, the first that the population represents; the output is `[x, u]`.
        d_in: numbers of u.
        n_neurons: of its one population, `state`.
        tau: the recurrent synapse, in seconds.
        input_synapse: the one through which u comes in, in seconds.
        seed: of the cells.
        **cells: more of `PopulationConfig`; x and u must lie within its `radius` together.

    Raises:
        ValueError: f gives something else than `[sample, d]`.
    """
    both = d + d_in
    entry = [[float(row == d + column) for column in range(d_in)] for row in range(both)]
    network = SpikingNetwork(
        SpikingNetworkConfig(
            d_in=d_in,
            populations={NAME: PopulationConfig(n_neurons=n_neurons, d=both, **cells)},
            connections=(ConnectionConfig(pre=INPUT, post=NAME, transform=entry, synapse=input_synapse),),
            seed=seed,
        )
    )

    def again(points: Float[Tensor, "sample both"]) -> Float[Tensor, "sample d"]:
        x, u = points[:, :d], points[:, d:]
        change = torch.as_tensor(f(x, u))
        if change.shape != x.shape:
            raise ValueError(f"f makes {list(change.shape)} of states {list(x.shape)}: it must be as many numbers.")
        return tau * change + x

    first = [[float(row == column) for column in range(d)] for row in range(both)]
    network.connect(NAME, NAME, function=again, transform=first, synapse=tau)
    return network


def _identity(d: int) -> Matrix:
    return [[float(row == column) for column in range(d)] for row in range(d)]
