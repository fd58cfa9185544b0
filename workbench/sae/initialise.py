"""What is measured on a first sample before training: the rows' scale, their centre, and their variance."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

SAMPLE_ROWS = 16_384


class RowStatistics(NamedTuple):
    """What a trainer knows about the rows that are read, or those that are written."""

    scale: Float[Tensor, "*columns"]
    """√d / E‖x − centre‖, or 1 where rows are not to be scaled; for several layers, one for each column."""
    centre: Float[Tensor, " width"]
    """The geometric median of the rows, scaled: like their mean, but a few huge rows do not drag it along."""
    variance: float
    """E‖x − E x‖² of the scaled rows."""


def measure_rows(sample: Float[Tensor, "n width"], scale_rows: bool, n_layers: int = 1) -> RowStatistics:
    """Scale, centre and variance of a sample.

    Lengths are measured from the centre, which the biases take up: sparsity coefficients and thresholds then mean the
    same wherever the rows lie. Each of `n_layers` layers, side by side, has a scale of its own.

    Raises `ValueError` where all rows are the same.
    """
    centre = geometric_median(sample)
    layers = (sample - centre).unflatten(1, (n_layers, -1))
    length = layers.norm(dim=2).mean(0)
    scale = torch.where(length > 0, layers.shape[2] ** 0.5 / length, 1.0) if scale_rows else torch.ones_like(length)
    scale = scale.squeeze() if n_layers == 1 else scale.repeat_interleave(layers.shape[2])
    scaled = sample * scale
    variance = scaled.var(dim=0, correction=0).sum().item()
    # A constant has a rounding error for a variance.
    if variance <= 1e-10 * scaled.square().sum(1).mean().item():
        raise ValueError("the first rows are all the same: there is nothing for an SAE to explain.")
    return RowStatistics(scale, centre * scale, variance)


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
