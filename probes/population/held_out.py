"""Decoding bins by a decoder that was not fitted to them, and the scores of that with their intervals."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import t
from sklearn.base import clone

from probes.base import Array, as_numpy, taken
from probes.population.scores import circular_mean, correlation, errors, r2, typical_error
from probes.series import stretch_numbers

LEVEL = 0.95
METRICS = ("r2", "rho", "error")

Rows = Int[np.ndarray, " _"]


def checked_splits(splits: Sequence[tuple[Any, Any]], n: int) -> list[tuple[Rows, Rows]]:
    """Numbers of rows to fit on and to hold out.

    Raises `ValueError` where they are none, or not in the order of time, or a row is fitted on and judged, or twice.
    """
    if not len(splits):
        raise ValueError("splits is empty: there must be rows to fit on and to hold out.")
    splits = [(np.asarray(fit), np.asarray(held_out)) for fit, held_out in splits]
    seen = np.zeros(n, bool)
    for fit, held_out in splits:
        for numbers in (fit, held_out):
            if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
                raise ValueError(
                    f"splits has rows of shape {numbers.shape} and {numbers.dtype}: each part must be row numbers, at "
                    "least one (of a mask, `np.flatnonzero`)."
                )
            if numbers[0] < 0 or numbers[-1] >= n or not (np.diff(numbers) > 0).all():
                raise ValueError(f"splits has rows that are not among 0 to {n - 1} in the order of time, each once.")
        if np.isin(fit, held_out).any():
            raise ValueError("splits has rows that are fitted on and held out in one block: no decoder may see both.")
        if seen[held_out].any():
            raise ValueError("splits holds a row out twice: the blocks must be apart.")
        seen[held_out] = True
    return splits


@dataclass(frozen=True)
class Judge:
    """Decodes and scores all held-out blocks of a recording."""

    decoder: Any
    X: Array
    groups: Any
    splits: list[tuple[np.ndarray, np.ndarray]]
    one: bool
    period: tuple[float | None, ...]

    @cached_property
    def judged(self) -> Rows:
        """The bins of all blocks."""
        return np.sort(np.concatenate([held_out for _, held_out in self.splits]))

    def decoded(
        self, y: Float[np.ndarray, "n d"], *, spread: bool = False
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"] | None]:
        """Every bin by a decoder that was not fitted to its block, with its standard deviation where there is one."""
        found, std = np.full_like(y, np.nan), np.full_like(y, np.nan)
        asked = y[:, 0] if self.one else y
        spread = spread and "return_std" in inspect.signature(self.decoder.predict).parameters
        fitted: Any = None
        fitted_to = None
        for fit, held_out in self.splits:
            if fit is not fitted_to:
                in_time = _in_time(self.decoder.fit, stretch_numbers(fit, self.groups))
                fitted, fitted_to = clone(self.decoder).fit(taken(self.X, fit), asked[fit], **in_time), fit
            in_time = _in_time(self.decoder.predict, stretch_numbers(held_out, self.groups))
            if spread:
                told, own = fitted.predict(taken(self.X, held_out), **in_time, return_std=True)
                std[held_out] = as_numpy(own).reshape(len(held_out), -1)
            else:
                told = fitted.predict(taken(self.X, held_out), **in_time)
            found[held_out] = as_numpy(told).reshape(len(held_out), -1)
        return found, std if spread else None

    def means(self, y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Of the fitted bins, for every bin of a block."""
        found = np.full_like(y, np.nan)
        for fit, held_out in self.splits:
            for j, each in enumerate(self.period):
                found[held_out, j] = y[fit, j].mean() if each is None else circular_mean(y[fit, j], each)
        return found

    def scores(self, y: Float[np.ndarray, "n d"], told: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "metric d"]:
        """Of the bins that were held out."""
        return self._scores(y[self.judged], told[self.judged])

    def _scores(self, y: Float[np.ndarray, "n d"], told: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "metric d"]:
        missed = errors(y, told, self.period)
        return np.stack(
            [r2(y, told, self.period), correlation(y, told, self.period), typical_error(missed, self.period)]
        )

    def with_intervals(self, y: Float[np.ndarray, "n d"], told: Float[np.ndarray, "n d"]) -> pd.DataFrame:
        """Scores of all bins; intervals from what they are when each block in turn is left out, NaN of one block."""
        whole, n_blocks = self.scores(y, told), len(self.splits)
        if n_blocks == 1:
            return table_of(whole, np.full_like(whole, np.nan), np.full_like(whole, np.nan))
        left = []
        for _, held_out in self.splits:
            others = np.setdiff1d(self.judged, held_out)
            left.append(self._scores(y[others], told[others]))
        error = np.sqrt((n_blocks - 1) * np.var(left, axis=0))
        half = error * t.ppf((1 + LEVEL) / 2, n_blocks - 1)
        return table_of(whole, whole - half, whole + half)


def _in_time(method: Any, groups: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """Groups, for decoders that ask for them."""
    return {"groups": groups} if "groups" in inspect.signature(method).parameters else {}


def table_of(
    whole: Float[np.ndarray, "metric d"], low: Float[np.ndarray, "metric d"], high: Float[np.ndarray, "metric d"]
) -> pd.DataFrame:
    """Scores and the ends of their intervals, a line a variable."""
    parts = (("", whole), ("_low", low), ("_high", high))
    return pd.DataFrame({f"{metric}{end}": part[i] for i, metric in enumerate(METRICS) for end, part in parts})
