"""How each unit of a recording is tuned to some variables: its map, its scores, and what they are by chance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from probes.report import Split
from probes.tuning import (
    TuningCurves,
    direction_tuning,
    encoding_r2,
    grid_score,
    spatial_information,
    tuning_curves,
    tuning_score_null,
)
from workbench.decoding.variables import Variables

# Bins along each axis, by the number of axes: so many that a unit's map is seen, so few that each is visited.
N_BINS = {1: 24, 2: 16, 3: 8}


def unit_tuning(
    X: Float[Tensor, "n unit"],
    x: Float[np.ndarray, "n d"],
    variables: Variables,
    rows: Split,
    *,
    dt: float = 1.0,
    n_bins: int | None = None,
    n_shuffles: int = 50,
    seed: int = 0,
) -> tuple[pd.DataFrame, TuningCurves]:
    """Maps of all units over the variables, and their scores.

    Args:
        X: the units' values, or spike counts.
        x: the variables, row by row.
        variables: what they are.
        rows: those that maps are fitted on, and those that the share of explained variance is measured on.
        dt: seconds a bin; of activations 1, and maps are means.
        n_bins: along each axis; `N_BINS` of their number where None.
        n_shuffles: of the rows against the variables, by which scores are judged.
        seed: of the shuffles.

    Returns:
        A line a unit: `unit`; `mean`; `r2`, the share of its variance on the held-out rows that its map explains, and
        `r2_p`; of units that are never negative `information` (bits a spike, or a unit of activation) and
        `information_p`, and of one circular variable `mean_vector` and `preferred`; of two linear ones `gridness`,
        `gridness_p` and `grid_scale`. What does not apply is missing. And the maps, of all rows.

    Raises:
        ValueError: more than three variables, which no map shows.
    """
    about = _binning(x, variables, dt, n_bins)
    values = X.double().numpy()
    curves = tuning_curves(values, x, **about)
    found = pd.DataFrame({"unit": np.arange(values.shape[1]), "mean": values.mean(0)})
    found["r2"], found["r2_p"] = _explained(values, x, rows, about, n_shuffles, seed)
    scores: dict[str, Callable[[TuningCurves], Any]] = {}
    if (values >= 0).all():
        scores["information"] = spatial_information
        if len(variables.period) == 1 and variables.period[0] is not None:
            direction = direction_tuning(curves)
            found["mean_vector"], found["preferred"] = direction.length, direction.preferred
    if variables.period == (None, None):
        scores["gridness"] = grid_score
    for name, score in scores.items():
        null = tuning_score_null(score, values, x, n_shuffles=n_shuffles, seed=seed, **about)
        found[name], found[f"{name}_p"] = null.score, null.p_value
    return found, curves


def _binning(x: Float[np.ndarray, "n d"], variables: Variables, dt: float, n_bins: int | None) -> dict[str, Any]:
    if x.shape[1] not in N_BINS:
        raise ValueError(f"{variables.title} are {x.shape[1]} variables: a map has one, two or three.")
    limits = [None if period else _limits(values) for values, period in zip(x.T, variables.period, strict=True)]
    return {"dt": dt, "n_bins": n_bins or N_BINS[x.shape[1]], "period": variables.period, "range": limits}


def _limits(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _explained(
    values: Float[np.ndarray, "n unit"],
    x: Float[np.ndarray, "n d"],
    rows: Split,
    about: dict[str, Any],
    n_shuffles: int,
    seed: int,
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
    """The share of each unit's variance that its map explains where it was not fitted, and how often chance does."""
    fit, held_out, judged = values[rows.fit], values[rows.held_out], x[rows.held_out]
    own = encoding_r2(tuning_curves(fit, x[rows.fit], **about), held_out, judged)
    above = np.zeros(values.shape[1])
    for shift in np.random.default_rng(seed).integers(len(fit) // 10, len(fit) - len(fit) // 10, n_shuffles):
        moved = np.roll(x[rows.fit], int(shift), axis=0)
        above += encoding_r2(tuning_curves(fit, moved, **about), held_out, judged) >= own
    return own, np.where(np.isnan(own), np.nan, (1 + above) / (1 + n_shuffles))
