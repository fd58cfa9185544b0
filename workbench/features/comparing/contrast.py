"""`contrast`: which features tell two sets of recorded rows apart, judged on groups of rows that took no part in it.

A search through thousands of features always finds some that differ, so features are ranked on half of the documents,
judged on the other half, and the same is done with labels that are shuffled a stretch at a time.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from probes.detection import auroc
from probes.validation import split_by_group
from workbench.activations import ActivationStore
from workbench.features.index.feature_index import FeatureIndex

COLUMNS = ("feature", "first_rate", "second_rate", "difference", "auroc", "fit_auroc", "shuffled", "name")
N_SHUFFLES = 10
HELD_OUT = 0.5


@dataclass(frozen=True)
class Contrast:
    """Two sets of rows held against each other.

    Attributes:
        table: one row a feature that fires in either set, best where it was chosen first: feature, first_rate and
            second_rate (share of each set's held-out rows on which it fires), difference, auroc (held out: how often a
            row of the first set has more of it than one of the second, ties counting half), fit_auroc (where features
            are ranked), shuffled (its auroc, held out, with shuffled labels) and name.
        chance: for each shuffle the feature that came first where it was chosen, and its held-out auroc.
        groups: what was held out: `documents`, or `sequences` where a set is of one document.
        n_first, n_second: rows of each set that are judged.
    """

    table: pd.DataFrame
    chance: pd.DataFrame
    groups: str
    n_first: int
    n_second: int

    @property
    def bar(self) -> float:
        """How far from ½ the best feature's auroc lies by chance, in the worst of the shuffles."""
        return float((self.chance["auroc"] - 0.5).abs().max())


def contrast(
    index: FeatureIndex,
    first: Int[np.ndarray, " n"],
    second: Int[np.ndarray, " m"],
    *,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
) -> Contrast:
    """Hold two sets of rows against each other, feature by feature.

    Half of the documents choose, the other half judges. Where a set is of fewer than two documents, sequences are held
    out instead. Shuffled labels keep their stretches: documents' labels are put behind one another in another order,
    from another place on, so that rows that belong together still do.

    Args:
        index: the index whose features are asked.
        first, second: rows of the index, by number; no row is in both.
        n_shuffles: how often labels are shuffled.
        seed: of what is held out, and of the shuffles.

    Raises:
        ValueError: a set is empty, they share rows, a row is not there, or there is too little of either to hold
            anything out.
    """
    first, second = (np.unique(np.asarray(rows, dtype=np.int64)) for rows in (first, second))
    _check(index, first, second)
    rows = np.concatenate([first, second])
    labels = np.arange(len(rows)) < len(first)
    order = np.argsort(rows)
    rows, labels = rows[order], labels[order]
    kind, groups = _groups(index, rows, labels)
    fit, held_out = _halves(groups, labels, seed)
    codes, features = _codes(index, rows)
    ranked = _areas(codes[fit], labels[fit])
    judged = _areas(codes[held_out], labels[held_out])
    rng = np.random.default_rng(seed)
    chance, shuffled = [], np.full(len(features), np.nan)
    for draw in range(n_shuffles):
        mixed = _shuffled(labels, groups, rng)
        if _both(mixed[fit]) and _both(mixed[held_out]):
            chosen = int(np.abs(_areas(codes[fit], mixed[fit]) - 0.5).argmax())
            areas = _areas(codes[held_out], mixed[held_out])
            shuffled = areas if np.isnan(shuffled).all() else shuffled
            chance.append((draw, int(features[chosen]), float(areas[chosen])))
    if not chance:
        raise ValueError("the labels cannot be shuffled between what is fitted and what is held out: choose more rows.")
    fires, own = codes[held_out] > 0, labels[held_out]
    rates = [np.asarray(fires[which].mean(0)).ravel() for which in (own, ~own)]
    table = pd.DataFrame(
        {
            "feature": features,
            "first_rate": rates[0],
            "second_rate": rates[1],
            "difference": rates[0] - rates[1],
            "auroc": judged,
            "fit_auroc": ranked,
            "shuffled": shuffled,
            "name": index.table["name"].to_numpy()[features],
        }
    )
    best = np.argsort(-np.abs(ranked - 0.5), kind="stable")
    return Contrast(
        table.iloc[best].reset_index(drop=True)[list(COLUMNS)],
        pd.DataFrame(chance, columns=["draw", "feature", "auroc"]),
        kind,
        int(own.sum()),
        int((~own).sum()),
    )


