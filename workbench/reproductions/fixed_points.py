"""The points that a three-bit flip-flop rests on, and the saddles between them, in a tanh network and a GRU."""

from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models import recipes
from models.dataset import Dataset
from models.recurrent import Recurrent
from workbench.dynamics import (
    FixedPoints,
    Manifolds,
    PrincipalAxes,
    find_fixed_points,
    portrait_with_points,
    run_states,
    state_map,
    unstable_manifolds,
)
from workbench.dynamics.portraits import MANIFOLD
from workbench.dynamics.step import StateMap
from workbench.dynamics.trajectories import axis_columns
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.portraits import SHOWN, beside_untrained

TITLE = "Eight memories and the saddles between them"
PAPER = "Sussillo & Barak 2013 (Neural Computation 25:626); Golub & Sussillo 2018 (JOSS 3:1003)"

CELLS = ("rnn", "gru")
N_BITS = 3
CORNERS, EDGES = 2**N_BITS, N_BITS * 2 ** (N_BITS - 1)
LEAST_EDGES, LEAST_HELD, LEAST_JOINED = 6, 0.99, 0.9
# Steps without a pulse, fifteen times as many as a trial has.
HELD = 1000
# A bit is between its two values where its read-out is nearer to 0 than to either.
BETWEEN = 0.5
# A stable point is read as a corner that its read-out is no further from than this.
MOST_FROM_CORNER = 0.5
MOST_APART = 1e-6
NOWHERE = -1


class Landscape(NamedTuple):
    """What a search found in one subject.

    Attributes:
        measured: the counts and shares that are judged.
        points: one row a point: what it is, what it is read as, and where it lies in the states' principal axes.
        portrait: the states of trials, the points and the paths that leave saddles of one growing mode, in those axes.
    """

    measured: dict[str, float]
    points: pd.DataFrame
    portrait: pd.DataFrame


def reproduce(bench: Bench) -> list[Row]:
    """Search both cells for fixed points, follow what grows at each saddle, and do the same before training."""
    seeds = range(5 if bench.full else 1)
    wanted = {f"{cell}-seed-{seed}": (cell, seed) for cell in CELLS for seed in seeds}
    named = {cell: recipes.get(f"flip-flop-{cell}") for cell in CELLS}
    runs = bench.subjects({name: named[cell].with_changes(seed=seed) for name, (cell, seed) in wanted.items()})
    measured, points, portraits = [], [], []
    for name, (cell, seed) in wanted.items():
        bench.tell(f"searching {name}")
        trials = runs[name].dataset().split("test")
        for stage, model in (("untrained", runs[name].model(step=0)), ("trained", runs[name].model())):
            about = {"cell": cell, "seed": seed, "stage": stage}
            found = landscape(cast(Recurrent, model), trials, seed)
            measured.append(about | found.measured)
            points.append(found.points.assign(**about))
            portraits.append(found.portrait.assign(**about))
    counted = pd.DataFrame(measured)
    bench.table("counts", counted)
    placed, drawn = pd.concat(points, ignore_index=True), pd.concat(portraits, ignore_index=True)
    bench.table("points", placed)
    for cell in CELLS:
        one = drawn[drawn["cell"] == cell]
        bench.table(f"portrait_{cell}", one, beside_untrained(one, placed[placed["cell"] == cell], "corner"))
    return [row for cell in CELLS for row in _rows(cell, counted[counted["cell"] == cell])]


def landscape(model: Recurrent, trials: Dataset, seed: int) -> Landscape:
    """Search without input, from the states of trials with noise, and say what each point is read as."""
    found = find_fixed_points(model, trials, seed=seed)
    step = state_map(model)
    paths = run_states(model, trials)
    output = read_out(model, found.states)
    between, corner = place_of(output)
    manifolds = unstable_manifolds(step, found)
    ends = ends_of(found, manifolds, place_of(output)[1])
    is_edge = (np.array(found.kind) == "saddle") & (found.n_unstable == 1) & (between != NOWHERE)
    edges = list(zip(between[is_edge].tolist(), corner[is_edge].tolist(), strict=True))
    joined = [
        ends.get(int(point)) == sorted(corners_of(*edge))
        for point, edge in zip(np.flatnonzero(is_edge), edges, strict=True)
    ]
    corners = corner[found.stable]
    last = step_many(step, paths.states[:, -1], HELD)
    kept = place_of(read_out(model, last))[1] == memories(trials)
    measured = {
        "stable": float(found.stable.sum()),
        "corners": float(len(set(corners.tolist()))),
        "furthest": furthest(output[torch.from_numpy(found.stable)]),
        "edges": float(len(set(edges))),
        "edge_saddles": float(len(edges)),
        "joined": float(np.mean(joined)) if joined else np.nan,
        "held": float(kept.mean()),
        "saddles": float((np.array(found.kind) == "saddle").sum()),
        "slow": float(found.is_slow.sum()),
        "apart": jacobian_gap(step, found),
    }
    axes = PrincipalAxes.of(paths.at_real(), N_BITS)
    place = axis_columns(axes.project(found.states).numpy())
    outputs = {f"output_{bit}": output[:, bit].numpy() for bit in range(N_BITS)}
    about = {"between": between, "corner": corner, "ends": [str(ends.get(i, "")) for i in range(len(found))]}
    points = found.table().assign(**outputs, **about, **place)
    told = {"corner": place_of(read_out(model, paths.at_real()))[1]}
    drawn = portrait_with_points(paths, axes, found, manifolds, told, sequences=range(SHOWN))
    leaves_one = drawn["point"].map(lambda point: found.n_unstable[point] == 1, na_action="ignore")
    return Landscape(measured, points, drawn[(drawn["what"] != MANIFOLD) | leaves_one.eq(True)])


