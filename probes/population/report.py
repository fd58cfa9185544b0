"""`decoding_report`: how well a decoder reads each variable, beside what chance, the mean and the bound would give."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import norm, t
from sklearn.base import clone

from probes.base import Array, as_numpy, taken
from probes.population.base import targets
from probes.population.scores import circular_mean, correlation, errors, r2, typical_error
from probes.series import periods_of, stretch_numbers, stretches
from probes.tuning import cramer_rao
from probes.validation import blocked_splits

DECODER, SHUFFLED, MEAN = VARIANTS = ("decoder", "shuffled", "mean")
LEVEL = 0.95
METRICS = ("r2", "rho", "error")
# A variable is moved along the recording by at least this share of its group.
LEAST_SHIFT = 0.1
SHIFTS = ("groups", "recording")
SHORT = 50

Rows = Int[np.ndarray, " _"]
Information = Array | Callable[[np.ndarray], Array]


def decoding_report(
    decoder: Any,
    X: Array,
    y: Any,
    *,
    names: Sequence[str] | None = None,
    groups: Any = None,
    n_blocks: int = 5,
    gap: int = 0,
    by_group: bool = False,
    splits: Sequence[tuple[Rows, Rows]] | None = None,
    n_shuffles: int = 20,
    shift: str = "groups",
    bound: Information | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Decode every bin by a decoder fitted to other blocks of time, and hold it against what says nothing.

    Args:
        decoder: one of `probes.population`, or any regressor of scikit-learn; it is cloned. Where it has a `period`
            outputs are circular.
        X: counts or rates [bins, neurons], in the order of time.
        y: variables [bins] or [bins, d].
        names: of the variables.
        groups: session or trial of each bin, whose bins stand together.
        n_blocks: how many stretches of time are held out, one after the other.
        gap: bins on both sides of a held-out block that are not fitted on either; as many as the decoder has lags,
            and more where a variable changes slowly.
        by_group: whether groups are held out whole.
        splits: the rows to fit on and to hold out, block by block, instead: no row is held out twice, and one decoder
            serves blocks whose rows to fit on are the same array.
        n_shuffles: how often the decoder is fitted to, and judged by, variables that were moved against the neurons,
            circularly by at least a tenth. Their courses in time are kept, and with them the chance agreement of two
            slow signals, which shuffled bins would hide.
        shift: `groups`: within each. `recording`: along all bins, so that a group gets the variables of others, as
            is needed where groups are shorter than the variables' memory.
        bound: the Fisher information about y [bins, d, d] ([bins] of one variable), or a function that gives it for
            values of y. Its inverse bounds the variance of estimates that have no bias and know one bin alone; a
            prior, or other bins, may tell more. Bins where it is NaN (nobody was near enough for a slope) have no say.
        seed: of the shifts.

    Returns:
        A line for each variable and each of `decoder`, `shuffled` (means over the shuffles) and `mean` (of the fitted
        bins, told for all), with the columns `output`, `variant`; `r2`, `rho` and `error` with `_low` and `_high`;
        `measure`, what the error is: `rmse`, or of a circular variable, whose R² and ρ are circular too, `mean
        absolute`; `p_value`, how often a shuffle has as high an R² (the decoder counted among them); `coverage`, the
        share of bins within the decoder's own 95% interval; `bound`, what no unbiased decoder's error can be below;
        `bins`, `blocks`, `note`. Scores are of all held-out bins at once. Intervals (95%) are jackknifed over blocks,
        with Student's t; those of `shuffled` are over the shuffles.

    Raises:
        ValueError: lengths that differ, what is not finite, more blocks than there are, a bound of another shape.
    """
    values = targets(y, len(X))
    columns = values.reshape(len(values), -1)
    names = _names(names, columns.shape[1])
    groups = None if groups is None else as_numpy(groups)
    runs = stretches(groups, len(columns))
    period = periods_of(getattr(decoder, "period", None), columns.shape[1])
    if shift not in SHIFTS:
        raise ValueError(f"shift is {shift!r}: choose {' or '.join(SHIFTS)}.")
    if splits is None:
        splits = list(blocked_splits(len(columns), n_blocks, gap=gap, groups=groups, by_group=by_group))
    least = _bound(bound, values, period)
    judge = _Judge(decoder, X, groups, list(splits), values.ndim == 1, period)
    told, std = judge.decoded(columns, spread=True)
    rng = np.random.default_rng(seed)
    by_chance = []
    for _ in range(n_shuffles):
        moved = _moved(columns, runs if shift == "groups" else [slice(0, len(columns))], rng)
        with warnings.catch_warnings():  # what there is to warn of, of silent neurons say, was said of the variables
            warnings.simplefilter("ignore", UserWarning)
            by_chance.append(judge.scores(moved, judge.decoded(moved)[0]))
    tables = {
        DECODER: judge.with_intervals(columns, told),
        SHUFFLED: _over_shuffles(by_chance, columns.shape[1]),
        MEAN: judge.with_intervals(columns, judge.means(columns)),
    }
    own = pd.DataFrame({"measure": ["rmse" if each is None else "mean absolute" for each in period], "bound": least})
    own["p_value"] = _p_values(tables[DECODER]["r2"].to_numpy(), by_chance)
    judged = judge.judged
    own["coverage"] = np.nan if std is None else _coverage(errors(columns[judged], told[judged], period), std[judged])
    own["note"] = [_note(column, runs, std is None, shift) for column in columns.T]
    lines = []
    for j, name in enumerate(names):
        for variant in VARIANTS:
            line = {"output": name, "variant": variant, "measure": own["measure"][j]} | tables[variant].loc[j].to_dict()
            lines.append(line | (own.loc[j].to_dict() if variant == DECODER else {}))
    table = pd.DataFrame(lines).assign(bins=len(judged), blocks=len(splits))
    order = ["output", "variant", *(f"{m}{end}" for m in METRICS for end in ("", "_low", "_high"))]
    order += ["measure", "p_value", "coverage", "bound", "bins", "blocks", "note"]
    return table.reindex(columns=order).fillna({"note": ""})


