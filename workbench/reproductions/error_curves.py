"""Errors and scores over seeds, as `figures.error_against_bound` and `figures.decoding_scores` draw them."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def log_slope(n: ArrayLike, error: ArrayLike) -> float:
    """The power with which an error changes with n: least squares on both logarithms."""
    return float(np.polyfit(np.log(n), np.log(error), 1)[0])


def over_seeds(found: pd.DataFrame) -> pd.DataFrame:
    """Tidy lines `seed`, `n`, `decoder`, `error` and, where it is known, `bound`, as one line of each n and decoder.

    `error` and `bound` become their medians, `low` and `high` the least and the largest error; NaN of one seed.
    """
    return _summed_up(found, ["n", "decoder"], "error").rename(columns={"error_low": "low", "error_high": "high"})


def scores_over_seeds(found: pd.DataFrame, score: str) -> pd.DataFrame:
    """Tidy lines `seed`, `decoder`, `variant`, the score and, where it is known, `bound`, as one line of each variant.

    The score and `bound` become their medians, the score's `_low` and `_high` its least and largest; NaN of one number.
    """
    return _summed_up(found, ["decoder", "variant"], score)


def _summed_up(found: pd.DataFrame, by: list[str], score: str) -> pd.DataFrame:
    groups = found.groupby(by, sort=False)
    low, high = f"{score}_low", f"{score}_high"
    table = groups[score].agg(**{score: "median", low: "min", high: "max", "n_numbers": "count"}).reset_index()
    table.loc[table["n_numbers"] < 2, [low, high]] = np.nan
    if "bound" in found:
        table = table.merge(groups["bound"].median().reset_index(), on=by)
    return table.drop(columns="n_numbers")
