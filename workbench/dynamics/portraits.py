"""Trajectories in principal axes, with fixed points and what leaves them: what `figures.state_portrait` draws."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from workbench.dynamics.manifolds import Manifolds
from workbench.dynamics.points import FixedPoints
from workbench.dynamics.trajectories import PrincipalAxes, Trajectories, axis_columns

TRAJECTORY, POINT, MANIFOLD = "trajectory", "point", "manifold"


def portrait(
    paths: Trajectories,
    axes: PrincipalAxes,
    labels: Mapping[str, Shaped[np.ndarray, " real"]] | None = None,
    *,
    sequences: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Trajectories in principal axes: `sequence`, `step`, `pc1`, `pc2`, …, and a column a label.

    Args:
        paths: of the subject.
        axes: that are drawn.
        labels: of the states that count, in their order.
        sequences: which to draw; all where None.
    """
    seq, step = paths.real.nonzero(as_tuple=True)
    place = axes.project(paths.at_real()).numpy()
    table = pd.DataFrame({"sequence": seq.numpy(), "step": step.numpy()} | axis_columns(place))
    for name, values in (labels or {}).items():
        if name in table:
            raise ValueError(f"a label is called {name!r}, as a column of the portrait is: give it another name.")
        if len(values) != len(table):
            raise ValueError(
                f"{name} has {len(values)} values, but there are {len(table)} states: one is needed for each."
            )
        table[name] = values
    return table if sequences is None else table[table["sequence"].isin(list(sequences))].reset_index(drop=True)


def portrait_with_points(
    paths: Trajectories,
    axes: PrincipalAxes,
    found: FixedPoints,
    manifolds: Manifolds,
    labels: Mapping[str, Shaped[np.ndarray, " real"]] | None = None,
    *,
    sequences: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Trajectories, points and manifolds in the same axes, one row a place.

    Returns:
        `what` it is: `trajectory` (with `path`, its sequence, `step` and the labels), `point` (with `point` and `kind`)
        or `manifold` (with `path`, its branch, `point`, which it leaves, and `step`); `pc1`, `pc2`, …
    """
    seen = portrait(paths, axes, labels, sequences=sequences).rename(columns={"sequence": "path"})
    place = axis_columns(axes.project(found.states).numpy())
    tables = [
        seen.assign(what=TRAJECTORY),
        pd.DataFrame(place | {"point": np.arange(len(found)), "kind": found.kind, "what": POINT}),
    ]
    for branch, point in enumerate(manifolds.branches["point"]):
        path = manifolds.paths[branch, : manifolds.length[branch]]
        along = {"step": np.arange(len(path)), "path": branch, "point": point, "what": MANIFOLD}
        tables.append(pd.DataFrame(axis_columns(axes.project(path).numpy()) | along))
    whole = {"path": "Int64", "step": "Int64", "point": "Int64"}
    truths = {name: "boolean" for name, values in (labels or {}).items() if values.dtype == bool}
    return pd.concat([table for table in tables if len(table)], ignore_index=True).astype(whole | truths)
