"""A direction kept on a ring of slow points in a GRU: what lies on it, what moves along it, and what a turn does."""

from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from models import recipes
from models.dataset import Dataset
from models.recurrent import Recurrent
from workbench.dynamics import (
    Curve,
    FixedPoints,
    PrincipalAxes,
    find_fixed_points,
    portrait_with_points,
    read_labels,
    ring_attractor,
    run_states,
    state_map,
    unstable_manifolds,
)
from workbench.dynamics.attractors import LEAST_POINTS
from workbench.dynamics.fixed_points import N_STARTS
from workbench.dynamics.moved import moved_labels
from workbench.dynamics.points import SADDLE, SLOW, STABLE
from workbench.dynamics.trajectories import axis_columns
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.fixed_points import MOST_APART, jacobian_gap, step_many, worst_gap
from workbench.reproductions.portraits import N_AXES, SHOWN, beside_untrained

TITLE = "A head direction on a ring"
PAPER = (
    "Zhang 1996 (J Neurosci 16:2112); Seelig & Jayaraman 2015 (Nature 521:186); Cueva et al. 2020 (arXiv 1912.10189)"
)

RECIPE = "head-direction-gru"
# After the recipe's 1000 steps it answers well, but there are stretches of the ring on which states still drift.
N_STEPS = 3000
# A ring closes where no wider angle than a twelfth of a turn is without a point.
WIDEST = 2 * np.pi / 12
LEAST_CURVE, LEAST_TOLD, MOST_SHUFFLED = 0.9, 0.9, 0.1
FROM_ONE, MOST_NEXT, LEAST_ALONG, FROM_GAIN = 0.02, 0.95, 0.9, 0.1
# Waves round the ring in which the heading is told; steps in which a state comes to rest on it, and is watched there.
WAVES, SETTLE, WATCHED = 3, 50, 100
# Every so many steps of a walk its state is let come to rest.
EVERY = 10
# Slower, and from nearer, than a search by default: what comes back to the ring slowly would be taken for it.
# Lengths are shares of the states' size; the ring is looked at as finely as `APART`.
NOISE, MOST_SPEED, NEAR, APART = 0.1, 1e-7, 0.1, 0.05
# Parts of a turn in which the drift is averaged.
PARTS = 60
TURNS = np.linspace(-0.2, 0.2, 9)


class Ring(NamedTuple):
    """What a search found in one subject, and what the place on the ring tells."""

    measured: dict[str, float]
    points: pd.DataFrame
    portrait: pd.DataFrame


