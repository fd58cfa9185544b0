"""What is measured on a first sample before training: the inputs' scale, their centre, and their variance."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

SAMPLE_ROWS = 16_384


class InputStatistics(NamedTuple):
    """What a trainer knows about its inputs."""

    scale: float
    """√d / E‖x‖, or 1 where inputs are not to be scaled."""
    centre: Float[Tensor, " d"]
    """The geometric median of the scaled rows: like their mean, but a few huge rows do not drag it along."""
    variance: float
    """E‖x − E x‖² of the scaled rows."""


def measure_inputs(sample: Float[Tensor, "n d"], scale_inputs: bool) -> InputStatistics:
    """Scale, centre and variance of a sample. Raises `ValueError` where all of its rows are the same."""
    length = sample.norm(dim=1).mean().item()
    scale = sample.shape[1] ** 0.5 / length if scale_inputs and length > 0 else 1.0
    scaled = sample * scale
    variance = scaled.var(dim=0, correction=0).sum().item()
    # A constant has a rounding error for a variance.
    if variance <= 1e-10 * scaled.square().sum(1).mean().item():
        raise ValueError("the first rows are all the same: there is nothing for an SAE to explain.")
    return InputStatistics(scale, geometric_median(scaled), variance)


def geometric_median(
    points: Float[Tensor, "n d"], iterations: int = 50, tolerance: float = 1e-5
) -> Float[Tensor, " d"]:
    """The point with the least sum of distances to the rows, by Weiszfeld's iteration.

    Stops when a step is shorter than `tolerance` times the mean distance.
    """
    centre = points.mean(dim=0)
    for _ in range(iterations):
        distance = (points - centre).norm(dim=1)
        mean_distance = distance.mean()
        weight = 1 / distance.clamp_min(1e-6 * mean_distance + torch.finfo(points.dtype).tiny)
        moved = (weight @ points) / weight.sum()
        step = (moved - centre).norm()
        centre = moved
        if step <= tolerance * mean_distance:
            break
    return centre
