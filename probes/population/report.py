"""`decoding_report`: how well a decoder reads each variable, beside what chance, the mean and the bound would give."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import norm
from torch import Tensor

from probes.base import Array, as_numpy
from probes.population.base import targets
from probes.population.held_out import LEVEL, METRICS, Judge, checked_splits, table_of
from probes.population.scores import errors, memory
from probes.rows import Rows
from probes.series import periods_of, stretches
from probes.tuning import cramer_rao
from probes.validation import blocked_splits

DECODER, SHUFFLED, MEAN = VARIANTS = ("decoder", "shuffled", "mean")
# A variable is moved along the recording by at least this share of its group.
LEAST_SHIFT = 0.1
SHIFTS = ("groups", "recording")
SHORT = 50
# With fewer memories of a variable in what it is moved along, chance agreement is larger than among the shuffles.
MEMORIES = 20

Information = Array | Callable[[np.ndarray], Array]


def decoding_report(
    decoder: Any,
    X: Any,
    y: Any,
    *,
    names: Sequence[str] | None = None,
    groups: Any = None,
    n_blocks: int = 5,
    gap: int = 0,
    by_group: bool = False,
    splits: Sequence[tuple[Any, Any]] | None = None,
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
        splits: the numbers of the rows to fit on and to hold out, in order, block by block, instead: no row is held
            out twice, and one decoder serves blocks whose rows to fit on are the same array.
        n_shuffles: how often the decoder is fitted to, and judged by, variables that were moved against the neurons,
            circularly by at least a tenth. Their courses in time are kept, and with them most of the chance agreement
            of two slow signals, which shuffled bins would hide. Not all of it: where a recording is but a few memories
            of the variable long, shifts are few and alike, and what drifts drifts in all of them (Harris, "Nonsense
            correlations in neuroscience", 2020). Among signals that have nothing to do with each other and a memory of
            a sixth of the recording about one in seven has a p-value below .05, of random walks one in four. A note
            says so; other sessions' variables are then the better null.
        shift: `groups`: within each. `recording`: along all bins, so that a group gets the variables of others, as
            is needed where groups are shorter than the variables' memory.
        bound: the Fisher information about y [bins, d, d] ([bins] of one variable), or a function that gives it for
            values of y. Its inverse, over the held-out bins, bounds the variance of estimates that have no bias and
            know one bin alone; a prior, or other bins, may tell more. Bins where it is NaN (nobody was near enough for
            a slope) or that tell nothing of a variable (so that nothing bounds its error) have no say in that one's.
        seed: of the shifts.

    Returns:
        A line for each variable and each of `decoder`, `shuffled` (means over the shuffles) and `mean` (of the fitted
        bins, told for all), with the columns `output`, `variant`; `r2`, `rho` and `error` with `_low` and `_high`;
        `measure`, what the error is: `rmse`, or of a circular variable, whose R² and ρ are circular too, `mean
        absolute`; `p_value`, how often a shuffle has as high an R² (the decoder counted among them); `coverage`, the
        share of bins within the decoder's own 95% interval; `bound`, what no unbiased decoder's error can be below;
        `bins`, `blocks`, `note`. Scores are of all held-out bins at once. Intervals (95%) are jackknifed over blocks,
        with Student's t, and NaN of one block; those of `shuffled` are over the shuffles.

    Raises:
        ValueError: lengths that differ, what is not finite, more blocks than there are, rows that are both fitted on
            and held out, a bound of another shape.
    """
    X = X if isinstance(X, np.ndarray | Tensor) else np.asarray(X)
    if X.ndim == 2:
        Rows(X).refuse_not_finite()  # here, where rows have the numbers that the caller knows
    if int(n_shuffles) != n_shuffles or n_shuffles < 0:
        raise ValueError(f"n_shuffles is {n_shuffles}: it is a whole number, not below zero.")
    values = targets(y, len(X))
    columns = values.reshape(len(values), -1)
    names = _names(names, columns.shape[1])
    groups = None if groups is None else as_numpy(groups)
    runs = stretches(groups, len(columns))
    period = periods_of(getattr(decoder, "period", None), columns.shape[1])
    if shift not in SHIFTS:
        raise ValueError(f"shift is {shift!r}: choose {' or '.join(SHIFTS)}.")
    given = splits is not None
    if splits is None:
        splits = list(blocked_splits(len(columns), n_blocks, gap=gap, groups=groups, by_group=by_group))
    splits = checked_splits(splits, len(columns))
    information = _information(bound, values)
    judge = Judge(decoder, X, groups, list(splits), values.ndim == 1, period)
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
    judged, lags = judge.judged, 0 if by_group or given else _lags(decoder) - gap
    own = pd.DataFrame({"measure": ["rmse" if each is None else "mean absolute" for each in period]})
    own["bound"], unbounded = _bound(information[judged], period)
    own["p_value"] = _p_values(tables[DECODER]["r2"].to_numpy(), by_chance)
    own["coverage"] = np.nan if std is None else _coverage(errors(columns[judged], told[judged], period), std[judged])
    own["note"] = [
        _note(column, each, runs, std is None, shift, n, lags)
        for column, each, n in zip(columns.T, period, unbounded.tolist(), strict=True)
    ]
    lines = []
    for j, name in enumerate(names):
        for variant in VARIANTS:
            line = {"output": name, "variant": variant, "measure": own["measure"][j]} | tables[variant].loc[j].to_dict()
            lines.append(line | (own.loc[j].to_dict() if variant == DECODER else {}))
    table = pd.DataFrame(lines).assign(bins=len(judged), blocks=len(splits))
    order = ["output", "variant", *(f"{m}{end}" for m in METRICS for end in ("", "_low", "_high"))]
    order += ["measure", "p_value", "coverage", "bound", "bins", "blocks", "note"]
    return table.reindex(columns=order).fillna({"note": ""})


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
        return table_of(nothing, nothing, nothing)
    tail = (1 - LEVEL) / 2
    return table_of(np.mean(found, axis=0), np.quantile(found, tail, axis=0), np.quantile(found, 1 - tail, axis=0))


