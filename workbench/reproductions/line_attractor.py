"""A running total kept along a line of slow points, and the differences of K totals in K − 1 directions."""

from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from models import recipes
from models.dataset import Dataset
from models.recurrent import Recurrent
from models.tasks.evidence import ClassEvidence
from workbench.dynamics import (
    Curve,
    FixedPoints,
    Labelled,
    PrincipalAxes,
    find_fixed_points,
    line_attractor,
    portrait_with_points,
    read_labels,
    run_states,
    state_map,
    unstable_manifolds,
)
from workbench.dynamics.moved import moved_labels
from workbench.dynamics.trajectories import axis_columns
from workbench.reproductions.base import Bench, Row, spread
from workbench.reproductions.fixed_points import MOST_APART, jacobian_gap, worst_gap
from workbench.reproductions.portraits import N_AXES, SHOWN, beside_untrained

TITLE = "Evidence integrated along a line, and in a plane"
PAPER = (
    "Mante et al. 2013 (Nature 503:78); Maheswaranathan et al. 2019 (arXiv 1906.10720); "
    "Aitken et al. 2020 (arXiv 2010.15114)"
)

SIGNED, CLASSES = "evidence-total", ("class-evidence-gru", "class-evidence-mingru")
# Judged where gates read the state, as in Aitken et al.'s networks; minGRU's gates read the input alone, so that at one
# input every unit of it has a modulus of its own.
JUDGED = "class-evidence-gru"
# After the recipe's 600 steps it answers well, but mode K − 1 is still at .957 along the sides of the triangle.
N_STEPS = {JUDGED: 3000}
LEAST_MODULUS, LEAST_SLOW, LEAST_EXPLAINED = 0.99, 0.98, 0.95
LEAST_CURVE, LEAST_TOLD, MOST_SHUFFLED = 0.9, 0.9, 0.1


class Line(NamedTuple):
    """What a search found in one subject, and what the place on the line tells."""

    measured: dict[str, float]
    points: pd.DataFrame
    portrait: pd.DataFrame


def reproduce(bench: Bench) -> list[Row]:
    """Search subjects that add up evidence for slow points, and read the total off the line; before training too."""
    seeds = range(5 if bench.full else 1)
    wanted = {f"{name}-seed-{seed}": (name, seed) for name in (SIGNED, *CLASSES) for seed in seeds}
    chosen = {
        run: recipes.get(name).with_changes(n_steps=N_STEPS.get(name), seed=seed)
        for run, (name, seed) in wanted.items()
    }
    runs = bench.subjects(chosen)
    lines, planes, points, portraits = [], [], [], []
    for run, (name, seed) in wanted.items():
        bench.tell(f"searching {run}")
        trials = runs[run].dataset().split("test")
        for stage, model in (("untrained", runs[run].model(step=0)), ("trained", runs[run].model())):
            about = {"subject": name, "seed": seed, "stage": stage}
            subject = cast(Recurrent, model)
            if name == SIGNED:
                found = line_of(subject, trials, seed)
                lines.append(about | found.measured)
                points.append(found.points.assign(**about))
                portraits.append(found.portrait.assign(**about))
            else:
                n_classes = cast(ClassEvidence, recipes.get(name).task).n_classes
                planes.append(about | plane_of(subject, trials, n_classes - 1, seed))
    signed, classes = pd.DataFrame(lines), pd.DataFrame(planes)
    bench.table("line", signed)
    bench.table("plane", classes)
    placed, drawn = pd.concat(points, ignore_index=True), pd.concat(portraits, ignore_index=True)
    bench.table("points", placed)
    bench.table("portrait", drawn, beside_untrained(drawn, placed, "total"))
    rows = _signed_rows(signed)
    for name in CLASSES:
        rows += _class_rows(name, classes[classes["subject"] == name])
    return rows


def line_of(model: Recurrent, trials: Dataset, seed: int) -> Line:
    """Search where no evidence comes in, and hold the place on the line of what is found against the total."""
    found = find_fixed_points(model, trials, seed=seed)
    paths = run_states(model, trials)
    states = paths.at_real().numpy()
    total = read_labels(trials.labels, np.arange(len(states)), ["total"])["total"]
    trial = paths.real.nonzero(as_tuple=True)[0].numpy()
    table = line_attractor(found, Labelled(states, total, trial), seed=seed).set_index("variant")
    own = cast(dict[str, float], table.loc["points"].to_dict())
    moved = moved_labels(total, trial, np.random.default_rng(seed))
    axes = PrincipalAxes.of(paths.at_real(), N_AXES)
    measured = own | {
        "told": told(line_through(found), states, total, trial),
        "shuffled": told(line_through(found), states, moved, trial),
        "explained_states": float(axes.explained[0]),
        "apart": jacobian_gap(state_map(model), found),
    }
    manifolds = unstable_manifolds(model, found)
    drawn = portrait_with_points(paths, axes, found, manifolds, {"total": total}, sequences=range(SHOWN))
    return Line(measured, found.table().assign(**axis_columns(axes.project(found.states).numpy())), drawn)


def line_through(found: FixedPoints) -> Float[np.ndarray, "knot d"]:
    """The points in their order along the curve through them; of fewer than two, those."""
    states = found.states.numpy()
    return states[Curve.through(states).order] if len(states) > 1 else states


