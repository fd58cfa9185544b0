"""Unstable manifolds: where a state goes that leaves a saddle along a mode that grows, and which points that joins."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.checked_input import whole_number
from workbench.dynamics.points import MARGIN, FixedPoints
from workbench.dynamics.step import StateMap, state_map

# A branch that moves less than this in a step, in the starts' size, has come to rest.
AT_REST = 1e-9


@dataclass(frozen=True)
class Manifolds:
    """Paths that leave points along the modes that grow there.

    Attributes:
        branches: one row a path: `branch`; `point` it leaves; `mode`, by number among that point's; `part` of a complex
            mode, `real` or `imaginary`; `sign`; its `modulus`; `ends_at`, the point it comes to, −1 for none of those
            known; `steps` until it is there; and `escaped`, whether it went on growing out of what is finite.
        paths: where each path is after each step, as long as it is finite; a branch's last state repeated after it.
        length: states of each path that are no repetitions.
    """

    branches: pd.DataFrame
    paths: Float[Tensor, "branch time d"]
    length: Int[np.ndarray, " branch"]

    def joined(self) -> set[tuple[int, int]]:
        """Which points are joined: pairs of the point that is left and the one that is come to."""
        arrived = self.branches[self.branches["ends_at"] >= 0]
        return set(zip(arrived["point"].tolist(), arrived["ends_at"].tolist(), strict=True))


def unstable_manifolds(
    subject: Any,
    points: FixedPoints,
    *,
    start: float = 1e-3,
    reach: float = 0.01,
    max_steps: int = 1000,
    n_kept: int = 200,
) -> Manifolds:
    """Follow each mode with |λ| > 1 of each fixed point forward, both ways, from beside the point.

    Lengths are in units of the starts' size (`FixedPoints.size`). Where several modes grow, what is followed are these
    directions and not the surface between them.

    Args:
        subject: what the points were found of, or its `StateMap`; the points' own input is read.
        points: all that are known: paths leave the fixed ones among them, and may end at any.
        start: how far beside the point a path starts.
        reach: a path has come to a point that is as near as this.
        max_steps: of each path.
        n_kept: states of each path that are kept, evenly along its steps where there are more.

    Raises:
        ValueError: the points are of another subject's size, or a setting is out of its range.
    """
    whole_number(max_steps, "max_steps", least=1)
    whole_number(n_kept, "n_kept", least=2)
    if not (start > 0 and reach > 0):
        raise ValueError(f"start is {start} and reach {reach}: both must be above 0.")
    step = subject if isinstance(subject, StateMap) else state_map(subject, points.input)
    about, begin = _beside(points, start * points.size)
    if not about:
        columns = ["branch", "point", "mode", "part", "sign", "modulus", "ends_at", "steps", "escaped"]
        empty = points.states.new_empty(0, 1, points.states.shape[1])
        return Manifolds(pd.DataFrame(columns=columns), empty, np.zeros(0, np.int64))
    step.checked(begin)
    with torch.no_grad():
        paths = _followed(step, begin, points.size, max_steps)
    # What has grown out of what is finite is followed as long as it was.
    finite = torch.isfinite(paths).all(2).long().cumprod(1).sum(1) - 1
    escaped = finite < paths.shape[1] - 1
    last = paths.gather(1, finite[:, None, None].expand(-1, 1, paths.shape[2]))[:, 0]
    distance = torch.cdist(last, points.states)
    nearest = distance.argmin(1)
    near = (distance.gather(1, nearest[:, None])[:, 0] <= reach * points.size) & ~escaped
    ends_at = torch.where(near, nearest, -1)
    still = (paths - last[:, None]).norm(dim=2) > reach * points.size
    steps = torch.where(near, still.sum(1), finite)
    branches = pd.DataFrame(about).assign(ends_at=ends_at.numpy(), steps=steps.numpy(), escaped=escaped.numpy())
    branches.insert(0, "branch", np.arange(len(branches)))
    total = (steps + 1).minimum(finite)[:, None]
    rows = (torch.arange(n_kept) * (total / (n_kept - 1)).clamp(min=1)).round().long().clamp(max=total)
    kept = paths.gather(1, rows[..., None].expand(-1, -1, paths.shape[2]))
    return Manifolds(branches, kept, (rows.diff(dim=1) > 0).sum(1).numpy() + 1)


def _beside(points: FixedPoints, distance: float) -> tuple[list[dict[str, Any]], Float[Tensor, "branch d"]]:
    """What paths there are, and where they start."""
    about, begin = [], []
    for point in np.flatnonzero((points.n_unstable > 0) & ~points.is_slow).tolist():
        for mode in range(int(points.n_unstable[point])):
            value, vector = points.eigenvalues[point, mode], points.right[point, :, mode]
            if value.imag < -MARGIN:  # the pair's other one spans the same plane
                continue
            for part, direction in (("real", vector.real), ("imaginary", vector.imag)):
                if part == "imaginary" and value.imag <= MARGIN:
                    continue
                for sign in (1, -1):
                    line = {"point": point, "mode": mode, "part": part, "sign": sign, "modulus": float(value.abs())}
                    about.append(line)
                    begin.append(points.states[point] + sign * distance * direction / direction.norm())
    return about, torch.stack(begin) if begin else points.states[:0]


def _followed(step: StateMap, begin: Float[Tensor, "n d"], size: float, max_steps: int) -> Float[Tensor, "n time d"]:
    """Every state until all have come to rest."""
    found = [begin]
    for _ in range(max_steps):
        found.append(step(found[-1]))
        moved = (found[-1] - found[-2]).norm(dim=1)
        # Beside its point a path hardly moves at first, but more at each step.
        if not (moved > AT_REST * size).any():
            break
    return torch.stack(found, 1)
