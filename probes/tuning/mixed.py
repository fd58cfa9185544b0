"""Mixed selectivity: which variables move a unit, each by itself or only together; and how much curves explain."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import f as f_distribution

from probes.base import as_numpy
from probes.rows import Rows
from probes.tuning.curves import TuningCurves, binned_sums, checked_series


@dataclass(frozen=True)
class MixedSelectivity:
    """Variance of each unit's responses by where it comes from.

    Attributes:
        effects: of each variable by itself [unit, variable]: what a sum of functions of single variables explains. The
            bias of few trials is taken away, so that an estimate may be a little below zero.
        interaction: what only combinations explain [unit]: non-linear mixed selectivity.
        noise: from trial to trial [unit].
        p_effects: of F tests [unit, variable].
        p_interaction: [unit].
    """

    effects: Float[np.ndarray, "unit variable"]
    interaction: Float[np.ndarray, " unit"]
    noise: Float[np.ndarray, " unit"]
    p_effects: Float[np.ndarray, "unit variable"]
    p_interaction: Float[np.ndarray, " unit"]

    @property
    def share(self) -> Float[np.ndarray, "unit variable_and_interaction"]:
        """Of the variance that is no noise, the share of each variable and, last, of their interaction."""
        parts = np.concatenate([self.effects, self.interaction[:, None]], axis=1).clip(min=0)
        total = parts.sum(1, keepdims=True)
        return np.divide(parts, total, out=np.full(parts.shape, np.nan), where=total > 0)

    def kinds(self, alpha: float = 0.05) -> np.ndarray:
        """Of each unit `none`, `pure` (one variable), `linear` (several, adding up) or `non-linear` (combinations).

        Tests of one unit share `alpha` among themselves (Bonferroni's correction).
        """
        each = alpha / (self.p_effects.shape[1] + 1)
        n = (self.p_effects < each).sum(1)
        return np.select([self.p_interaction < each, n > 1, n == 1], ["non-linear", "linear", "pure"], "none")


def mixed_selectivity(X: Any, conditions: Any) -> MixedSelectivity:
    """Split the variance of responses in a crossed design into effects of single variables and their interaction.

    Rigotti et al., "The importance of mixed selectivity in complex cognitive tasks" (2013), by analysis of variance of
    unweighted means: every combination of values counts alike, however many trials it has. The F tests are exact
    where these numbers are equal, and near where they are not (with the harmonic mean of the numbers).

    Args:
        X: responses [trials, units].
        conditions: the value of each variable in each trial [trials, variables]: labels of any kind, or bins.

    Raises:
        ValueError: fewer than two variables or values, a combination without trials, or one trial for each.
    """
    values = X if hasattr(X, "detach") else as_numpy(X)
    labels = as_numpy(conditions)
    if values.ndim != 2 or labels.ndim != 2 or len(labels) != len(values) or labels.shape[1] < 2:
        raise ValueError(
            f"X is {tuple(values.shape)} and conditions {labels.shape}: they must be [trials, units] and "
            "[trials, variables] of the same trials and of two variables or more."
        )
    rows = Rows(values)
    rows.refuse_not_finite()
    codes = [np.unique(column, return_inverse=True) for column in labels.T]
    sizes = tuple(len(found) for found, _ in codes)
    if min(sizes) < 2:
        raise ValueError(f"variable {sizes.index(min(sizes))} has one value only: nothing can depend on it.")
    n_cells = int(np.prod(sizes))
    cell = np.ravel_multi_index(tuple(code for _, code in codes), sizes)
    n = np.bincount(cell, minlength=n_cells)
    if not n.all():
        missing = ", ".join(
            str(found[i]) for (found, _), i in zip(codes, np.unravel_index(int(n.argmin()), sizes), strict=True)
        )
        raise ValueError(f"no trial combines {missing}: every combination of the variables' values is needed.")
    freedom = rows.n - n_cells
    if freedom < 1:
        raise ValueError("every combination has one trial: noise cannot be told from an interaction.")
    means = (binned_sums(rows, cell, n_cells) / n[:, None]).T
    left = np.zeros(rows.d)
    for where, part in rows.chunks():
        left += ((part.double().cpu().numpy() - means.T[cell[where]]) ** 2).sum(0)
    # Means of equal numbers differ by rounding, of which no effect is made.
    rounding = ((n.max() + n_cells) * np.finfo(np.float64).eps * np.abs(means).max(1)) ** 2
    noise = np.where(left <= rows.n * rounding, 0.0, left / freedom)
    trials = n_cells / (1 / n).sum()
    table = means.reshape(rows.d, *sizes)
    axes = tuple(range(1, table.ndim))
    rest = table - table.mean(axes, keepdims=True)
    effects, p_effects = [], []

    def beyond(part: Float[np.ndarray, "unit ..."]) -> Float[np.ndarray, " unit"]:
        squares = (part**2).mean(axes)
        return np.where(squares <= rounding, 0.0, squares)

    for axis, size in zip(axes, sizes, strict=True):
        effect = table.mean(tuple(other for other in axes if other != axis), keepdims=True)
        effect = effect - effect.mean(axis, keepdims=True)
        rest = rest - effect
        found, p = _component(beyond(effect), size - 1, n_cells, trials, noise, freedom)
        effects.append(found)
        p_effects.append(p)
    degrees = n_cells - 1 - sum(size - 1 for size in sizes)
    interaction, p_interaction = _component(beyond(rest), degrees, n_cells, trials, noise, freedom)
    return MixedSelectivity(np.stack(effects, 1), interaction, noise, np.stack(p_effects, 1), p_interaction)


def _component(
    squares: Float[np.ndarray, " unit"],
    degrees: int,
    n_cells: int,
    trials: float,
    noise: Float[np.ndarray, " unit"],
    freedom: int,
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
    """A variance without what noise adds to it, and the p-value of its F test."""
    by_chance = noise * degrees / (n_cells * trials)
    # A unit without noise has an effect, or it has none.
    f = np.divide(squares, by_chance, out=np.where(squares > 0, np.inf, 0.0), where=by_chance > 0)
    return squares - by_chance, f_distribution.sf(f * 1.0, degrees, freedom)


def encoding_r2(curves: TuningCurves, counts: Any, x: Any) -> Float[np.ndarray, " neuron"]:
    """The share of each unit's variance in some rows that its curve explains; honest on rows of which none made curves.

    Args:
        curves: made of other rows, with their `dt`.
        counts: [n, neurons].
        x: the variable, [n] or [n, d]; where no curve has a rate, the unit's mean stands in.

    Returns:
        Below zero where the curve is worse than the mean of these rows; NaN of a unit that does not vary.

    Raises:
        ValueError: other neurons than have curves, or what `tuning_curves` refuses.
    """
    rows, values = checked_series(counts, x)
    if rows.d != curves.n_neurons:
        raise ValueError(
            f"counts have {rows.d} neurons and there are {curves.n_neurons} curves: they must be the same."
        )
    mean = np.where(np.isfinite(curves.flat), curves.flat, 0) @ curves.probability.ravel()
    table = np.where(np.isfinite(curves.flat), curves.flat, mean[:, None]).T * curves.dt
    numbers = curves.bins_of(values)
    total, left, spread = np.zeros(rows.d), np.zeros(rows.d), np.zeros(rows.d)
    for _, part in rows.chunks():
        total += part.double().cpu().numpy().sum(0)
    for where, part in rows.chunks():
        seen = part.double().cpu().numpy()
        left += ((seen - table[numbers[where]]) ** 2).sum(0)
        spread += ((seen - total / rows.n) ** 2).sum(0)
    return 1 - np.divide(left, spread, out=np.full(rows.d, np.nan), where=spread > 1e-12 * (total / rows.n) ** 2)