class Compass(NamedTuple):
    """How a heading is told by a state: by its angle in a plane, whose zero and evenness are fitted.

    Attributes:
        axes: two, the plane.
        weights: of `waves` round the ring, for the heading's cosine and sine.
    """

    axes: PrincipalAxes
    weights: Float[np.ndarray, "wave 2"]

    @classmethod
    def of(cls, axes: PrincipalAxes, states: Float[Tensor, "n d"], heading: Float[np.ndarray, " n"]) -> "Compass":
        """Fitted by least squares."""
        truth = np.stack([np.cos(heading), np.sin(heading)], 1)
        return cls(axes, np.linalg.lstsq(waves(angle_in(axes, states)), truth, rcond=None)[0])

    def read(self, states: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
        """The heading of each state, in radians."""
        cosine, sine = (waves(angle_in(self.axes, states)) @ self.weights).T
        return np.arctan2(sine, cosine)


def reproduce(bench: Bench) -> list[Row]:
    """Search for slow points where no turn comes in, read the heading off the ring, and turn; before training too."""
    seeds = range(5 if bench.full else 1)
    runs = bench.subjects(
        {f"seed-{seed}": recipes.get(RECIPE).with_changes(n_steps=N_STEPS, seed=seed) for seed in seeds}
    )
    measured, points, portraits = [], [], []
    for seed in seeds:
        run = runs[f"seed-{seed}"]
        bench.tell(f"searching seed-{seed}")
        trials = run.dataset().split("test")
        for stage, model in (("untrained", run.model(step=0)), ("trained", run.model())):
            found = ring_of(cast(Recurrent, model), trials, seed)
            about = {"seed": seed, "stage": stage}
            measured.append(about | found.measured)
            points.append(found.points.assign(**about))
            portraits.append(found.portrait.assign(**about))
    table = pd.DataFrame(measured)
    bench.table("ring", table)
    placed, drawn = pd.concat(points, ignore_index=True), pd.concat(portraits, ignore_index=True)
    bench.table("points", placed)
    bench.table("portrait", drawn, beside_untrained(drawn, placed, "heading"))
    return _rows(table)


def ring_of(model: Recurrent, trials: Dataset, seed: int) -> Ring:
    """Search without a turn from where states of trials come to rest, and measure what is found there."""
    step = state_map(model)
    paths = run_states(model, trials)
    seen = np.arange(EVERY - 1, paths.states.shape[1], EVERY)
    states = step_many(step, paths.states[:, seen].flatten(0, 1), SETTLE)
    headings = read_labels(trials.labels, np.arange(int(paths.real.sum())), ["heading"])["heading"]
    heading = headings.reshape(len(trials), -1)[:, seen].ravel()
    trial = np.repeat(np.arange(len(trials)), len(seen))
    starts = near(states, NOISE * float(paths.at_real().var(0).mean().sqrt()), seed)
    found = find_fixed_points(step, starts, slow_tolerance=MOST_SPEED, apart=APART)
    axes = PrincipalAxes.of(states, N_AXES)
    plane = axes.first(2)
    is_on = on_ring(found, states)
    ring = found.select(is_on)
    moved = moved_labels(heading, trial, np.random.default_rng(seed))
    compass = Compass.of(plane, states, heading)
    last = states[len(seen) - 1 :: len(seen)]
    is_ring = len(ring) >= LEAST_POINTS
    shape = ring_attractor(ring, seed=seed).iloc[0].drop("variant").astype(float).to_dict()
    measured = shape | {
        "inside": float((~is_on).sum()),
        "stable": float(ring.kind.count(STABLE)),
        "saddles": float(ring.kind.count(SADDLE)),
        "slow": float(ring.kind.count(SLOW)),
        "explained_states": float(plane.explained.sum()),
        "along": along_ring(ring),
        "third": float(ring.eigenvalues.abs()[:, 2].median()) if is_ring else np.nan,
        "across": across_ring(ring, axes.centre, ring.right[:, :, 1]) if is_ring else np.nan,
        "told": told(plane, states, heading, trial),
        "shuffled": told(plane, states, moved, trial),
        "gain": gain(model, compass, last) if is_ring else np.nan,
        **drift(compass, last, step_many(step, last, WATCHED)),
        "apart": jacobian_gap(step, found),
    }
    place = axis_columns(axes.project(found.states).numpy())
    points = found.table().assign(on_ring=is_on, heading=compass.read(found.states), **place)
    manifolds = unstable_manifolds(step, found)
    drawn = portrait_with_points(paths, axes, found, manifolds, {"heading": headings}, sequences=range(SHOWN))
    return Ring(measured, points, drawn)


def angle_in(axes: PrincipalAxes, states: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
    """The angle of each state in a plane, round its centre."""
    return np.angle(axes.project(states).numpy() @ np.array([1, 1j]))


def waves(angle: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n wave"]:
    """1, and cosine and sine of so many multiples of an angle."""
    turns = angle[:, None] * np.arange(1, WAVES + 1)
    return np.concatenate([np.ones((len(angle), 1)), np.cos(turns), np.sin(turns)], 1)


def near(states: Float[Tensor, "n d"], spread_by: float, seed: int) -> Float[Tensor, "starts d"]:
    """Some of the states, each number with noise of a standard deviation."""
    rng = np.random.default_rng(seed)
    drawn = states[torch.from_numpy(rng.choice(len(states), min(N_STARTS, len(states)), replace=False))]
    return drawn + spread_by * torch.from_numpy(rng.standard_normal(drawn.shape))


def on_ring(found: FixedPoints, states: Float[Tensor, "n d"]) -> Bool[np.ndarray, " points"]:
    """Which points have a state that came to rest near them."""
    return (torch.cdist(found.states, states).min(1).values <= NEAR * found.size).numpy()


def told(
    axes: PrincipalAxes, states: Float[Tensor, "n d"], heading: Float[np.ndarray, " n"], trial: Int[np.ndarray, " n"]
) -> float:
    """Circular R² of the headings in every other trial, read by a compass that was fitted to the rest."""
    fit = trial % 2 == 0
    read = Compass.of(axes, states[torch.from_numpy(fit)], heading[fit]).read(states[torch.from_numpy(~fit)])
    mean = np.angle(np.exp(1j * heading[fit]).mean())
    missed, spread_out = (1 - np.cos(heading[~fit] - guess) for guess in (read, mean))
    return float(1 - missed.sum() / spread_out.sum())


def along_ring(ring: FixedPoints) -> float:
    """|cos| between a point's slowest mode and the way to its neighbours on the ring; the median over points."""
    if len(ring) < LEAST_POINTS:
        return np.nan
    order = torch.from_numpy(Curve.through(ring.states.numpy()).order)
    states = ring.states[order]
    along = torch.nn.functional.normalize(states[2:] - states[:-2], dim=1)
    # Of a complex mode, the plane that its two parts span.
    modes = torch.view_as_real(ring.right[order[1:-1], :, 0])
    basis = torch.linalg.svd(modes, full_matrices=False)
    kept = basis.U * (basis.S / basis.S[:, :1] > 1e-9)[:, None]
    return float((kept.mT @ along[..., None]).norm(dim=(1, 2)).median())


def across_ring(ring: FixedPoints, centre: Float[Tensor, " d"], modes: Complex[Tensor, "points d"]) -> float:
    """|cos| between a mode of each point and the way from the ring's centre to it; the median over points."""
    out = torch.nn.functional.normalize(ring.states - centre, dim=1)
    return float((torch.nn.functional.normalize(modes.real, dim=1) * out).sum(1).abs().median())


def gain(model: Recurrent, compass: Compass, states: Float[Tensor, "n d"]) -> float:
    """By how much the heading on the ring changes for a step's turn: the slope over turns of both signs."""
    still = state_map(model)
    rest = compass.read(step_many(still, still(states), SETTLE))
    moved = []
    for turn in TURNS:
        pushed = state_map(model, [turn, 0.0, 0.0])(states)
        moved.append(np.angle(np.exp(1j * (compass.read(step_many(still, pushed, SETTLE)) - rest))).mean())
    return float(TURNS @ np.array(moved) / (TURNS @ TURNS))


def drift(compass: Compass, before: Float[Tensor, "n d"], after: Float[Tensor, "n d"]) -> dict[str, float]:
    """How far headings move by themselves, in degrees a step: median and largest; and to how many places they run.

    Those are where the mean drift turns, round the ring, from forwards to backwards; between any two lies a saddle.
    """
    heading = compass.read(before)
    moved = np.degrees(np.angle(np.exp(1j * (compass.read(after) - heading)))) / WATCHED
    part = ((heading + np.pi) / (2 * np.pi) * PARTS).astype(int) % PARTS
    n = np.bincount(part, minlength=PARTS)
    mean = np.bincount(part, moved, minlength=PARTS)[n > 0] / n[n > 0]
    ahead = mean > 0
    return {
        "drift": float(np.median(np.abs(moved))),
        "most_drift": float(np.abs(moved).max()),
        "rests": float((ahead & ~np.roll(ahead, -1)).sum()),
    }


def _rows(found: pd.DataFrame) -> list[Row]:
    def of(column: str, stage: str = "trained") -> list[float]:
        return found.loc[found["stage"] == stage, column].tolist()

    def both(column: str, digits: int = 3) -> str:
        return f"{spread(of(column), digits)}; untrained {spread(of(column, 'untrained'), digits)}"

    return [
        Row(
            "slow and fixed points on a ring: how many; share of the tree that joins them which is one path; the "
            "widest angle without one, in degrees",
            "a closed curve",
            f"{both('n', 0)}; {spread(of('curve'), 2)}; {spread(np.degrees(of('largest_angle')).tolist(), 1)}",
            f"≥ {LEAST_CURVE:.2f}; ≤ {np.degrees(WIDEST):.0f}",
            bool(np.min(of("curve")) >= LEAST_CURVE and np.max(of("largest_angle")) <= WIDEST),
        ),
        Row(
            "circular R² of the heading in other walks, read off the angle in the plane of the states",
            "",
            f"{both('told')}; headings of other walks {spread(of('shuffled'))}",
            f"≥ {LEAST_TOLD:.2f}, of other walks ≤ {MOST_SHUFFLED:.2f}, untrained less",
            bool(
                np.min(of("told")) >= LEAST_TOLD
                and np.max(of("shuffled")) <= MOST_SHUFFLED
                and np.max(of("told", "untrained")) < np.min(of("told"))
            ),
        ),
        Row(
            "the largest |λ| on the ring, and the next, medians over points; |cos| of that one's mode and the "
            "radius; the third |λ|",
            "one near 1, the others decay",
            f"{spread(of('first'), 4)}; {spread(of('second'), 4)}; {spread(of('across'), 2)}; {spread(of('third'))}",
            f"1 ± {FROM_ONE}; ≤ {MOST_NEXT}",
            bool(np.all(np.abs(np.array(of("first")) - 1) <= FROM_ONE) and np.max(of("second")) <= MOST_NEXT),
        ),
        Row(
            "|cos| of the slowest mode and the direction of the ring, median over points",
            "along the ring",
            spread(of("along")),
            f"≥ {LEAST_ALONG}",
            bool(np.min(of("along")) >= LEAST_ALONG),
        ),
        Row(
            "turn of the state on the ring for a turn that is told, by the slope",
            "1",
            spread(of("gain")),
            f"1 ± {FROM_GAIN}",
            bool(np.all(np.abs(np.array(of("gain")) - 1) <= FROM_GAIN)),
        ),
        Row(
            "places on the ring to which states drift; of the points found, stable, saddles, slow only",
            "a continuum",
            f"{spread(of('rests'), 0)}; " + ", ".join(spread(of(kind), 0) for kind in ("stable", "saddles", "slow")),
        ),
        Row(
            f"drift without a turn, degrees a step over {WATCHED} steps: median, largest of all states",
            "none on a continuum",
            f"{spread(of('drift'))}; {spread(of('most_drift'))}",
        ),
        Row(
            "Jacobians against central differences, largest gap of a number",
            "",
            f"{worst_gap(found):.0e}",
            f"≤ {MOST_APART:.0e}",
            worst_gap(found) <= MOST_APART,
        ),
    ]
