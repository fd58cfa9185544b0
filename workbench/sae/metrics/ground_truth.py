"""A dictionary marked against the features that were planted: are its directions theirs, and does it fire with them?"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.sae.base import SAE
from workbench.sae.codes import Codes
from workbench.sae.metrics.similarity import Matching, match_directions, mcc, mmcs

# Called for a fresh pass over rows and the true code of each.
TrueBatches = Callable[[], Iterable[tuple[Float[Tensor, "_ d"], Float[Tensor, "_ true"]]]]


class MatchedScores:
    """Precision, recall and F1 of each matched latent as a detector of its true feature, fed batch by batch.

    A latent detects where it is active, a feature holds where its true code is not 0. The matching should be the
    signed one: a latent that points the other way fires where its feature is absent.
    """

    def __init__(self, matching: Matching) -> None:
        self.matching = matching
        self.found, self.true = torch.from_numpy(matching.found), torch.from_numpy(matching.true)
        self.hits, self.fired, self.positives = (torch.zeros(len(self.found), dtype=torch.int64) for _ in range(3))

    def update(self, codes: Codes, true_codes: Float[Tensor, "n true"], d_sae: int) -> None:
        """Take one batch into account: what the dictionary of `d_sae` latents says, and what is so."""
        fires = (codes.to_dense(d_sae) > 0).cpu()[:, self.found]
        holds = (true_codes != 0).cpu()[:, self.true]
        self.hits += (fires & holds).sum(0)
        self.fired += fires.sum(0)
        self.positives += holds.sum(0)

    def table(self) -> pd.DataFrame:
        """One line a pair: `latent`, `feature`, `cosine`, `precision`, `recall`, `f1`, `positives`.

        A latent that never fires has a precision of 0. A feature that never held is no test of its latent: its
        scores are NaN.
        """
        hits, fired, positives = (c.numpy().astype(np.float64) for c in (self.hits, self.fired, self.positives))
        held = positives > 0
        return pd.DataFrame(
            {
                "latent": self.matching.found,
                "feature": self.matching.true,
                "cosine": self.matching.cosine,
                "precision": np.where(held, hits / np.maximum(fired, 1), np.nan),
                "recall": np.where(held, hits / np.maximum(positives, 1), np.nan),
                "f1": np.where(held, 2 * hits / np.maximum(fired + positives, 1), np.nan),
                "positives": self.positives.numpy(),
            }
        )

    def result(self) -> dict[str, float]:
        """Means over the pairs whose feature held at least once, and the median of F1."""
        table = self.table()
        means = {f"feature_{name}": float(table[name].mean()) for name in ("precision", "recall", "f1")}
        return means | {"feature_f1_median": float(table["f1"].median())}


@torch.no_grad()
def ground_truth(sae: SAE, true_directions: Float[Tensor, "true d"], batches: TrueBatches) -> dict[str, float]:
    """Everything that can be said of a dictionary whose true features are known.

    Args:
        sae: the dictionary.
        true_directions: one row a feature, of any length but zero.
        batches: called twice for a pass over (x, true codes): to see which latents live, and to score them.

    Returns:
        The numbers of `mmcs` and `mcc` over living latents; `feature_precision`, `feature_recall`, `feature_f1` and
        `feature_f1_median` over the signed matching; `alive`, how many latents live.

    Raises:
        ValueError: there are no rows, no latent fires, or the shapes do not fit.
    """
    alive = living(sae, (x for x, _ in batches()))
    found = sae.W_dec
    scores = match_and_score(sae, match_directions(found, true_directions, alive), batches())
    numbers = mmcs(found, true_directions, alive) | mcc(found, true_directions, alive)
    return numbers | scores.result() | {"alive": float(alive.sum())}


@torch.no_grad()
def living(sae: SAE, batches: Iterable[Float[Tensor, "_ d"]]) -> Tensor:
    """Which latents fire at least once, Boolean [d_sae]; `ValueError` where there are no rows, or none fires."""
    counts = torch.zeros(sae.cfg.d_sae, dtype=torch.float64)
    rows = 0
    for x in batches:
        counts += sae.encode_sparse(x).fire_counts(sae.cfg.d_sae).cpu()
        rows += len(x)
    if rows == 0:
        raise ValueError("there are no rows to measure this SAE on.")
    if not counts.any():
        raise ValueError(f"none of the {sae.cfg.d_sae} latents fires on any of the {rows} rows: all are dead.")
    return counts > 0


def match_and_score(
    sae: SAE, matching: Matching, batches: Iterable[tuple[Float[Tensor, "_ d"], Float[Tensor, "_ true"]]]
) -> MatchedScores:
    """`MatchedScores` of one dictionary over all batches."""
    scores = MatchedScores(matching)
    for x, true_codes in batches:
        scores.update(sae.encode_sparse(x), true_codes, sae.cfg.d_sae)
    return scores