def beside_shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Each feature's AUROC where features are chosen, and held out with its labels and with shuffled ones.

    Args:
        table: of a `Contrast`.

    Returns:
        Columns `feature`, `fit_auroc`, `auroc` and `of`: `features`, or `shuffled labels`.
    """
    own = table[["feature", "fit_auroc", "auroc"]].assign(of="features")
    shuffled = table[["feature", "fit_auroc"]].assign(auroc=table["shuffled"], of="shuffled labels")
    return pd.concat([own, shuffled.dropna()], ignore_index=True)


def rows_where(
    index: FeatureIndex, store: ActivationStore, first: str, second: str = ""
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """The rows for which a query to the recording's labels is true, and those for which another is.

    Args:
        index: an index of the recording.
        store: the recording, by the rows of the index's hook.
        first, second: queries, as `ActivationStore.where` takes them: read, never evaluated. Without a second one it
            is all other rows.

    Raises:
        ValueError: a query cannot be read or answered, or the recording is not the index's.
    """
    store = store.on(store.axis_of(index.hook_name))
    if len(store) != index.n_rows:
        raise ValueError(
            f"the recording has {len(store):,} rows and the index {index.n_rows:,}: give the one it was made from."
        )
    chosen = store.where(first)
    if second.strip():
        return chosen, store.where(second)
    others = np.ones(index.n_rows, bool)
    others[chosen] = False
    return chosen, np.flatnonzero(others)


def _check(index: FeatureIndex, first: np.ndarray, second: np.ndarray) -> None:
    for words, rows in (("first", first), ("second", second)):
        if not len(rows):
            raise ValueError(f"the {words} set of rows is empty: loosen what it asks for.")
        if rows[0] < 0 or rows[-1] >= index.n_rows:
            raise ValueError(
                f"the {words} set names a row that is not there: they are numbered 0 to {index.n_rows - 1}."
            )
    if shared := len(np.intersect1d(first, second, assume_unique=True)):
        raise ValueError(f"{shared:,} rows are in both sets: choose two sets that share none.")


def _groups(index: FeatureIndex, rows: np.ndarray, labels: np.ndarray) -> tuple[str, Int[np.ndarray, " n"]]:
    for kind, column in (("documents", "doc"), ("sequences", "seq")):
        groups = index.rows[column][rows]
        if min(len(np.unique(groups[labels])), len(np.unique(groups[~labels]))) >= 2:
            return kind, groups
    raise ValueError("a set is of one sequence alone: nothing of it can be held out. Choose rows of two or more.")


def _halves(groups: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A split by groups that leaves rows of both sets on either side."""
    for attempt in range(20):
        fit, held_out = split_by_group(groups, held_out_share=HELD_OUT, seed=seed + 1000 * attempt)
        if _both(labels[fit]) and _both(labels[held_out]):
            return fit, held_out
    raise ValueError("no split leaves rows of both sets on either side: choose rows of more documents.")


def _both(labels: Bool[np.ndarray, " n"]) -> bool:
    return bool(labels.any() and not labels.all())


def _codes(index: FeatureIndex, rows: np.ndarray) -> tuple[sp.csr_array, Int[np.ndarray, " live"]]:
    """The values [row, feature] of the features that fire at any of these rows, and which these are."""
    place = np.full(index.n_rows, -1, np.int64)
    place[rows] = np.arange(len(rows))
    where, values, indptr, live = [], [], [0], []
    for feature in range(index.n_features):
        fires, found = index.values(feature)
        at = place[fires]
        if not (at >= 0).any():
            continue
        where.append(at[at >= 0])
        values.append(found[at >= 0])
        indptr.append(indptr[-1] + len(where[-1]))
        live.append(feature)
    if not live:
        raise ValueError("no feature fires on any of these rows.")
    parts = (np.concatenate(values), np.concatenate(where), np.array(indptr))
    return sp.csc_array(parts, shape=(len(rows), len(live))).tocsr(), np.array(live)


def _areas(codes: sp.csr_array, labels: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " features"]:
    return auroc(codes.tocsc(), labels[:, None])[:, 0]


def _shuffled(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """The labels of whole groups in another order, begun at another place: stretches of one label stay stretches."""
    found, at = np.unique(groups, return_inverse=True)
    turn = np.argsort(rng.permutation(len(found))[at], kind="stable")
    mixed = np.empty_like(labels)
    mixed[np.argsort(at, kind="stable")] = np.roll(labels[turn], int(rng.integers(len(labels))))
    return mixed
