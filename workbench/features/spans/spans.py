"""`matching_spans`: where else the units are on together that are on throughout a stretch of text.

LSTMVis (Strobelt et al. 2018, arXiv 1606.07461, section 4): select a range of words, and the units above a threshold
throughout it are a hypothesis; the ranges elsewhere that share most of them put it to the test. Here any columns will
do (states, gates, neurons, codes of a dictionary), and what random sets of units find stands beside.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from models.checked_input import whole_number
from workbench.features.spans.bounds import Bounds
from workbench.features.spans.sources import SpanSource

LEAST = 0.5  # of the active set that another span shares
N_RANDOM = 10
# A column of a random set is one of so many whose density is nearest.
_ALIKE = 8
_SPAN = ["row", "length", "shared"]


def active_set(
    values: Float[np.ndarray, "pos unit"],
    start: int,
    stop: int,
    bounds: Bounds,
    *,
    off_before: bool = False,
    off_after: bool = False,
) -> Int[np.ndarray, " active"]:
    """The columns of some bounds that are on throughout a span, ascending.

    Args:
        values: of one sequence.
        start: the span's first position.
        stop: the position behind its last.
        bounds: when a column is on.
        off_before: leave out those that are on just before the span too.
        off_after: leave out those that are on just behind it too.

    Raises:
        ValueError: the span is empty or not within the sequence.
    """
    if not 0 <= start < stop <= len(values):
        raise ValueError(
            f"the span {start} to {stop} does not lie in a sequence of {len(values)} positions: "
            "it begins at 0 or later and stops behind its last position."
        )
    lit = bounds.on(values)
    active = lit[start:stop].all(0)
    if off_before and start:
        active &= ~lit[start - 1]
    if off_after and stop < len(lit):
        active &= ~lit[stop]
    return np.flatnonzero(active)


def matching_spans(
    source: SpanSource,
    bounds: Bounds,
    active: Int[np.ndarray, " active"],
    length: int,
    *,
    least: float = LEAST,
    leave_out: tuple[int, int, int] | None = None,
) -> pd.DataFrame:
    """The spans of a recording that share an active set.

    Every stretch of `length` positions or more is one throughout which the same of the set's columns are on, at least
    the share `least` of them; it reaches as far as they do. Of those that overlap, the one that shares more is kept,
    then the longer. Memory holds a block of sequences, and what was found.

    Args:
        source: the recording, or the codes of an index.
        bounds: when a column is on.
        active: the columns, as `active_set` gives them.
        length: the shortest span.
        least: the smallest share of the set.
        leave_out: a span (sequence, start, stop) whose overlaps are no matches: the one that was asked about.

    Returns:
        A row a span, those with the largest Jaccard index first: `sequence`, `doc` (its name), `start`, `stop` (in
        positions), `shared` (how many columns of the set are on throughout), `on` (how many of all columns are),
        `jaccard` (of the two sets), `row` (of the recording) and `length`.

    Raises:
        ValueError: the set is empty or not of these columns, or a length or share is out of range.
    """
    _check(bounds, active, length, least)
    found = _found(source, bounds, [active], length, least)[0]
    row = found["row"].to_numpy()
    found["sequence"] = source.seq[row].astype(np.int64)
    found["doc"] = source.doc_names[source.doc[row]]
    found["start"] = source.pos[row].astype(np.int64)
    found["stop"] = found["start"] + found["length"]
    if leave_out is not None:
        sequence, start, stop = leave_out
        is_it = (found["sequence"] == sequence) & (found["start"] < stop) & (found["stop"] > start)
        found = found[~is_it]
    found["on"] = source.held(bounds, found["row"].to_numpy(), found["length"].to_numpy())
    found["jaccard"] = found["shared"] / (len(active) + found["on"] - found["shared"])
    found = found.sort_values(["jaccard", "shared", "row"], ascending=[False, False, True], ignore_index=True)
    return found[["sequence", "doc", "start", "stop", "shared", "on", "jaccard", "row", "length"]]


def random_spans(
    source: SpanSource,
    bounds: Bounds,
    active: Int[np.ndarray, " active"],
    length: int,
    *,
    least: float = LEAST,
    n_random: int = N_RANDOM,
    seed: int = 0,
) -> pd.DataFrame:
    """The control: what the same search finds for random sets of as many columns, each about as often on.

    Each column stands for one of the set, and is drawn from the eight outside it that are on most nearly as often.

    Returns:
        A row a span: `draw` (the number of the random set), `row`, `length` and `shared`. A set that finds nothing has
        no row.

    Raises:
        ValueError: as `matching_spans`; or the set is more than half of the columns, so that there is none beside it.
    """
    _check(bounds, active, length, least)
    whole_number(n_random, "n_random", least=1)
    others = np.setdiff1d(np.arange(len(bounds)), active)
    if len(others) < len(active):
        raise ValueError(
            f"{len(active)} of {len(bounds)} columns are on: there are not as many others to draw a control from, "
            "so the threshold should be higher."
        )
    density = source.density(bounds)
    rng = np.random.default_rng(seed)
    drawn = [_alike(density, active, others, rng) for _ in range(n_random)]
    tables = [found.assign(draw=draw) for draw, found in enumerate(_found(source, bounds, drawn, length, least))]
    return pd.concat(tables, ignore_index=True)[["draw", *_SPAN]]


def _check(bounds: Bounds, active: np.ndarray, length: int, least: float) -> None:
    whole_number(length, "length", least=1)
    if not 0 < least <= 1:
        raise ValueError(f"least is {least}, but a share of the active set lies above 0 and is at most 1.")
    if not len(active):
        raise ValueError("no unit is beyond the threshold throughout the span: lower it, or take a shorter span.")
    if active.min() < 0 or active.max() >= len(bounds):
        raise ValueError(f"the active set names columns that there are not: they are numbered 0 to {len(bounds) - 1}.")


def _alike(density: np.ndarray, active: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each column of a set another that is about as often on, none twice."""
    left, drawn = others.copy(), []
    for column in rng.permutation(active):
        near = np.argsort(np.abs(density[left] - density[column]), kind="stable")[:_ALIKE]
        at = int(rng.choice(near))
        drawn.append(left[at])
        left = np.delete(left, at)
    return np.array(drawn)


