"""Which of the states that a search came to are one point."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.dynamics.step import StateMap

# A polished state is right to so many times what the speed it may still have moves it, to first order.
WITHIN = 10.0


def merge(
    step: StateMap,
    states: Float[Tensor, "n d"],
    speeds: Float[Tensor, " n"],
    kept: Bool[Tensor, " n"],
    tolerance: float,
    apart: float,
) -> tuple[Int[Tensor, " points"], Int[Tensor, " n"]]:
    """One state, the slowest, for each point, and which of them stands for each state, or −1.

    A slow state is one with a slower one within `apart`. Two fixed ones are one where they are as near as they are
    known, √(2 · tolerance) ‖(1 − J)⁻¹‖, and at most `apart`: a stable point and the saddle beside it remain two,
    however near, and of a line on which every state stays one is left in each stretch of `apart`.
    """
    residual = WITHIN * (2 * tolerance) ** 0.5
    fixed = speeds <= tolerance
    near = torch.full_like(speeds, min(residual, apart))
    first, led_first = _greedy(states, speeds, kept & fixed, fixed, near)
    known = torch.full_like(speeds, apart)
    if len(first):
        slopes = torch.eye(states.shape[1], dtype=states.dtype) - step.jacobians(states[first])
        inverse, failed = torch.linalg.inv_ex(slopes)
        size = torch.where(failed == 0, torch.linalg.matrix_norm(inverse), torch.inf).nan_to_num(nan=torch.inf)
        known[first] = (residual * size).clamp(min=min(residual, apart), max=apart)
    waiting = kept & ~fixed
    waiting[first] = True
    chosen, led_to = _greedy(states, speeds, waiting, fixed, known)
    joined = led_first >= 0
    led_to[joined] = led_to[first[led_first[joined]]]
    return chosen, led_to


def _greedy(
    states: Float[Tensor, "n d"],
    speeds: Float[Tensor, " n"],
    kept: Bool[Tensor, " n"],
    fixed: Bool[Tensor, " n"],
    near: Float[Tensor, " n"],
) -> tuple[Int[Tensor, " points"], Int[Tensor, " n"]]:
    """The slowest first, each with all that are so near to it: of two fixed ones the shorter `near` holds."""
    led_to = torch.full((len(states),), -1, dtype=torch.int64)
    waiting = kept.nonzero()[:, 0]
    waiting = waiting[speeds[waiting].argsort(stable=True)]
    chosen: list[int] = []
    while len(waiting):
        this = waiting[0]
        reach = torch.where(fixed[waiting], near[waiting].minimum(near[this]), near[waiting])
        same = (states[waiting] - states[this]).norm(dim=1) <= reach
        led_to[waiting[same]] = len(chosen)
        chosen.append(int(this))
        waiting = waiting[~same]
    return torch.tensor(chosen, dtype=torch.int64), led_to