def step_many(step: StateMap, states: Float[Tensor, "n d"], n: int) -> Float[Tensor, "n d"]:
    """The states so many steps later."""
    with torch.inference_mode():
        for _ in range(n):
            states = step(states)
    return states


def read_out(model: Recurrent, states: Float[Tensor, "n d"]) -> Float[Tensor, "n d_out"]:
    """What a subject of one layer says in a state."""
    with torch.inference_mode():
        return model.unembed(states[None].to(model.cfg.dtype))[0].double()


def place_of(output: Float[Tensor, "n bits"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The one bit that is between its values, −1 where it is none or several; and Σ 2ⁱ over the bits above zero."""
    undecided = (output.abs() < BETWEEN).numpy()
    between = np.where(undecided.sum(1) == 1, undecided.argmax(1), NOWHERE)
    bits = (output > 0).numpy()
    # An edge's number does not depend on the sign of the bit that is between.
    bits &= ~(undecided & (between != NOWHERE)[:, None])
    return between, bits @ (1 << np.arange(output.shape[1]))


def corners_of(between: int, corner: int) -> list[int]:
    """The two corners that an edge joins."""
    return [corner, corner | 1 << between]


def memories(trials: Dataset) -> Int[np.ndarray, " trial"]:
    """The corner that each trial ends in."""
    assert trials.targets is not None
    return place_of(trials.targets[:, -1].double())[1]


def ends_of(found: FixedPoints, manifolds: Manifolds, corner: Int[np.ndarray, " points"]) -> dict[int, list[int]]:
    """The corners, in order, that the unstable manifold of each saddle comes to: those of the stable points there."""
    ends: dict[int, list[int]] = {}
    branches = manifolds.branches
    for point, at in zip(branches["point"].tolist(), branches["ends_at"].tolist(), strict=True):
        is_rest = at != NOWHERE and bool(found.stable[at])
        ends.setdefault(point, []).append(int(corner[at]) if is_rest else NOWHERE)
    return {point: sorted(at) for point, at in ends.items()}


def furthest(output: Float[Tensor, "n bits"]) -> float:
    """How far a read-out is from the corner of its signs, at most."""
    return float((output - output.sign()).norm(dim=1).max()) if len(output) else np.nan


def jacobian_gap(step: StateMap, found: FixedPoints, by: float = 1e-5) -> float:
    """The largest difference of a Jacobian's number from the central difference of the step, over all points."""
    return float((found.jacobians - differences(step, found.states, by)).abs().max()) if len(found) else np.nan


def worst_gap(measured: pd.DataFrame) -> float:
    """The largest `apart` of all lines; NaN where the lines of some `seed` tell none."""
    return float(measured.groupby("seed")["apart"].max().to_numpy().max())


def differences(step: StateMap, states: Float[Tensor, "n d"], by: float) -> Float[Tensor, "n d d"]:
    """∂F/∂state by central differences."""
    pushed = by * torch.eye(states.shape[1], dtype=states.dtype)
    both = [(states[:, None] + sign * pushed).flatten(0, 1) for sign in (1, -1)]
    ahead, behind = (step(rows).unflatten(0, (len(states), -1)) for rows in both)
    return ((ahead - behind) / (2 * by)).mT


def _rows(cell: str, counted: pd.DataFrame) -> list[Row]:
    def of(column: str, stage: str = "trained") -> list[float]:
        return counted.loc[counted["stage"] == stage, column].tolist()

    def both(column: str, digits: int = 0) -> str:
        return f"{spread(of(column), digits)}; untrained {spread(of(column, 'untrained'), digits)}"

    return [
        Row(
            f"{cell}-16: stable fixed points",
            f"{CORNERS}",
            both("stable"),
            f"exactly {CORNERS}",
            bool(np.all(np.array(of("stable")) == CORNERS)),
        ),
        Row(
            f"{cell}-16: corners of the cube that stable points are read as; how far from the corner at most",
            f"{CORNERS}",
            f"{both('corners')}; {spread(of('furthest'), 2)}",
            f"{CORNERS}; ≤ {MOST_FROM_CORNER}",
            bool(np.all(np.array(of("corners")) == CORNERS) and np.max(of("furthest")) <= MOST_FROM_CORNER),
        ),
        Row(
            f"{cell}-16: trials whose memory is still read after {HELD} steps without a pulse",
            "",
            both("held", 3),
            f"≥ {LEAST_HELD:.2f}",
            bool(np.min(of("held")) >= LEAST_HELD),
        ),
        Row(
            f"{cell}-16: edges of the cube, of {EDGES}, on which a saddle with one growing mode lies",
            f"{EDGES}",
            f"{both('edges')}; saddles of any kind {spread(of('saddles'), 0)}",
            f"≥ {LEAST_EDGES}",
            bool(np.min(of("edges")) >= LEAST_EDGES),
        ),
        Row(
            f"{cell}-16: share of these saddles whose unstable manifold comes to the two corners of their edge",
            "saddles mediate between neighbours",
            spread(of("joined"), 2),
            f"≥ {LEAST_JOINED}",
            bool(np.min(of("joined")) >= LEAST_JOINED),
        ),
        Row(
            f"{cell}-16: Jacobians against central differences, largest gap of a number",
            "",
            f"{worst_gap(counted):.0e}",
            f"≤ {MOST_APART:.0e}",
            worst_gap(counted) <= MOST_APART,
        ),
    ]
