"""Which features of other dictionaries are a feature's siblings: by decoder direction, and by firing where it fires.

A width splits, or joins, what another keeps whole (feature splitting; Bricken et al. 2023, transformer-circuits.pub).
Of many directions some are always near: beside each cosine stands what a random direction reaches in the same
dictionary.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.features.index.feature_index import FeatureIndex

N_RANDOM = 256  # directions that the control's quantile is taken over
QUANTILE = 0.95
BLOCK = 512
COLUMNS = ("dictionary", "width", "feature", "cosine", "random", "correlation", "name")


@dataclass(frozen=True)
class Other:
    """Another dictionary of the same hook.

    Attributes:
        name: what it is called.
        W_dec: its decoder directions.
        index: its index; None where it has none.
    """

    name: str
    W_dec: Float[Tensor, "feature d"]
    index: FeatureIndex | None = None


def siblings(
    direction: Float[Tensor, " d"],
    others: list[Other],
    own: FeatureIndex | None = None,
    feature: int | None = None,
    *,
    n: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """The features of other dictionaries whose decoder directions are nearest to a feature's.

    Args:
        direction: the feature's own decoder direction.
        others: the dictionaries that are looked through; those of another width of rows are left out.
        own: the feature's index: with it, and `feature`, codes are compared where both indexes are of the same rows.
        feature: its number there.
        n: how many of each dictionary.
        seed: of the random directions.

    Returns:
        Columns dictionary, width (its number of features), feature, cosine, random (the largest cosine that a random
        direction reaches there, in the 95th of a hundred), correlation (Pearson's, of the two features' values over all
        recorded rows; NaN where the rows are not the same) and name.
    """
    tables = [pd.DataFrame(columns=list(COLUMNS)).astype({"width": "int64", "feature": "int64"})]
    for other in others:
        if other.W_dec.shape[1] != len(direction) or not len(other.W_dec):
            continue
        unit = _unit(other.W_dec)
        cosine, found = (unit @ _unit(direction[None])[0]).topk(min(n, len(unit)))
        table = pd.DataFrame({"feature": found.numpy(), "cosine": cosine.double().numpy()})
        table.insert(0, "dictionary", other.name)
        table.insert(1, "width", len(unit))
        table["random"] = reached_by_chance(other.W_dec, seed=seed)
        known = other.index
        together = known is not None and own is not None and feature is not None and same_rows(own, known)
        table["correlation"] = [
            correlation(own, feature, known, int(f)) if together else np.nan  # type: ignore[arg-type]
            for f in table["feature"]
        ]
        table["name"] = known.table["name"].to_numpy()[table["feature"]] if known is not None else ""
        tables.append(table[list(COLUMNS)])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def partners(W_dec: Float[Tensor, "feature d"], other: Float[Tensor, "other _"], *, seed: int = 0) -> pd.DataFrame:
    """For each feature of a dictionary the nearest of another: feature, other, cosine, random, mutual.

    `random` is its largest cosine with as many random directions as the other dictionary has: what is no nearer than
    the 95th of a hundred of these has found no partner. `mutual`: each is the other's nearest.

    Raises `ValueError` where rows are not of one width, or a dictionary is empty.
    """
    if W_dec.shape[1] != other.shape[1]:
        raise ValueError(
            f"directions of width {W_dec.shape[1]} cannot be compared with others of {other.shape[1]}: choose two "
            "dictionaries of one hook."
        )
    if not len(W_dec) or not len(other):
        raise ValueError("one of the dictionaries has no features: there is nothing to compare.")
    cosine, nearest = _nearest(W_dec, other)
    _, back = _nearest(other, W_dec)
    chance, _ = _nearest(W_dec, _random(len(other), other.shape[1], seed))
    feature = np.arange(len(W_dec))
    return pd.DataFrame(
        {
            "feature": feature,
            "other": nearest,
            "cosine": cosine,
            "random": chance,
            "mutual": back[nearest] == feature,
        }
    )


def found_partner(pairs: pd.DataFrame, features: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Which rows of `partners` are nearer than chance, and the cosine from which on they are.

    Args:
        pairs: as `partners` gives them.
        features: over which chance is taken; all by default, dead ones best left out.
    """
    chosen = pairs if features is None else pairs[pairs["feature"].isin(features)]
    bar = float(np.quantile(chosen["random"], QUANTILE)) if len(chosen) else 1.0
    return (pairs["cosine"] > bar).to_numpy(), bar


def reached_by_chance(W_dec: Float[Tensor, "feature d"], *, seed: int = 0) -> float:
    """The largest cosine with any feature that a random direction reaches, in the 95th of a hundred."""
    found, _ = _nearest(_random(N_RANDOM, W_dec.shape[1], seed), W_dec)
    return float(np.quantile(found, QUANTILE))


def same_rows(a: FeatureIndex, b: FeatureIndex) -> bool:
    """Whether two indexes are of the same recorded rows, one by one."""
    if a.n_rows != b.n_rows:
        return False
    return all(np.array_equal(a.rows[name], b.rows[name]) for name in ("seq", "pos", "token"))


def correlation(a: FeatureIndex, feature: int, b: FeatureIndex, other: int) -> float:
    """Pearson's correlation of two features' values over all rows, which are the same; NaN where one never fires."""
    (rows_a, f), (rows_b, g) = a.values(feature), b.values(other)
    f, g, n = f.astype(np.float64), g.astype(np.float64), a.n_rows
    _, at_a, at_b = np.intersect1d(rows_a, rows_b, assume_unique=True, return_indices=True)
    spread = np.sqrt((n * (f**2).sum() - f.sum() ** 2) * (n * (g**2).sum() - g.sum() ** 2))
    return float((n * (f[at_a] * g[at_b]).sum() - f.sum() * g.sum()) / spread) if spread > 0 else float("nan")


def overlap(a: FeatureIndex, feature: int, b: FeatureIndex, other: int) -> dict[str, float]:
    """How far two features fire at the same rows: both, either, jaccard, and what two that know nothing of each other
    and fire as often have (chance)."""
    (rows_a, _), (rows_b, _) = a.values(feature), b.values(other)
    both = len(np.intersect1d(rows_a, rows_b, assume_unique=True))
    either = len(rows_a) + len(rows_b) - both
    p, q = len(rows_a) / a.n_rows, len(rows_b) / a.n_rows
    apart = p + q - p * q
    return {
        "both": both,
        "either": either,
        "jaccard": both / either if either else float("nan"),
        "chance": p * q / apart if apart else float("nan"),
        "correlation": correlation(a, feature, b, other),
    }


def _nearest(W: Tensor, other: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each row its largest cosine with a row of another matrix, and which."""
    unit = _unit(other)
    best = [(block @ unit.T).max(1) for block in _unit(W).split(BLOCK)]
    return (
        torch.cat([found.values for found in best]).double().numpy(),
        torch.cat([found.indices for found in best]).numpy(),
    )


def _unit(W: Tensor) -> Tensor:
    return torch.nn.functional.normalize(W.detach().float().cpu(), dim=1)


def _random(n: int, d: int, seed: int) -> Tensor:
    # Not torch's own draw: with the same seed that is where an untrained dictionary's directions come from.
    return torch.from_numpy(np.random.default_rng([seed, n, d]).standard_normal((n, d)))
