"""Errors against the size of a population: their slope, and the table that `figures.error_against_bound` draws."""

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
    by = found.groupby(["n", "decoder"], sort=False)
    table = by["error"].agg(error="median", low="min", high="max", seeds="count").reset_index()
    table.loc[table["seeds"] < 2, ["low", "high"]] = np.nan
    if "bound" in found:
        table = table.merge(by["bound"].median().reset_index(), on=["n", "decoder"])
    return table.drop(columns="seeds")
