"""What a population represents: directions that its cells prefer, and points at which it is measured."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor


def on_sphere(n: int, d: int, generator: Generator) -> Float[Tensor, "n d"]:
    """`n` unit vectors, evenly spread over the sphere at random; ±1 for d = 1. In double."""
    drawn = torch.randn(n, d, dtype=torch.float64, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


def in_ball(n: int, d: int, generator: Generator) -> Float[Tensor, "n d"]:
    """`n` points evenly spread over the unit ball at random. In double."""
    directions = on_sphere(n, d, generator)
    return directions * torch.rand(n, 1, dtype=torch.float64, generator=generator) ** (1 / d)


def between(n: int, low: float, high: float, generator: Generator) -> Float[Tensor, " n"]:
    """`n` numbers, uniform from `low` to `high`. In double."""
    return low + (high - low) * torch.rand(n, dtype=torch.float64, generator=generator)


def usual_points(n_neurons: int, d: int) -> int:
    """How many points a population is measured at: 500 a dimension within 750 and 2500, but two a neuron at least."""
    return max(min(max(500 * d, 750), 2500), 2 * n_neurons)
