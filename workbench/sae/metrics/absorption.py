"""Absorption: a latent that falls silent where a rarer latent has taken its direction over.

Chanin et al., "A is for Absorption" (arXiv 2409.14507): with a child that never comes without its parent, it is
sparser to let one latent say both than to let two fire. They know the parent's direction from a probe and its latents
from k-sparse probing, and look among all latents for the one that stands in. With planted features the truth is
known instead: direction, activations and hierarchy are given, the latents of parent and child are those matched to
them, and only rows where both are active are asked, since nowhere else could a child's latent take over.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.sae.base import SAE
from workbench.sae.metrics.ground_truth import TrueBatches, living
from workbench.sae.metrics.similarity import match_directions

# As in the paper: of the parent's part in x, the latent that stands in must bring at least this much.
MIN_SHARE = 0.4


@torch.no_grad()
def absorption_by_pair(
    sae: SAE,
    true_directions: Float[Tensor, "true d"],
    parents: Int[np.ndarray, " _"],
    batches: TrueBatches,
    *,
    min_share: float = MIN_SHARE,
) -> pd.DataFrame:
    """How often each child's latent stands in for its parent's.

    A row with both features active is absorbed where the parent's latent is silent and the child's is not, and what
    the child's latent adds to x̂ along the parent's direction is positive and at least `min_share` of what the parent
    adds to x. With a `min_share` of 0 any overlap counts, of which random directions have some half of the time.

    Args:
        sae: the dictionary.
        true_directions: one row a feature.
        parents: the parent of each feature, −1 where it has none.
        batches: called twice for a pass over (x, true codes), as `ground_truth` does; true codes are not negative.
        min_share: of the parent's own part.

    Returns:
        One line for each feature that has a parent: `parent`, `child`, `parent_latent`, `child_latent` (−1: none is
        left for it), `parent_cosine`, `child_cosine`, `rows` (both active), `absorption` (the absorbed share of
        them), `parent_silent` (the share where the parent's latent is silent, whoever stands in) and
        `parent_recall_alone` (how often it fires where the parent is active and the child is not: absorption is an
        exception only where this is high). NaN where there are no such rows.

    Raises:
        ValueError: no feature has a parent, a parent that is not there, no rows, or an all-dead dictionary.
    """
    children = np.flatnonzero(parents >= 0)
    if len(parents) != len(true_directions):
        raise ValueError(f"{len(parents)} parents do not belong to {len(true_directions)} features.")
    if len(children) == 0:
        raise ValueError("no feature has a parent: there is no hierarchy in which anything could be absorbed.")
    if parents.max() >= len(parents) or (parents[children] == children).any():
        raise ValueError("every parent must be the number of another feature, or -1 for none.")
    child, parent = torch.from_numpy(children), torch.from_numpy(parents[children])

    matching = match_directions(sae.W_dec, true_directions, living(sae, (x for x, _ in batches())))
    latent_of = torch.full((len(parents),), -1, dtype=torch.int64)
    latent_of[torch.from_numpy(matching.true)] = torch.from_numpy(matching.found)
    cosine_of = np.full(len(parents), np.nan)
    cosine_of[matching.true] = matching.cosine

    lengths = true_directions.norm(dim=1)[parent].cpu()
    direction = true_directions[parent].cpu() / lengths[:, None]
    child_latent, parent_latent = latent_of[child], latent_of[parent]
    along = torch.linalg.vecdot(sae.W_dec.detach().cpu()[child_latent], direction)
    counts = torch.zeros(5, len(children), dtype=torch.int64)
    for x, true_codes in batches():
        dense = sae.encode(x).cpu()
        true_codes = true_codes.cpu()
        on, together = true_codes[:, parent] > 0, true_codes[:, child] > 0
        both, alone = on & together, on & ~together
        fires = (dense[:, parent_latent] > 0) & (parent_latent >= 0)
        brings = torch.where(child_latent >= 0, dense[:, child_latent], 0) * along
        stands_in = (brings > 0) & (brings >= min_share * true_codes[:, parent] * lengths)
        counts += torch.stack(
            [part.sum(0) for part in (both, both & ~fires & stands_in, both & ~fires, alone, alone & fires)]
        )
    rows, absorbed, silent, alone_rows, alone_fires = counts.numpy()
    return pd.DataFrame(
        {
            "parent": parents[children],
            "child": children,
            "parent_latent": parent_latent.numpy(),
            "child_latent": child_latent.numpy(),
            "parent_cosine": cosine_of[parents[children]],
            "child_cosine": cosine_of[children],
            "rows": rows,
            "absorption": _share(absorbed, rows),
            "parent_silent": _share(silent, rows),
            "parent_recall_alone": _share(alone_fires, alone_rows),
        }
    )


def absorption(
    sae: SAE,
    true_directions: Float[Tensor, "true d"],
    parents: Int[np.ndarray, " _"],
    batches: TrueBatches,
    *,
    min_share: float = MIN_SHARE,
) -> dict[str, float]:
    """`absorption`, `parent_silent` and `parent_recall_alone` of `absorption_by_pair`, their means over pairs."""
    table = absorption_by_pair(sae, true_directions, parents, batches, min_share=min_share)
    return {name: float(table[name].mean()) for name in ("absorption", "parent_silent", "parent_recall_alone")}


def _share(part: Int[np.ndarray, " pairs"], whole: Int[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