def _p_values(seen: Float[np.ndarray, " d"], by_chance: list[np.ndarray]) -> Float[np.ndarray, " d"]:
    """With the decoder's own score among those of the shuffles (Phipson and Smyth, 2010)."""
    if not by_chance:
        return np.full(len(seen), np.nan)
    as_high = np.sum([scores[0] >= seen for scores in by_chance], axis=0)
    return np.where(np.isnan(seen), np.nan, (as_high + 1) / (len(by_chance) + 1))


def _coverage(missed: Float[np.ndarray, "n d"], std: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    return (np.abs(missed) <= norm.ppf((1 + LEVEL) / 2) * std).mean(0)


def _information(bound: Information | None, y: Float[np.ndarray, " bin *output"]) -> Float[np.ndarray, "bin d d"]:
    """Of every bin; NaN where none is given."""
    n, d = len(y), y.size // len(y)
    if bound is None:
        return np.full((n, d, d), np.nan)
    information = np.asarray(as_numpy(bound(y) if callable(bound) else bound), np.float64)
    if information.shape not in ([(n, 1, 1), (n,)] if d == 1 else [(n, d, d)]):
        raise ValueError(
            f"the bound has the shape {information.shape}: Fisher information is asked, [{n}, {d}, {d}]"
            + (f" or [{n}]." if d == 1 else ".")
        )
    return information.reshape(n, d, d)


def _bound(
    information: Float[np.ndarray, "n d d"], period: tuple[float | None, ...]
) -> tuple[Float[np.ndarray, " d"], Int[np.ndarray, " d"]]:
    """What errors of unbiased estimates cannot be below: of a normal error with the variance of the bound.

    And the number of bins of which nothing is told about each variable, whose variance has no bound.
    """
    variance = np.diagonal(cramer_rao(information), axis1=1, axis2=2)
    found = np.full(len(period), np.nan)
    for j, each in enumerate(period):
        known = variance[np.isfinite(variance[:, j]), j]
        if len(known):
            found[j] = np.sqrt(known.mean()) if each is None else np.sqrt(2 / np.pi) * np.sqrt(known).mean()
    return found, np.isinf(variance).sum(0)


def _note(
    y: Float[np.ndarray, " n"],
    period: float | None,
    runs: list[slice],
    no_spread: bool,
    shift: str,
    n_unbounded: int,
    lags: int,
) -> str:
    notes = []
    lengths = [run.stop - run.start for run in runs] if shift == "groups" else [len(y)]
    memories = np.median(lengths) / memory(y, period, runs)
    if np.ptp(y) == 0:
        notes.append("the variable never changes: there is nothing to decode")
    elif memories < MEMORIES:
        kind = "group" if shift == "groups" else "recording"
        notes.append(
            f"the variable is slow: a {kind} is {memories:.0f} of its memories long, and moved variables are too few "
            "different ones: p_value is too small"
        )
    if shift == "groups" and np.median(lengths) < SHORT:
        notes.append("groups are short: variables moved within them still agree with what every group has in common")
    if lags > 0:
        notes.append(f"held-out bins are read by lags of bins that were fitted on: widen the gap by {lags}")
    if no_spread:
        notes.append("the decoder gives no uncertainty")
    if n_unbounded:
        notes.append(f"the bound leaves out {n_unbounded} bins that tell nothing of the variable")
    return "; ".join(notes)


def _lags(decoder: Any) -> int:
    """How many bins away a decoder looks for what it says of one."""
    settings = decoder.get_params()
    return max(abs(int(settings.get(name, 0))) for name in ("before", "after", "lag", "ahead"))
