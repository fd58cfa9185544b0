"""`text_portrait`: the states of one text along its own principal axes, over the fixed points of the subject."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench.dynamics.points import FixedPoints
from workbench.dynamics.portraits import POINT, TRAJECTORY
from workbench.dynamics.states import StatesReading
from workbench.dynamics.trajectories import PrincipalAxes, axis_columns, state_hooks

N_AXES = 2


def text_portrait(
    model: Any, reading: StatesReading, points: FixedPoints, words: Sequence[str], unit: tuple[int, str, int]
) -> tuple[pd.DataFrame, list[float]]:
    """Where a text takes the state, as `figures.state_portrait` draws it.

    Args:
        model: the subject that read it.
        reading: the text; its start is left out.
        points: of the same subject.
        words: one a position.
        unit: the layer, value and unit that colour the states, such as `(0, "h", 5)`.

    Returns:
        A row a place: `what` (`trajectory` or `point`), `path`, `step`, `token`, `point`, `kind`, `pc1`, `pc2` and a
        column that is called after the unit; and the share of the text's variance along each axis.

    Raises:
        ValueError: the subject is no map from state to state, or the text is shorter than three tokens.
    """
    held = []
    for hook in state_hooks(model):
        _, at, _, value = hook.split(".")
        held.append(reading.layers[int(at)][value.removeprefix("hook_")][1:])
    if len(held[0]) < 3:
        raise ValueError("two axes of a text's states need three tokens or more.")
    states = torch.from_numpy(np.concatenate(held, 1)).double()
    axes = PrincipalAxes.of(states)
    layer, name, number = unit
    table = pd.DataFrame(
        axis_columns(axes.first(N_AXES).project(states).numpy())
        | {"step": np.arange(1, len(states) + 1), "path": 0, "token": list(words[1:]), "what": TRAJECTORY}
        | {called(number): reading.layers[layer][name][1:, number].astype(float)}
    )
    place = axis_columns(axes.first(N_AXES).project(points.states).numpy())
    there = pd.DataFrame(place | {"point": np.arange(len(points)), "kind": points.kind, "what": POINT})
    both = pd.concat([table, there] if len(there) else [table.assign(point=None, kind=None)], ignore_index=True)
    return both.astype({"path": "Int64", "step": "Int64", "point": "Int64"}), axes.explained[:N_AXES].tolist()


def called(unit: int) -> str:
    """The column of a unit."""
    return f"unit {unit}"
