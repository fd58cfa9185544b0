"""Which features lie beside each other: by decoder direction, and by firing together."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.progress import progress
from workbench.features.building.collect import Codes

N_NEIGHBOURS = 10
BLOCK = 256


@torch.no_grad()
def decoder_neighbours(W_dec: Float[Tensor, "feature d"], n: int = N_NEIGHBOURS) -> pd.DataFrame:
    """The features whose decoder directions have the highest cosine with each feature's: feature, other, cosine."""
    unit = torch.nn.functional.normalize(W_dec.float(), dim=1)
    n = min(n, len(unit) - 1)
    values, others = [], []
    for start in range(0, len(unit), BLOCK):
        cosine = unit[start : start + BLOCK] @ unit.T
        cosine[torch.arange(len(cosine)), torch.arange(start, start + len(cosine))] = -torch.inf
        best = cosine.topk(n, dim=1)
        values.append(best.values)
        others.append(best.indices)
    return _table(torch.cat(others).numpy(), {"cosine": torch.cat(values).numpy()}, "decoder")


def coactive_features(codes: Codes, n: int = N_NEIGHBOURS) -> pd.DataFrame:
    """The features that fire together with each feature most: feature, other, jaccard, correlation.

    From the Gram matrix of the firings: `jaccard` is rows where both fire over rows where either does; `correlation`
    is Pearson's, of firing against not firing. Features are ranked by it; those never seen together are left out.
    """
    fires = sp.csc_array(
        (np.ones(len(codes.rows), np.float32), codes.rows, codes.indptr), shape=(codes.n_rows, codes.n_features)
    )
    by_row = fires.tocsr()
    count = np.diff(codes.indptr).astype(np.float64)
    n = min(n, codes.n_features - 1)
    tables = []
    for start in progress(range(0, codes.n_features, BLOCK), desc="co-active features", unit="block"):
        block = slice(start, min(start + BLOCK, codes.n_features))
        both = (fires[:, block].T @ by_row).toarray().astype(np.float64)
        both[np.arange(len(both)), np.arange(block.start, block.stop)] = 0
        ours = count[block, None]
        spread = np.sqrt(ours * (codes.n_rows - ours) * count * (codes.n_rows - count))
        correlation = np.where(both > 0, codes.n_rows * both - ours * count, -np.inf) / np.maximum(1.0, spread)
        others = np.argpartition(-correlation, n - 1, axis=1)[:, :n] if n else np.empty((len(both), 0), np.int64)
        order = np.argsort(-np.take_along_axis(correlation, others, 1), axis=1, kind="stable")
        others = np.take_along_axis(others, order, 1)
        jaccard = both / np.maximum(1, ours + count - both)
        scores = {
            name: np.take_along_axis(values, others, 1)
            for name, values in (("jaccard", jaccard), ("correlation", correlation))
        }
        tables.append(_table(others, scores, "coactive", start))
    table = pd.concat(tables, ignore_index=True)
    return table[table["jaccard"] > 0]


def _table(
    others: Int[np.ndarray, "feature n"], scores: dict[str, np.ndarray], kind: str, first: int = 0
) -> pd.DataFrame:
    n_features, n = others.shape
    feature = np.repeat(np.arange(first, first + n_features), n)
    columns = {name: values.ravel().astype(np.float32) for name, values in scores.items()}
    return pd.DataFrame({"feature": feature, "kind": kind, "other": others.ravel()} | columns).astype(
        {"feature": "int32", "other": "int32"}
    )
