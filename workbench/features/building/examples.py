"""Which of a feature's firings are shown: the strongest, and a fair sample of the others."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from models.progress import progress
from workbench.features.building.collect import Codes, NearMisses

N_TOP = 20
N_BANDS = 5
PER_BAND = 6


def choose_examples(
    codes: Codes,
    near_misses: NearMisses,
    seq: Int[np.ndarray, " rows"],
    *,
    n_top: int = N_TOP,
    n_bands: int = N_BANDS,
    per_band: int = PER_BAND,
    seed: int = 0,
) -> pd.DataFrame:
    """Examples of every feature: feature, kind, band, rank, row, value; band is −1 where it means nothing.

    `top`: the strongest firing of each of the sequences with the strongest ones. `band`: sequences drawn at random
    from each of `n_bands` equal parts of the range from 0 to the maximum, of non-zero values only. `near_miss`: see
    `NearMisses`.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for feature in progress(range(codes.n_features), desc="choosing examples", unit="feature"):
        here = slice(codes.indptr[feature], codes.indptr[feature + 1])
        rows, values = codes.rows[here], codes.values[here]
        if not len(rows):
            continue
        rng = np.random.default_rng([seed, feature])
        top = _first_of_each(seq[rows], np.argsort(-values, kind="stable"), n_top)
        found.append(_block(feature, "top", -1, rows[top], values[top]))
        band_of = np.minimum(values * (n_bands / values.max()), n_bands - 1).astype(np.int64)
        shuffled = rng.permutation(len(rows))
        for band in range(n_bands):
            drawn = _first_of_each(seq[rows], shuffled[band_of[shuffled] == band], per_band)
            found.append(_block(feature, "band", band, rows[drawn], values[drawn]))
    columns = [np.concatenate(parts) for parts in zip(*found, strict=True)] if found else [np.empty(0)] * 6
    fired = pd.DataFrame(dict(zip(("feature", "kind", "band", "rank", "row", "value"), columns, strict=True)))
    return pd.concat([fired, _near_miss_table(near_misses)], ignore_index=True).astype(
        {"feature": "int32", "band": "int8", "rank": "int16", "row": "int32", "value": "float32"}
    )


def _first_of_each(
    seq: Int[np.ndarray, " firings"], order: Int[np.ndarray, " candidates"], n: int
) -> Int[np.ndarray, " chosen"]:
    """The first n of the candidates that lie in different sequences, in their order."""
    size = 4 * n
    while True:  # a few candidates nearly always hold n sequences
        _, first = np.unique(seq[order[:size]], return_index=True)
        if len(first) >= n or size >= len(order):
            return order[np.sort(first)[:n]]
        size *= 8


def _block(
    feature: int, kind: str, band: int, rows: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, ...]:
    n = len(rows)
    return (
        np.full(n, feature),
        np.full(n, kind, dtype=object),
        np.full(n, band),
        np.arange(n),
        rows,
        values,
    )


def _near_miss_table(near_misses: NearMisses) -> pd.DataFrame:
    rows, values = near_misses.ranked()
    n_features, n = rows.shape
    table = pd.DataFrame(
        {
            "feature": np.repeat(np.arange(n_features), n),
            "kind": "near_miss",
            "band": -1,
            "rank": np.tile(np.arange(n), n_features),
            "row": rows.ravel(),
            "value": values.ravel(),
        }
    )
    return table[table["row"] >= 0]
