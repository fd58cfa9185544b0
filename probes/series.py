"""What arrays over time have in common: stretches of bins that follow one another, variables that go round."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from probes.base import as_numpy, refuse_missing


def stretches(groups: Any, n: int) -> list[slice]:
    """The bins of each group in turn; all of them where there are no groups.

    Raises `ValueError` for groups of other bins, bins without a group, and groups whose bins do not stand together:
    time would jump in them.
    """
    if groups is None:
        return [slice(0, n)]
    groups = as_numpy(groups)
    if groups.shape != (n,):
        raise ValueError(f"X has {n} bins and groups the shape {groups.shape}: each bin needs its group.")
    refuse_missing(groups, "the group")
    starts = _starts(groups)
    labels = groups[starts].tolist()
    if len(set(labels)) < len(labels):
        seen: set[Any] = set()
        twice = next(label for label in labels if label in seen or seen.add(label))  # type: ignore[func-returns-value]
        raise ValueError(f"the bins of group {twice!r} do not stand together: sort them by group, then by time.")
    return [slice(int(a), int(b)) for a, b in zip(starts, [*starts[1:], n], strict=True)]


def stretch_numbers(
    rows: Int[np.ndarray, " n"], groups: Shaped[np.ndarray, " all"] | None = None
) -> Int[np.ndarray, " n"]:
    """Of chosen rows the number of the stretch, within which they follow one another in one group."""
    jumps = np.diff(rows) != 1
    if groups is not None:
        jumps |= groups[rows[1:]] != groups[rows[:-1]]
    return np.r_[0, np.cumsum(jumps)]


def periods_of(period: Any, d: int) -> tuple[float | None, ...]:
    """The period of each of d variables, from one for all or one for each. `ValueError` where they do not fit."""
    each = (period,) * d if period is None or np.ndim(period) == 0 else tuple(period)
    if len(each) != d:
        raise ValueError(f"period has {len(each)} entries for {d} variables: give one number, or one for each.")
    for value in each:
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"period is {value}: it must be above zero, or None for a variable that is not circular.")
    return tuple(None if value is None else float(value) for value in each)


def refuse_times_that_turn(times: Any, name: str = "times") -> Float[np.ndarray, " n"]:
    """Times in seconds as they are, in double precision.

    Raises `ValueError` for times that are not [n] numbers, not finite, below zero, or earlier than the one before.
    """
    given = as_numpy(times)
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise ValueError(f"{name} is {given.dtype} of shape {given.shape}: it must be seconds, one after another [n].")
    given = given.astype(np.float64)
    for wrong, what in (
        (~np.isfinite(given), "NaN or infinite"),
        (given < 0, "below zero: count seconds from the start of the recording"),
        (np.diff(given, prepend=given[:1]) < 0, "earlier than the one before: time runs backwards, sort by it"),
    ):
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(f"{name} {first} of {len(given):,}, {given[first]:g}, is {what}.")
    return given


def wrapped(x: Float[np.ndarray, "*shape"], low: float, period: float) -> Float[np.ndarray, "*shape"]:
    """The values of a circular variable within [low, low + period)."""
    found = low + np.mod(x - low, period)
    # The remainder of a tiny negative number rounds to the period itself.
    return np.where(found >= low + period, low, found)


def _starts(groups: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " run"]:
    return np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
