"""Feature splitting: one latent of a small dictionary, several more special ones of a larger (Bricken et al., 2023)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE
from workbench.sae.metrics.labelled_rows import latent_matrix

# A part fires on at least this share of the rows of what was split, …
MIN_SHARE = 0.05
# … at least this share of its own rows are among them, …
MIN_WITHIN = 0.5
# … and it points much the same way: what merely comes along with a feature is no part of it.
MIN_COSINE = 0.5
CHUNK_ROWS = 256


@torch.no_grad()
def splitting(
    small: SAE,
    large: SAE,
    batches: Iterable[Float[Tensor, "_ d"]],
    *,
    min_share: float = MIN_SHARE,
    min_within: float = MIN_WITHIN,
    min_cosine: float = MIN_COSINE,
) -> pd.DataFrame:
    """What has become of each latent in a larger dictionary of the same activations.

    Args:
        small, large: two dictionaries that read the same rows.
        batches: the rows.
        min_share, min_within, min_cosine: what a part must have at least, see below.

    Returns:
        One line for each living latent of `small` and its neighbours in `large`, which are all with a decoder cosine
        of at least `min_cosine`, and its nearest in any case: `latent`, `neighbour`, `cosine`, `rows` (of the latent),
        `p_neighbour_given_latent`, `p_latent_given_neighbour`, and whether the neighbour is a `part` of the latent:
        cosine ≥ `min_cosine`, the first probability ≥ `min_share`, the second ≥ `min_within`. A latent that was kept
        has one part, itself; one that was split has several.

    Raises:
        ValueError: no rows, different widths, or no latent of `small` fires.
    """
    widths = small.W_dec.shape[1], large.W_dec.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(f"the dictionaries are of different activations: of width {widths[0]} and {widths[1]}.")
    cosine = _neighbours(small.W_dec, large.W_dec, min_cosine)
    candidates = sp.csr_matrix((np.ones_like(cosine.data), cosine.indices, cosine.indptr), cosine.shape)
    together = sp.csr_matrix(cosine.shape)
    fired = np.zeros(small.cfg.d_sae), np.zeros(large.cfg.d_sae)
    rows = 0
    for batch in batches:
        active = [latent_matrix(sae, batch).astype(bool).astype(np.float64) for sae in (small, large)]
        together = together + (active[0].T @ active[1]).multiply(candidates)
        for count, matrix in zip(fired, active, strict=True):
            count += np.asarray(matrix.sum(0)).ravel()
        rows += batch.shape[0]
    if rows == 0:
        raise ValueError("there are no rows to compare these dictionaries on.")
    if not fired[0].any():
        raise ValueError(f"none of the {small.cfg.d_sae} latents of the small dictionary fires: all are dead.")

    pairs = cosine.tocoo()
    living = fired[0][pairs.row] > 0
    latent, neighbour, alike = pairs.row[living], pairs.col[living], pairs.data[living]
    both = np.asarray(together.tocsr()[latent, neighbour]).ravel()
    table = pd.DataFrame(
        {
            "latent": latent,
            "neighbour": neighbour,
            "cosine": alike,
            "rows": fired[0][latent].astype(np.int64),
            "p_neighbour_given_latent": both / fired[0][latent],
            "p_latent_given_neighbour": both / np.maximum(fired[1][neighbour], 1),
        }
    )
    table["part"] = (
        (table["cosine"] >= min_cosine)
        & (table["p_neighbour_given_latent"] >= min_share)
        & (table["p_latent_given_neighbour"] >= min_within)
    )
    return table.sort_values(["latent", "cosine"], ascending=[True, False], ignore_index=True)


def splitting_summary(table: pd.DataFrame) -> dict[str, float]:
    """Of a table that `splitting` made: `latents` (living), and of these the shares `split` (two parts or more),
    `kept` (one) and `lost` (none); `parts`, how many a latent has on average."""
    parts = table.groupby("latent")["part"].sum()
    return {
        "latents": float(len(parts)),
        "split": float((parts >= 2).mean()),
        "kept": float((parts == 1).mean()),
        "lost": float((parts == 0).mean()),
        "parts": float(parts.mean()),
    }


def _neighbours(small: Float[Tensor, "s d"], large: Float[Tensor, "l d"], min_cosine: float) -> sp.csr_matrix:
    """Decoder cosines of at least `min_cosine`, and the largest of each row; nothing is stored for the others."""
    large = F.normalize(large.detach().cpu().double(), dim=1)
    chunks = []
    for rows in small.detach().cpu().double().split(CHUNK_ROWS):
        cosine = F.normalize(rows, dim=1) @ large.T
        near = cosine >= min_cosine
        near[torch.arange(len(rows)), cosine.argmax(1)] = True
        at = near.nonzero().T.numpy()
        chunks.append(sp.csr_matrix((cosine[near].numpy(), at), shape=tuple(cosine.shape)))
    return sp.vstack(chunks, format="csr")