def _found(
    source: SpanSource, bounds: Bounds, sets: Sequence[np.ndarray], length: int, least: float
) -> list[pd.DataFrame]:
    """For each set of columns, the spans that share it, from one pass over the recording."""
    wanted, place = np.unique(np.concatenate(sets), return_inverse=True)
    places = np.split(place, np.cumsum([len(one) for one in sets])[:-1])
    starts_anew = np.concatenate([[True], (np.diff(source.seq) != 0) | (np.diff(source.pos) != 1)])
    piece = np.cumsum(starts_anew)
    tables: list[list[pd.DataFrame]] = [[] for _ in sets]
    for first, lit in source.blocks(bounds, wanted):
        of = piece[first : first + len(lit)]
        for one, mine in zip(tables, places, strict=True):
            one.append(_in_block(lit[:, mine], of, length, least).assign(row=lambda t, at=first: t["row"] + at))
    return [pd.concat(one, ignore_index=True) for one in tables]


def _in_block(
    lit: Bool[np.ndarray, "row active"], piece: Int[np.ndarray, " row"], length: int, least: float
) -> pd.DataFrame:
    """The spans of one block that share a set, none of which overlap."""
    n = len(lit) - length + 1
    if n < 1:
        return pd.DataFrame({name: np.empty(0, np.int64) for name in _SPAN})
    # How often each column was on before a row: on throughout a stretch if that grows by as much as it is long.
    so_far = np.concatenate([np.zeros((1, lit.shape[1]), np.int32), lit.cumsum(0, dtype=np.int32)])
    held = so_far[length:] - so_far[:-length] == length
    shared = held.sum(1)
    enough = (shared >= np.ceil(least * lit.shape[1] - 1e-9)) & (piece[:n] == piece[length - 1 :])
    if n > 1:
        goes_on = enough[1:] & enough[:-1] & (held[1:] == held[:-1]).all(1) & (piece[1:n] == piece[: n - 1])
    else:
        goes_on = np.empty(0, bool)
    begins = np.flatnonzero(enough & ~np.concatenate([[False], goes_on]))
    ends = np.flatnonzero(enough & ~np.concatenate([goes_on, [False]]))
    kept = _apart(begins, ends + length, shared[begins], len(lit))
    return pd.DataFrame({"row": begins[kept], "length": (ends - begins)[kept] + length, "shared": shared[begins][kept]})


def _apart(
    start: Int[np.ndarray, " n"], stop: Int[np.ndarray, " n"], shared: Shaped[np.ndarray, " n"], n_rows: int
) -> Int[np.ndarray, " kept"]:
    """Of spans that overlap the one that shares more, then the longer, then the earlier; ascending."""
    taken, kept = np.zeros(n_rows, bool), []
    for i in _best_first(start, stop, shared):
        if not taken[start[i] : stop[i]].any():
            taken[start[i] : stop[i]] = True
            kept.append(i)
    return np.sort(np.array(kept, np.int64))


def _best_first(start: np.ndarray, stop: np.ndarray, shared: np.ndarray) -> Iterator[int]:
    return iter(np.lexsort((start, start - stop, -shared)).tolist())
