"""Tests of what slow points make: a line (evidence: Mante et al. 2013) or a ring (heading: Zhang 1996), or neither."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from workbench.dynamics.moved import moved_labels
from workbench.dynamics.points import FixedPoints
from workbench.dynamics.trajectories import PrincipalAxes

POINTS, UNTRAINED, SHUFFLED = "points", "untrained", "shuffled"
LEAST_POINTS = 4


class Labelled(NamedTuple):
    """States with what each stands for.

    Attributes:
        states: such as a subject goes through.
        label: a number each; of a ring an angle, in radians.
        groups: the sequence of each: shuffled labels are those of other sequences (`moved_labels`).
    """

    states: Float[np.ndarray, "n d"]
    label: Float[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Curve:
    """Points in order along a curve: the longest path through the tree of least length that joins them all.

    Attributes:
        order: the points on it, from one end to the other.
        position: how far along each of these is, from 0 to 1.
        share: the path's length over the whole tree's: 1 where the points lie on one curve, less where they fill more.
        gap: the distance of its two ends over the longest step of the path.
    """

    order: Int[np.ndarray, " on_path"]
    position: Float[np.ndarray, " on_path"]
    share: float
    gap: float

    @classmethod
    def through(cls, states: Float[np.ndarray, "n d"]) -> "Curve":
        """Of at least two different points."""
        distances = squareform(pdist(states))
        # Where nothing lies between, the graph's routines would see no edge.
        tree = minimum_spanning_tree(csr_matrix(np.maximum(distances, 1e-300) * (1 - np.eye(len(states)))))
        tree = csr_matrix(tree + tree.T)
        end = _furthest(tree, 0)[0]
        other, path, along = _furthest(tree, end)
        steps = np.diff(along[path])
        return cls(
            path,
            along[path] / along[path][-1],
            float(along[other] / (tree.sum() / 2)),
            float(distances[end, other] / steps.max()),
        )


def line_attractor(
    points: FixedPoints,
    labelled: Labelled | None = None,
    *,
    untrained: FixedPoints | None = None,
    untrained_labelled: Labelled | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether fixed and slow points lie along a line on which one mode stays and all others decay.

    Args:
        points: of the subject.
        labelled: its states with the number that the line should tell.
        untrained: the same of the subject before its training.
        untrained_labelled: and its states.
        seed: of the shuffle.

    Returns:
        Rows `points`, `untrained` (where given) and `shuffled` (labels of other groups), with `n`;
        `first` and `second`, medians of the two largest |λ|; `explained`, the variance along the first principal axis;
        `curve`, the share of the points' tree that is one path (`Curve.share`: 1 of a curve, however bent); `extent`,
        from end to end in units of the states' spread; and `r`, |Spearman's r| of the label and the place on the curve
        that is nearest to each state. NaN where there are fewer than four points.
    """
    return _compared(_line, points, labelled, untrained, untrained_labelled, seed)


def ring_attractor(
    points: FixedPoints,
    labelled: Labelled | None = None,
    *,
    untrained: FixedPoints | None = None,
    untrained_labelled: Labelled | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether fixed and slow points lie on a closed ring: the same, of a label that is an angle, in radians.

    Returns:
        Rows as `line_attractor` has them, with `n`, `first`, `second`; `explained`, of two principal axes; `curve`;
        `gap`, how far the path's two ends are apart in its longest steps (about 1 where it closes); `winding`, how
        often it goes round the points' mean in the plane of these axes (1 for a ring, but for a line through the mean
        too); `largest_angle`, the widest angle without a point, in radians; `evenness`, 1 − |mean of e^{iφ}| over the
        points; `radius_variation`, the standard deviation of their distances from the mean over that distance; and `r`,
        how well the angle on the ring tells the label: |mean of e^{i(φ ∓ label)}|, with whichever sign is better.
    """
    return _compared(_ring, points, labelled, untrained, untrained_labelled, seed)


def _compared(
    test: Callable[[FixedPoints, Labelled | None], dict[str, float]],
    points: FixedPoints,
    labelled: Labelled | None,
    untrained: FixedPoints | None,
    untrained_labelled: Labelled | None,
    seed: int,
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [{"variant": POINTS} | test(points, labelled)]
    if untrained is not None:
        rows.append({"variant": UNTRAINED} | test(untrained, untrained_labelled))
    if labelled is not None:
        other = moved_labels(labelled.label, labelled.groups, np.random.default_rng(seed))
        rows.append({"variant": SHUFFLED} | test(points, labelled._replace(label=other)))
    return pd.DataFrame(rows)


def _line(points: FixedPoints, labelled: Labelled | None) -> dict[str, float]:
    facts = _moduli(points)
    if len(points) < LEAST_POINTS:
        return facts | dict.fromkeys(("explained", "curve", "extent", "r"), np.nan)
    states = points.states.numpy()
    curve = Curve.through(states)
    on_path = states[curve.order]
    facts |= {"explained": float(PrincipalAxes.of(points.states, 1).explained[0]), "curve": curve.share}
    facts |= {"extent": float(np.linalg.norm(on_path[-1] - on_path[0]) / points.size), "r": np.nan}
    if labelled is not None:
        place = curve.position[cKDTree(on_path).query(labelled.states)[1]]
        facts["r"] = float(abs(spearmanr(place, labelled.label).statistic))
    return facts


def _ring(points: FixedPoints, labelled: Labelled | None) -> dict[str, float]:
    names = ("explained", "curve", "gap", "winding", "largest_angle", "evenness", "radius_variation", "r")
    facts = _moduli(points)
    if len(points) < LEAST_POINTS:
        return facts | dict.fromkeys(names, np.nan)
    curve = Curve.through(points.states.numpy())
    axes = PrincipalAxes.of(points.states, 2)
    place = axes.project(points.states).numpy() @ np.array([1, 1j])
    angle, radius = np.angle(place), np.abs(place)
    round_path = place[np.append(curve.order, curve.order[0])]
    turned = np.angle(round_path[1:] * round_path[:-1].conj()).sum() / (2 * np.pi)
    ordered = np.sort(angle)
    widest = np.diff(np.append(ordered, ordered[0] + 2 * np.pi)).max()
    values = [axes.explained.sum(), curve.share, curve.gap, abs(turned), widest]
    values += [1 - abs(np.exp(1j * angle).mean()), radius.std() / radius.mean(), np.nan]
    facts |= {name: float(value) for name, value in zip(names, values, strict=True)}
    if labelled is not None:
        states = (labelled.states - axes.centre.numpy()) @ axes.axes.numpy().T @ np.array([1, 1j])
        told, of = np.exp(1j * np.angle(states)), np.exp(1j * labelled.label)
        facts["r"] = float(max(abs((told * of.conj()).mean()), abs((told * of).mean())))
    return facts


def _moduli(points: FixedPoints) -> dict[str, float]:
    moduli = points.eigenvalues.abs().numpy()
    first, second = (float(np.median(moduli[:, k])) if len(moduli) and moduli.shape[1] > k else np.nan for k in (0, 1))
    return {"n": len(points), "first": first, "second": second}


def _furthest(tree: csr_matrix, start: int) -> tuple[int, Int[np.ndarray, " path"], Float[np.ndarray, " n"]]:
    """The point furthest from `start` along a tree, the points on the way there, and how far each is."""
    order, before = breadth_first_order(tree, start, directed=False)
    along = np.zeros(tree.shape[0])
    weights = tree.todok()
    for point in order[1:]:
        along[point] = along[before[point]] + weights[point, before[point]]
    end = int(along.argmax())
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return end, np.array(path[::-1]), along
