"""Fixed and slow points of a state map, found from many starts at once (Sussillo & Barak 2013, Neural Comp. 25:626)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.checked_input import whole_number
from models.dataset import Dataset
from models.hooks import HookedModel
from models.progress import progress
from workbench.dynamics.merging import merge
from workbench.dynamics.points import FixedPoints
from workbench.dynamics.spectra import spectrum
from workbench.dynamics.step import Input, StateMap, state_map
from workbench.dynamics.trajectories import run_states

TOLERANCE = 1e-20
SLOW_TOLERANCE = 1e-6
N_STARTS, NOISE = 1024, 0.5
# Starts whose spread is below this share of their numbers' size are all the same but for rounding.
SAME = 1e-9
# Starts that are solved together: their matrices stay in the cache.
BATCH = 256
# Marquardt's damping: where it starts, and by how much it falls and rises as a step is taken or refused.
DAMPING, FALL, RISE, LEAST, MOST = 1e-2, 0.2, 5.0, 1e-12, 1e8
# A search is over that has not brought q down to this share of what it was in so many steps.
FALLS, IDLE = 0.9, 12


class Descended(NamedTuple):
    """Where states came, their speed there, and whether that is as slow as asked for."""

    states: Float[Tensor, "n d"]
    speeds: Float[Tensor, " n"]
    arrived: Bool[Tensor, " n"]


def find_fixed_points(
    subject: Any,
    starts: Float[Tensor, "n d"] | Float[np.ndarray, "n d"] | Dataset,
    *,
    input: Input = None,
    n_starts: int | None = None,
    noise: float | None = None,
    tolerance: float = TOLERANCE,
    slow_tolerance: float = SLOW_TOLERANCE,
    apart: float = 0.01,
    reach: float = 0.05,
    far: float = 5.0,
    max_steps: int = 100,
    seed: int = 0,
) -> FixedPoints:
    """Search for states that a step leaves where they are, or nearly, by minimising q = ½‖x − F(x)‖².

    From each start a damped Newton method (Levenberg and Marquardt's, with the Jacobians of `torch.func`) goes down
    until q is at most `slow_tolerance`, which is near where it began: a line of slow points is found as a line. From
    there it is polished until q is at most `tolerance`. What gets there within `reach` is a fixed point; what does not
    is a slow point, where it was slow first.

    Lengths are in units of the size of the starts' cloud, the root mean square of their distances from their mean; of
    one start alone, or equal ones, in the states' own, and then no point is too far.

    Args:
        subject: a `Recurrent`, a `StateMap`, or a step function (`state_map`).
        starts: the states to begin from; or sequences, of which the subject's states at real positions are drawn.
        input: what is read at every step (`state_map`); `mean` is that of the sequences.
        n_starts: of sequences, how many states are drawn, with replacement where there are fewer; 1024 where None.
        noise: of sequences, the standard deviation of what is added to each number of a start, in those of the numbers
            (the root mean square over them); 0.5 where None.
        tolerance: q of a fixed point, at most.
        slow_tolerance: q of a slow point, at most.
        apart: slow points nearer to each other than this are one, the slowest; fixed ones only where the search cannot
            tell them apart (`merging`).
        reach: how far the polish may carry a point from where it was slow first.
        far: points further from the starts' mean than this are dropped, and counted.
        max_steps: of each of the two descents.
        seed: of the draw and the noise.

    Raises:
        ValueError: the subject is no map from state to state, the starts or the input do not fit it, a setting is
            out of its range, or a point's Jacobian is not finite.
    """
    if not isinstance(starts, Dataset) and (n_starts is not None or noise is not None):
        raise ValueError(
            "n_starts and noise are of sequences: states are searched from as they are (draw_starts draws some of "
            "them, with noise)."
        )
    n_starts, noise = N_STARTS if n_starts is None else n_starts, NOISE if noise is None else noise
    check_search(n_starts=n_starts, noise=noise, tolerance=tolerance, slow_tolerance=slow_tolerance)
    for name, value in (("apart", apart), ("reach", reach), ("far", far)):
        if not value > 0:
            raise ValueError(f"{name} is {value}: it must be above 0.")
    whole_number(max_steps, "max_steps", least=1)
    if isinstance(starts, Dataset):
        if not isinstance(subject, HookedModel):
            raise ValueError("give states [n, d] to start from: a step function reads no sequences.")
        step = state_map(subject, input, dataset=starts)
        begin = draw_starts(run_states(subject, starts).at_real(), n_starts, noise, seed)
    else:
        step, begin = state_map(subject, input), _as_states(starts)
    step.checked(begin)
    with torch.no_grad():
        return _found(step, begin, (tolerance, slow_tolerance), (apart, reach, far), max_steps)


def _found(
    step: StateMap,
    begin: Float[Tensor, "n d"],
    tolerances: tuple[float, float],
    lengths: tuple[float, float, float],
    max_steps: int,
) -> FixedPoints:
    """The search itself: `lengths` are `apart`, `reach` and `far`."""
    tolerance, (apart, reach, far) = tolerances[0], lengths
    centre = begin.mean(0)
    size = float((begin - centre).square().sum(1).mean().sqrt())
    if size <= SAME * float(begin.norm(dim=1).max()):
        size, far = 1.0, np.inf
    slow, ends = _search(step, begin, tolerances, (reach * size, far * size), max_steps)
    states = torch.where(ends.arrived[:, None], ends.states, slow.states)
    speeds = torch.where(ends.arrived, ends.speeds, slow.speeds)
    near = (states - centre).norm(dim=1) <= far * size
    kept = slow.arrived & near
    chosen, led_to = merge(step, states, speeds, kept, tolerance, apart * size)
    jacobians = step.jacobians(states[chosen])
    if n_not := int((~torch.isfinite(jacobians)).any(2).any(1).sum()):
        raise ValueError(
            f"the step function's derivatives are not finite at {n_not} of the {len(chosen)} points found."
        )
    modes = spectrum(jacobians)
    return FixedPoints(
        states=states[chosen],
        speeds=speeds[chosen],
        jacobians=jacobians,
        eigenvalues=modes.eigenvalues,
        right=modes.right,
        left=modes.left,
        starts=begin,
        led_to=led_to,
        n_lost=int((~slow.arrived & near).sum()),
        n_far=int((~near).sum()),
        size=size,
        tolerance=tolerance,
        input=step.input,
        parts=step.parts,
    )


def check_search(*, n_starts: int, noise: float, tolerance: float, slow_tolerance: float) -> None:
    """`ValueError` for a setting of the search that is out of its range."""
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}: it must be above 0.")
    if not tolerance <= slow_tolerance < np.inf:
        raise ValueError(
            f"slow_tolerance is {slow_tolerance}: it must be a number, at least the tolerance, {tolerance}."
        )
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise is {noise}: it must be a number that is not negative.")
    whole_number(n_starts, "n_starts", least=1)


def draw_starts(
    states: Float[Tensor, "n d"] | Float[np.ndarray, "n d"], n: int = N_STARTS, noise: float = NOISE, seed: int = 0
) -> Float[Tensor, "starts d"]:
    """`n` of the states, in double precision, with noise as large as `noise` times their numbers' spread."""
    rows = _as_states(states)
    rng = np.random.default_rng(whole_number(seed, "seed"))
    spread = float(rows.var(0, unbiased=False).mean().sqrt())
    drawn = rows[torch.from_numpy(rng.choice(len(rows), n, replace=len(rows) < n))]
    return drawn + noise * spread * torch.from_numpy(rng.standard_normal(drawn.shape))


def _as_states(states: Tensor | np.ndarray) -> Float[Tensor, "n d"]:
    rows = torch.as_tensor(states).detach().double().cpu()
    if rows.ndim != 2 or not rows.numel() or not torch.isfinite(rows).all():
        raise ValueError(f"starts are {list(rows.shape)}: they must be finite numbers [n, d], and some.")
    return rows


def _search(
    step: StateMap,
    begin: Float[Tensor, "n d"],
    tolerances: tuple[float, float],
    ranges: tuple[float, float],
    max_steps: int,
) -> tuple[Descended, Descended]:
    """Where starts first are slow, and where the polish takes those that are; each gives up outside its range."""
    slow, ends = [], []
    centre = begin.mean(0)
    for part in progress(begin.split(BATCH), desc="fixed points", unit="batch"):
        found = descend(step, part, tolerances[1], max_steps, (centre.expand_as(part), ranges[1]))
        states, speeds, arrived = (value.clone() for value in found)
        rows = found.arrived.nonzero()[:, 0]
        if len(rows):
            near = found.states[rows]
            states[rows], speeds[rows], arrived[rows] = descend(step, near, tolerances[0], max_steps, (near, ranges[0]))
        slow.append(found)
        ends.append(Descended(states, speeds, arrived))
    return Descended(*map(torch.cat, zip(*slow, strict=True))), Descended(*map(torch.cat, zip(*ends, strict=True)))


def descend(
    step: StateMap,
    states: Float[Tensor, "n d"],
    tolerance: float,
    max_steps: int,
    within: tuple[Float[Tensor, "n d"], float],
) -> Descended:
    """Levenberg and Marquardt's method on q = ½‖x − F(x)‖², each state with a damping of its own, until q is small.

    A state gives up further from its place in `within` than the distance there, and where q stops falling.
    """
    states = states.clone()
    speeds = _speeds(step, states)
    damping = torch.full_like(speeds, DAMPING)
    least, idle = speeds.clone(), torch.zeros_like(speeds)
    place, radius = within
    active = (speeds > tolerance).nonzero()[:, 0]
    for _ in range(max_steps):
        if not len(active):
            break
        x = states[active]
        slope = torch.eye(x.shape[1], dtype=x.dtype) - step.jacobians(x)
        normal, uphill = slope.mT @ slope, slope.mT @ (x - step(x))[..., None]
        # In units of the matrix's own size the damping means the same whatever the unit of the states.
        scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1)
        normal.diagonal(dim1=-2, dim2=-1).add_((damping[active] * scale)[:, None])
        factor, failed = torch.linalg.cholesky_ex(normal)
        move = torch.cholesky_solve(uphill, factor)[..., 0]
        tried = x - torch.where((failed == 0)[:, None], move, 0)
        after = _speeds(step, tried)
        better = (after < speeds[active]) & (failed == 0)
        states[active] = torch.where(better[:, None], tried, x)
        speeds[active] = torch.where(better, after, speeds[active])
        damping[active] = torch.where(better, damping[active] * FALL, damping[active] * RISE).clamp(min=LEAST)
        falls = speeds[active] < FALLS * least[active]
        idle[active] = torch.where(falls, 0, idle[active] + 1)
        least[active] = torch.where(falls, speeds[active], least[active])
        inside = (states[active] - place[active]).norm(dim=1) <= radius
        active = active[(speeds[active] > tolerance) & (damping[active] < MOST) & (idle[active] < IDLE) & inside]
    inside = (states - place).norm(dim=1) <= radius
    return Descended(states, speeds, (speeds <= tolerance) & inside)


def _speeds(step: StateMap, states: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """q; infinite where a step makes what is no number."""
    q = 0.5 * (states - step(states)).square().sum(1)
    return torch.where(torch.isfinite(q), q, torch.inf)
