"""A dictionary's numbers, and a table of them beside the dictionaries that learned nothing."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from models.dataset import Dataset
from workbench.sae.base import SAE
from workbench.sae.controls import Moments, neuron_dictionary, pca_dictionary, random_dictionary
from workbench.sae.loss_recovered import loss_recovered
from workbench.sae.metrics import measure

Batches = Callable[[], Iterable[Float[Tensor, "_ d"]]]
# Batches on which the random dictionary's one factor is fitted.
SCALE_BATCHES = 8


def evaluate_sae(
    sae: SAE,
    batches: Iterable[Float[Tensor, "_ d"]],
    model: Any = None,
    dataset: Dataset | None = None,
    *,
    hook_name: str | None = None,
) -> dict[str, float]:
    """Everything that is measured of one dictionary, on rows it was not trained on.

    Args:
        sae: the dictionary.
        batches: held-out rows [n, d_in].
        model, dataset: the subject and held-out documents; without both, loss recovered is left out.
        hook_name: the hook that is replaced; the SAE's own where None.

    Returns:
        `d_sae`, `k`, and the numbers of `workbench.sae.metrics.streaming` and `workbench.sae.loss_recovered` by name.
    """
    if (model is None) != (dataset is None):
        raise ValueError("loss recovered needs both a model and a dataset: give both, or neither.")
    row: dict[str, float] = {"d_sae": sae.cfg.d_sae}
    if sae.cfg.k is not None:
        row["k"] = sae.cfg.k
    row |= measure(sae, batches)
    if model is not None and dataset is not None:
        row |= loss_recovered(model, sae, dataset, hook_name=hook_name)
    return row


def control_dictionaries(sae: SAE, batches: Batches, *, max_rows: int | None = 200_000) -> dict[str, SAE]:
    """`PCA`, `random` and `neurons`: dictionaries with this one's k and hook, fitted on its training rows.

    Args:
        sae: the dictionary they stand beside; it must have a k.
        batches: called for a fresh pass over training rows [n, d_in].
        max_rows: how many rows are read for mean and covariance; all where None.
    """
    if sae.cfg.k is None:
        raise ValueError(f"a {sae.cfg.architecture} SAE has no k: controls of equal sparsity need one.")
    moments = Moments.of(batches(), max_rows)
    return {
        "PCA": pca_dictionary(sae.cfg, moments),
        "random": random_dictionary(sae.cfg, moments, islice(batches(), SCALE_BATCHES)),
        "neurons": neuron_dictionary(sae.cfg, moments),
    }


def compare_dictionaries(
    dictionaries: dict[str, SAE],
    batches: Batches,
    model: Any = None,
    dataset: Dataset | None = None,
    *,
    hook_name: str | None = None,
) -> pd.DataFrame:
    """`evaluate_sae` of several dictionaries on the same rows, one line each, under a column `dictionary`.

    `batches` is called once for each dictionary, for a fresh pass over the same held-out rows.
    """
    rows = [
        {"dictionary": name} | evaluate_sae(sae, batches(), model, dataset, hook_name=hook_name)
        for name, sae in dictionaries.items()
    ]
    return pd.DataFrame(rows)
