"""Many smooth convex problems minimised side by side: preconditioned L-BFGS, one problem a column.

Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4. All columns take their steps together, so that one
product serves all of them; each has its own curvature, its own step length, and its own end. Steps are judged by
gradients alone: along a line the slope of a convex function rises, and where it is near zero is the line's minimum. So
no value is needed, and none is rounded.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MEMORY = 10
# At the end of a step the slope may be no steeper uphill than this share of what it was downhill at its beginning.
STEEPEST = 0.5
SHORTENINGS = 30
PATIENCE = 5
# A step may always be as large as this.
FARTHEST = 2.0

Columns = Float[Tensor, "p problem"]
Pair = tuple[Columns, Columns, Float[Tensor, " problem"]]


class Evaluation(NamedTuple):
    """What an objective says of each problem at its parameters."""

    gradient: Columns
    curvature: Float[Tensor, "k problem"]
    """Whatever its preconditioner wants to know of this place."""


# Of the problems whose numbers are given, at their parameters.
Objective = Callable[[Columns, Int[Tensor, " problem"]], Evaluation]
# An approximate inverse Hessian of the problems whose numbers are given, at their parameters and with the curvature
# that was found there, applied to columns.
Precondition = Callable[[Columns, Int[Tensor, " problem"], Columns, Float[Tensor, "k problem"]], Columns]
# How large what parameters say of the data is, in units in which one is no small step.
Size = Callable[[Columns], Float[Tensor, " problem"]]


class Minimum(NamedTuple):
    """Where the search ended."""

    parameters: Columns
    n_iter: Int[Tensor, " problem"]
    converged: Bool[Tensor, " problem"]


def minimise(
    objective: Objective,
    start: Columns,
    precondition: Precondition,
    size: Size,
    *,
    tol: float,
    max_iter: int,
    rounding: float,
) -> Minimum:
    """Minimise all problems from `start`.

    Args:
        objective: of a subset of the problems, by number.
        start: one column a problem.
        precondition: see `Precondition`.
        size: see `Size`. A step at most doubles it: losses may be flat beyond, and nothing would call it back.
        tol: a problem has converged when the step that it would take next is nowhere larger than `tol` times its
            largest parameter, or `tol` itself where that is below one, and its size no larger than `tol` times theirs,
            likewise; or where what it would gain, half the slope along that step, has not halved in `PATIENCE` steps
            and is below `rounding`.
        max_iter: steps at most.
        rounding: how much of a value the arithmetic of the gradients leaves in doubt.
    """
    parameters = start.clone()
    n_iter = torch.zeros(start.shape[1], dtype=torch.int64, device=start.device)
    converged = torch.zeros_like(n_iter, dtype=torch.bool)
    active = torch.arange(start.shape[1], device=start.device)
    x, here = start.clone(), objective(start, active)
    memory: deque[Pair] = deque(maxlen=MEMORY)
    least, waited = torch.full_like(x[0], torch.inf), torch.zeros_like(n_iter)
    for taken in range(max_iter + 1):
        inverse = partial(_applied, precondition, active, x, here.curvature)
        step = -_two_loops(here.gradient, memory, inverse)
        slope = (here.gradient * step).sum(0)
        if (uphill := slope > 0).any():  # rounding has spoilt the curvature: back to the preconditioner
            step[:, uphill] = -inverse(here.gradient)[:, uphill]
            slope = (here.gradient * step).sum(0)
        largest, mine = size(x), size(step)
        near = step.abs().amax(0) <= tol * x.abs().amax(0).clamp(min=1.0)
        near &= mine <= tol * largest.clamp(min=1.0)
        shorter = (largest.clamp(min=FARTHEST) / mine).clamp(max=1)
        step, slope = shorter * step, shorter * slope
        gain = -slope / 2
        better = gain < least / 2
        least, waited = torch.where(better, gain, least), torch.where(better, 0, waited + 1)
        near |= (waited >= PATIENCE) & (gain < rounding)
        parameters[:, active], converged[active] = x, near
        kept = ~near
        if taken == max_iter or not kept.any():
            break
        if near.any():
            active, x, step, slope = active[kept], x[:, kept], step[:, kept], slope[kept]
            least, waited = least[kept], waited[kept]
            here = Evaluation(*(part[..., kept] for part in here))
            memory = deque(((s[:, kept], y[:, kept], rho[kept]) for s, y, rho in memory), maxlen=MEMORY)
        new, there = _search(objective, x, here, step, slope, active)
        n_iter[active] += 1
        memory.append(_pair(new - x, there.gradient - here.gradient))
        if torch.equal(new, x):  # as near as the arithmetic allows
            converged[active] = torch.isfinite(slope)
            break
        x, here = new, there
    return Minimum(parameters, n_iter, converged)


def _applied(precondition: Precondition, active: Tensor, x: Columns, curvature: Tensor, g: Columns) -> Columns:
    return precondition(g, active, x, curvature)


def _pair(difference: Columns, turn: Columns) -> Pair:
    """A step and what it did to the gradient; without weight where rounding has left no curvature."""
    curvature = (difference * turn).sum(0)
    useful = curvature > torch.finfo(turn.dtype).eps * turn.square().sum(0)
    return difference, turn, torch.where(useful, 1 / torch.where(useful, curvature, 1), 0)


def _two_loops(gradient: Columns, memory: deque[Pair], inverse: Callable[[Columns], Columns]) -> Columns:
    """The inverse Hessian that the last steps tell of, applied to the gradient."""
    q = gradient.clone()
    shares = []
    for s, y, rho in reversed(memory):
        share = rho * (s * q).sum(0)
        q -= share * y
        shares.append(share)
    r = inverse(q)
    if memory:  # as long as the last step has shown (equation 7.20): else nearly every step would be cut
        _, y, rho = memory[-1]
        longer = rho * (y * inverse(y)).sum(0)
        r = r / torch.where(longer > 0, longer, 1)
    for (s, y, rho), share in zip(memory, reversed(shares), strict=True):
        r = r + s * (share - rho * (y * r).sum(0))
    return r


def _search(
    objective: Objective,
    x: Columns,
    here: Evaluation,
    step: Columns,
    slope: Float[Tensor, " problem"],
    active: Int[Tensor, " problem"],
) -> tuple[Columns, Evaluation]:
    """The whole step where it does not go far beyond the line's minimum, a shorter one otherwise; what is found there.

    A step that went too far is cut to where its slope would be zero if it rose evenly.
    """
    new, there = x.clone(), Evaluation(*(part.clone() for part in here))
    length = torch.ones_like(slope)
    seeking = torch.arange(len(active), device=x.device)
    for _ in range(SHORTENINGS):
        tried = x[:, seeking] + length[seeking] * step[:, seeking]
        found = objective(tried, active[seeking])
        end = (found.gradient * step[:, seeking]).sum(0)
        enough = end <= STEEPEST * slope[seeking].abs()
        taken = seeking[enough]
        new[:, taken] = tried[:, enough]
        for mine, theirs in zip(there, found, strict=True):
            mine[..., taken] = theirs[..., enough]
        seeking, end = seeking[~enough], end[~enough]
        if len(seeking) == 0:
            break
        length[seeking] *= slope[seeking] / (slope[seeking] - end)
    return new, there
