"""`feature_map`: a dictionary's decoder directions laid out in the plane, beside as many random ones.

t-SNE (van der Maaten and Hinton 2008, jmlr.org/papers/v9/vandermaaten08a.html) keeps near directions near and says
little of far ones. It finds islands in noise too, so random directions are laid out the same way, and of both it is
counted how many of each direction's nearest ones are still its nearest in the map.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from models.artifacts import ArtifactError, Manifest
from models.table_files import read_table

VERB, RESULT = "index --map", "map.parquet"
COLUMNS = ("variant", "feature", "x", "y", "kept")
DICTIONARY, RANDOM = "dictionary", "random directions"
LEAST = 8  # fewer directions are a list, and no map
PERPLEXITY = 30.0
COMPONENTS = 50  # the axes that t-SNE is given, as its authors do
NEAREST = 10
BLOCK = 512


def feature_map(
    W_dec: Float[Tensor, "feature d"],
    features: list[int] | None = None,
    *,
    seed: int = 0,
    perplexity: float = PERPLEXITY,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Lay decoder directions out in the plane by the cosines between them. One seed, one map.

    Directions are scaled to length one and projected to their first `COMPONENTS` principal axes; t-SNE then works on
    cosine distances.

    Args:
        W_dec: the directions.
        features: which of them; all by default. One that never fires points nowhere in particular: leave it out.
        seed: of the random directions and of the layout.
        perplexity: about how many neighbours each one minds; lowered where there are few directions.
        say: is told what is being laid out.

    Returns:
        Columns variant (`dictionary`, and `random directions`, as many of the same width, numbered alike), feature, x,
        y (each variant centred, and its longer side of length one) and kept (the share of a direction's `NEAREST`
        nearest, by cosine, that are among its nearest in the map).

    Raises:
        ValueError: there are fewer than `LEAST` directions, or the perplexity is not above 1.
    """
    chosen = np.arange(len(W_dec)) if features is None else np.asarray(features, dtype=np.int64)
    if len(chosen) < LEAST:
        raise ValueError(f"a map needs {LEAST} features that fire or more: here are {len(chosen)}.")
    if not perplexity > 1:
        raise ValueError(f"the perplexity must be above 1, about the number of neighbours to mind, not {perplexity}.")
    noise = np.random.default_rng(seed).standard_normal((len(chosen), W_dec.shape[1]))
    tables = []
    for variant, directions in ((DICTIONARY, W_dec.detach()[chosen].double().numpy()), (RANDOM, noise)):
        if say is not None:
            say(f"laying out {len(chosen):,} directions: {variant}")
        unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
        places = _laid_out(unit, seed, perplexity)
        kept = neighbours_kept(torch.from_numpy(unit), torch.from_numpy(places))
        columns = {"variant": variant, "feature": chosen, "x": places[:, 0], "y": places[:, 1], "kept": kept}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True).astype({"x": "float32", "y": "float32", "kept": "float32"})


def neighbours_kept(
    unit: Float[Tensor, "n d"], places: Float[Tensor, "n two"], nearest: int = NEAREST
) -> Float[np.ndarray, " n"]:
    """Of each direction's nearest ones by cosine, the share that are among its nearest in the map.

    By chance it is `nearest` over the number of the others.

    Args:
        unit: directions of length one.
        places: where they lie in the map.
        nearest: how many are looked at; all others where there are no more.
    """
    n = len(unit)
    k = min(nearest, n - 1)
    shares = []
    for start in range(0, n, BLOCK):
        own = torch.arange(start, min(start + BLOCK, n))
        near, beside = unit[own] @ unit.T, -torch.cdist(places[own], places)
        for scores in (near, beside):
            scores[torch.arange(len(own)), own] = -torch.inf
        both = near.topk(k).indices[:, :, None] == beside.topk(k).indices[:, None, :]
        shares.append(both.any(2).double().mean(1))
    return torch.cat(shares).numpy()


def read_feature_map(path: str | Path) -> pd.DataFrame:
    """The map that `workbench index --map`, or the explorer, left in a folder.

    Raises:
        ArtifactError: nothing is there, or it is damaged.
    """
    folder = Path(path)
    if Manifest.read(folder).config.get("verb") != VERB:
        raise ArtifactError(f"{folder} holds no map of features: `workbench {VERB}` makes one.")
    found = read_table(folder / RESULT, COLUMNS)
    if found is None:
        raise ArtifactError(f"{folder} is damaged: it lacks {RESULT}.")
    return found


def _laid_out(unit: np.ndarray, seed: int, perplexity: float) -> np.ndarray:
    # Imported here: scikit-learn takes a second, and who only reads a map needs none of it.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n, width = unit.shape
    axes = min(COMPONENTS, width, n - 1)
    flat = PCA(axes, svd_solver="full" if width <= 1024 else "randomized", random_state=seed).fit_transform(unit)
    found = TSNE(
        perplexity=min(perplexity, (n - 1) / 3), metric="cosine", init="pca", random_state=seed, n_jobs=1
    ).fit_transform(flat)
    middle = (found.min(0) + found.max(0)) / 2
    return (found - middle) / max(float(np.ptp(found, axis=0).max()), 1e-12)