@dataclass(frozen=True)
class _Judge:
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
        """Scores of all bins; intervals from what they are when each block in turn is left out."""
        whole, n_blocks = self.scores(y, told), len(self.splits)
        left = []
        for _, held_out in self.splits:
            others = np.setdiff1d(self.judged, held_out)
            left.append(self._scores(y[others], told[others]))
        error = np.sqrt((n_blocks - 1) * np.var(left, axis=0))
        half = error * t.ppf((1 + LEVEL) / 2, n_blocks - 1)
        return _table(whole, whole - half, whole + half)


def _in_time(method: Any, groups: Int[np.ndarray, " n"]) -> dict[str, Any]:
    """Groups, for decoders that ask for them."""
    return {"groups": groups} if "groups" in inspect.signature(method).parameters else {}


def _names(names: Sequence[str] | None, d: int) -> list[str]:
    if names is None:
        return ["y"] if d == 1 else [f"y{j}" for j in range(d)]
    if len(names) != d or len(set(names)) < d:
        raise ValueError(f"names are {list(names)}: each of the {d} outputs needs one of its own.")
    return list(names)


def _moved(y: Float[np.ndarray, "n d"], runs: list[slice], rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Variables moved along their groups, all of a bin together."""
    found = y.copy()
    for run in runs:
        length = run.stop - run.start
        least = max(1, int(LEAST_SHIFT * length))
        if length > 1:
            found[run] = np.roll(y[run], int(rng.integers(least, max(least, length - least) + 1)), axis=0)
    return found


def _over_shuffles(found: list[np.ndarray], d: int) -> pd.DataFrame:
    if not found:
        nothing = np.full((len(METRICS), d), np.nan)
        return _table(nothing, nothing, nothing)
    tail = (1 - LEVEL) / 2
    return _table(np.mean(found, axis=0), np.quantile(found, tail, axis=0), np.quantile(found, 1 - tail, axis=0))


def _table(
    whole: Float[np.ndarray, "metric d"], low: Float[np.ndarray, "metric d"], high: Float[np.ndarray, "metric d"]
) -> pd.DataFrame:
    parts = (("", whole), ("_low", low), ("_high", high))
    return pd.DataFrame({f"{metric}{end}": part[i] for i, metric in enumerate(METRICS) for end, part in parts})


def _p_values(seen: Float[np.ndarray, " d"], by_chance: list[np.ndarray]) -> Float[np.ndarray, " d"]:
    """With the decoder's own score among those of the shuffles (Phipson and Smyth, 2010)."""
    if not by_chance:
        return np.full(len(seen), np.nan)
    as_high = np.sum([scores[0] >= seen for scores in by_chance], axis=0)
    return np.where(np.isnan(seen), np.nan, (as_high + 1) / (len(by_chance) + 1))


def _coverage(missed: Float[np.ndarray, "n d"], std: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    return (np.abs(missed) <= norm.ppf((1 + LEVEL) / 2) * std).mean(0)


def _bound(
    bound: Information | None, y: Float[np.ndarray, " bin *output"], period: tuple[float | None, ...]
) -> Float[np.ndarray, " d"]:
    """What the errors of unbiased estimates cannot be below: of a normal error with the variance of the bound."""
    n, d = len(y), len(period)
    if bound is None:
        return np.full(d, np.nan)
    information = np.asarray(as_numpy(bound(y) if callable(bound) else bound), np.float64)
    if information.shape not in ([(n, 1, 1), (n,)] if d == 1 else [(n, d, d)]):
        raise ValueError(
            f"the bound has the shape {information.shape}: Fisher information is asked, [{n}, {d}, {d}]"
            + (f" or [{n}]." if d == 1 else ".")
        )
    variance = np.diagonal(cramer_rao(information.reshape(n, d, d)), axis1=1, axis2=2)
    known = variance[~np.isnan(variance).any(1)]
    if not len(known):
        return np.full(d, np.nan)
    absolute = np.sqrt(2 / np.pi) * np.sqrt(known).mean(0)
    return np.where([each is None for each in period], np.sqrt(known.mean(0)), absolute)


def _note(y: Float[np.ndarray, " n"], runs: list[slice], no_spread: bool, shift: str) -> str:
    notes = []
    if np.ptp(y) == 0:
        notes.append("the variable never changes: there is nothing to decode")
    if shift == "groups" and np.median([run.stop - run.start for run in runs]) < SHORT:
        notes.append("groups are short: variables moved within them still agree with what every group has in common")
    if no_spread:
        notes.append("the decoder gives no uncertainty")
    return "; ".join(notes)