def told(
    line: Float[np.ndarray, "knot d"],
    states: Float[np.ndarray, "n d"],
    total: Float[np.ndarray, " n"],
    trial: Int[np.ndarray, " n"],
) -> float:
    """R² of the totals of every other trial, told by a monotone function of the place on the line, fitted on the rest.

    0 where there is no line: one point has one place.
    """
    place = place_along(line, states)
    fit = trial % 2 == 0
    mean = total[fit].mean()
    if np.ptp(place) == 0:
        return 0.0
    rises = bool(spearmanr(place[fit], total[fit]).statistic >= 0)
    read = IsotonicRegression(increasing=rises, out_of_bounds="clip").fit(place[fit], total[fit])
    missed = total[~fit] - read.predict(place[~fit])
    return float(1 - (missed**2).sum() / ((total[~fit] - mean) ** 2).sum())


def place_along(line: Float[np.ndarray, "knot d"], states: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """How far along a line of straight pieces the nearest place to each state is; its two ends go on for ever."""
    if len(line) < 2:
        return np.zeros(len(states))
    steps = np.diff(line, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    along = np.append(0.0, lengths.cumsum())
    best, place = np.full(len(states), np.inf), np.zeros(len(states))
    for k, (step, length) in enumerate(zip(steps, lengths, strict=True)):
        share = (states - line[k]) @ step / length**2
        share = np.clip(share, -np.inf if k == 0 else 0, np.inf if k == len(steps) - 1 else 1)
        away = np.linalg.norm(states - line[k] - share[:, None] * step, axis=1)
        nearer = away < best
        best[nearer], place[nearer] = away[nearer], (along[k] + share * length)[nearer]
    return place


def plane_of(model: Recurrent, trials: Dataset, n: int, seed: int) -> dict[str, float]:
    """The variance in `n` principal components of the states, and the moduli of modes `n` and `n + 1`.

    What is read at every step is the trials' mean input, which favours no class; the moduli are medians over points.
    """
    found = find_fixed_points(model, trials, input="mean", seed=seed)
    moduli = found.eigenvalues.abs().sort(dim=1, descending=True).values
    explained = PrincipalAxes.of(run_states(model, trials).at_real()).explained
    measured: dict[str, Any] = {"n": len(found), "fixed": int((~found.is_slow).sum())}
    measured["explained"] = float(explained[:n].sum())
    for name, k in (("last_kept", n - 1), ("first_lost", n)):
        measured[name] = float(moduli[:, k].median()) if len(found) else np.nan
    measured["n_kept"] = float((moduli > LEAST_SLOW).sum(1).double().median()) if len(found) else np.nan
    return measured | {"apart": jacobian_gap(state_map(model, found.input), found)}


def _signed_rows(found: pd.DataFrame) -> list[Row]:
    def of(column: str, stage: str = "trained") -> list[float]:
        return found.loc[found["stage"] == stage, column].tolist()

    def both(column: str, digits: int = 3) -> str:
        return f"{spread(of(column), digits)}; untrained {spread(of(column, 'untrained'), digits)}"

    return [
        Row(
            "signed evidence: slow and fixed points; share of the tree that joins them which is one path",
            "a line of slow points",
            f"{both('n', 0)}; {both('curve', 2)}",
            f"one path ≥ {LEAST_CURVE:.2f}",
            bool(np.min(of("curve")) >= LEAST_CURVE),
        ),
        Row(
            "signed evidence: the largest |λ| there, and the next, medians over points",
            "one near 1, the others decay",
            f"{both('first', 4)}; next {both('second')}",
            f"> {LEAST_MODULUS}",
            bool(np.min(of("first")) > LEAST_MODULUS),
        ),
        Row(
            "signed evidence: R² of the total in other trials, read off the place on the line",
            "",
            f"{both('told')}; totals of other trials {spread(of('shuffled'))}",
            f"≥ {LEAST_TOLD:.2f}, of other trials ≤ {MOST_SHUFFLED:.2f}, untrained less",
            bool(
                np.min(of("told")) >= LEAST_TOLD
                and np.max(of("shuffled")) <= MOST_SHUFFLED
                and np.max(of("told", "untrained")) < np.min(of("told"))
            ),
        ),
        _checked("signed evidence", found),
    ]


def _class_rows(name: str, found: pd.DataFrame) -> list[Row]:
    def of(column: str, stage: str = "trained") -> list[float]:
        return found.loc[found["stage"] == stage, column].tolist()

    def both(column: str, digits: int = 3) -> str:
        return f"{spread(of(column), digits)}; untrained {spread(of(column, 'untrained'), digits)}"

    judged = name == JUDGED
    explained, slow = np.min(of("explained")) >= LEAST_EXPLAINED, np.min(of("last_kept")) > LEAST_SLOW
    return [
        Row(
            f"{name}: variance of the states in K − 1 = 2 principal components",
            "K − 1 dimensions",
            both("explained"),
            f"≥ {LEAST_EXPLAINED}" if judged else "",
            bool(explained) if judged else None,
        ),
        Row(
            f"{name}: |λ| of mode K − 1, and of the next, medians over slow and fixed points; how many are above "
            f"{LEAST_SLOW}",
            "K − 1 near 1",
            f"{both('last_kept', 4)}; next {both('first_lost')}; {spread(of('n_kept'), 0)}",
            f"> {LEAST_SLOW}" if judged else "",
            bool(slow) if judged else None,
        ),
        _checked(name, found),
    ]


def _checked(name: str, found: pd.DataFrame) -> Row:
    worst = worst_gap(found)
    return Row(
        f"{name}: Jacobians against central differences, largest gap of a number",
        "",
        f"{worst:.0e}",
        f"≤ {MOST_APART:.0e}",
        worst <= MOST_APART,
    )
